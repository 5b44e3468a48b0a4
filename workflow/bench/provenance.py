"""What a row says of its origin: the cell, the command, the machine, the versions, the sources. Loads no torch."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

from workflow.bench import experiments, hardware, registry
from workflow.bench.settings import Settings
from workflow.bench.sources import ROOT, content_hash, reachable

PACKAGES = ("torch", "numpy", "numba", "snakemake")
SIZES = ("distance", "pairs", "items", "hops", "letters")  # of tasks; null in the rows of others
DESCRIPTIVE = ("citation", "cost", "group", "kind", "parts", "position")  # of a model's entry: in no number
PLUMBING = tuple(
    f"workflow.bench.{name}"
    for name in (
        "settings",
        "experiments",
        "registry",
        "sources",
        "lock",
        "progress",
        "outcomes",
        "hardware",
        "rows",
        "provenance",
        "measure.checkpoint",
        "clock",
    )
)  # carry values between modules, make none: an edit there makes no row stale


def identity(settings: Settings) -> dict[str, Any]:
    """Every key of a row that is known before measuring."""
    cell, entry = settings.resolved(), registry.info(settings.model)
    trains, copies = bool(cell.task_name), cell.task_name == "copy"
    same = ("experiment", "device", "dtype", "threads", "length", "batch", "symbols", "seed", "repeat")
    return {
        **{key: getattr(cell, key) for key in same},
        "model": entry.name,
        "model_path": entry.path,
        "model_hash": model_hash(settings.model),
        "settings": settings.to_dict(),
        "position": entry.position,
        "task": cell.task_name or None,
        **{name: getattr(cell, name) if cell.matters(name) else None for name in SIZES},
        "tokens_budget": cell.tokens if trains else None,
        "chance": 1 / cell.symbols if copies else None,
        "device_name": hardware.device_name(settings.device),
        "machine": hardware.machine_label(settings.device, settings.machine),
        "ram_bytes": hardware.ram_bytes(),
        "command": command(settings),
        "source_hash": sources_of(settings),
        "shared_hash": shared_hash(settings.experiment, settings.task_name),
        "versions": versions(),
        **git_state(),
    }


def command(settings: Settings) -> str:
    """What to type to make this row again."""
    return shlex.join(["pointer-bench", "run", *settings.to_argv()])


def sources_of(settings: Settings) -> str:
    """The source hash of a cell."""
    idle = registry.idle(settings.model, settings.device, settings.mixer)
    return source_hash(settings.experiment, settings.model, settings.task_name, idle)


@functools.cache
def source_hash(experiment: str, model: str, task: str = "", idle: tuple[str, ...] = ()) -> str:
    """16 hexadecimal digits over what makes a row's numbers: mixer, trunk, experiment, task (the experiment's own if
    none is named), how the registry builds. `idle` modules are left out (registry.idle)."""
    entry = {k: v for k, v in dataclasses.asdict(registry.info(model)).items() if k not in DESCRIPTIVE}
    made = {*registry.sources(model, idle), *_measuring(experiment, task)}
    return content_hash(sorted(made), repr(sorted(entry.items())), inspect.getsource(registry.build))


@functools.cache
def shared_hash(experiment: str, task: str = "") -> str:
    """16 hexadecimal digits over what every model's rows of an experiment share: task, recipe, optimiser, trunk, clock.

    Rows of two models are comparable only where it is the same.
    """
    return content_hash(sorted(_measuring(experiment, task)), inspect.getsource(registry.build))


def _measuring(experiment: str, task: str = "") -> set[Path]:
    """The files of an experiment and its task, with the trunk and the optimiser that it trains every model by."""
    entry = experiments.info(experiment)
    modules = [entry.module, "pointer.trunk"]
    modules += [experiments.TASKS[name].module for name in [task or entry.task] if name]
    return set(reachable(modules, ("workflow", "pointer"), without=PLUMBING))


@functools.cache
def model_hash(model: str) -> str | None:
    """16 hexadecimal digits over the file that the model's path names."""
    path = registry.module_file(registry.info(model).path.partition(":")[0])
    return None if path is None else content_hash([path])


@functools.cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that matter, where installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_state() -> dict[str, Any]:
    """The commit of this checkout and whether tracked files differ from it; nulls where it is no checkout."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or not ROOT.samefile(top):
        return {"git_commit": None, "git_dirty": None}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": None if changed is None else bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
