"""Say where a row comes from: cell, command, machine, versions, commit, sources. Loads no torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil

from workflow.bench import experiments, registry, tasks
from workflow.bench.cell import Cell, affinity
from workflow.bench.sources import ROOT, content_hash, find_file, python_files

PACKAGES = ("torch", "numpy", "numba", "snakemake")
MEASURE = "workflow/bench/measure"
# What every model's row shares: recipe or clock, the trunk with its optimiser, and data.
SHARED = (MEASURE, "workflow/bench/tasks/base.py", "pointer/trunk.py", "pointer/optim.py")
# Files of MEASURE that make no number of a row that trains on a task, and of one that does not.
COSTS = ("timing.py", "session.py", "costs.py", "memory.py", "flops.py", "contract.py")
LEARNING = ("learning.py", "search.py", "pointers.py", "checkpoint.py", "contract.py")
TIMED_TASK = "copy"  # whose data are timed where nothing is learned
KEYS = ("experiment", "device", "dtype", "threads", "length", "batch", "symbols", "seed", "repeat")
CONTRACT = ROOT / MEASURE / "contract.py"
IMPORTED = re.compile(r"^\s*from ((?:baselines|pointer)\.[\w.]+) import", re.MULTILINE)
MACHINE_ID = Path("/etc/machine-id")


def identity(cell: Cell) -> dict[str, Any]:
    """Return every key of a row that is known before measuring."""
    full, entry = cell.resolved(), registry.info(cell.model)
    return {
        **{key: getattr(full, key) for key in KEYS},
        "model": entry.name,
        "model_path": entry.path,
        "model_hash": content_hash(model_files(cell.model)[:1]),
        "settings": cell.to_dict(),
        "position": entry.position,
        "task": full.task.model_dump() if full.task is not None else None,
        "axis": full.axis,
        "x": full.x,
        "trunk": full.trunk.model_dump(),
        "tokens_budget": full.tokens if full.task_name else None,
        "chance": 1 / full.symbols if full.task_name == "copy" else None,
        "device_name": device_name(cell.device),
        "machine": machine_label(cell.device, cell.machine),
        "host": host(),
        "ram_bytes": ram_bytes(),
        "command": shlex.join(["pointer-bench", "run", *cell.argv()]),
        "source_hash": sources(cell),
        "shared_hash": shared_hash(cell.experiment, cell.task_name),
        "versions": versions(),
        **git_state(),
    }


def sources(cell: Cell) -> str:
    """Return the hash over what makes a cell's row."""
    return source_hash(cell.model, cell.experiment, cell.task_name)


@functools.cache
def source_hash(model: str, experiment: str, task: str, *further: str) -> str:
    """Return a hash over what makes a model's rows: any edit there makes them stale."""
    files = {*_measuring(experiment, task), *model_files(model)}
    entry = registry.info(model)
    built = (entry.path, str(entry.learned_positions), str(entry.trained))
    return content_hash(sorted(files), *built, inspect.getsource(registry.build), *further)


@functools.cache
def shared_hash(experiment: str, task: str) -> str:
    """Return a hash over what all models' rows share: rows are comparable where it is the same."""
    return content_hash(_measuring(experiment, task), inspect.getsource(registry.build))


def _measuring(experiment: str, task: str) -> list[Path]:
    others = COSTS if experiments.info(experiment).trains else LEARNING
    module = find_file(tasks.TASKS[task or TIMED_TASK].partition(":")[0])
    shared = [file for file in python_files(*SHARED) if file.name not in others]
    return [*shared, module] if module else shared


def model_files(model: str) -> list[Path]:
    """Return the file of a model's class, then those of baselines/ and pointer/ that it imports
    (of its package, or beside it, outside the suite)."""
    module = registry.info(model).path.partition(":")[0]
    own = registry.module_file(module)
    if own is None:
        return []
    if not own.is_relative_to(ROOT):
        depth = module.count(".")
        near = own.parents[depth - 1].rglob("*.py") if depth else own.parent.glob("*.py")
        return [own, *sorted(path for path in near if path != own)]
    files: list[Path] = []
    queue = [own]
    while queue:
        file = queue.pop()
        if file not in files:
            files.append(file)
            imported = IMPORTED.findall(file.read_text())
            queue += [path for path in map(find_file, imported) if path is not None]
    return files


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python, of the platform and of the packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@functools.cache
def git_state() -> dict[str, Any]:
    """Return commit and whether tracked files differ from it; nulls where this is no checkout."""
    top = _output("git", "-C", str(ROOT), "rev-parse", "--show-toplevel")
    if not top or not ROOT.samefile(top):
        return {"git_commit": None, "git_dirty": None}
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    return {"git_commit": commit, "git_dirty": None if changed is None else bool(changed)}


@functools.cache
def gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that this process may see."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if hidden or shutil.which("nvidia-smi") is None:
        return ()
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or ""
    return tuple(line.strip() for line in names.splitlines() if line.strip())


def devices() -> list[str]:
    """Return the devices of this machine, cpu first."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    present = {"cpu": True, "cuda": bool(gpus()), "mps": apple}
    return [name for name, here in present.items() if here]


@functools.cache
def cpu_name() -> str:
    """Return the CPU's name by its vendor, or the architecture without py-cpuinfo."""
    try:
        import cpuinfo
    except ImportError:
        return platform.processor() or platform.machine()
    return str(cpuinfo.get_cpu_info().get("brand_raw") or platform.machine())


def device_name(device: str) -> str:
    """Return the name of what a row ran on."""
    return next(iter(gpus()), "no CUDA device") if device == "cuda" else cpu_name()


def machine_label(device: str, label: str = "") -> str:
    """Return the user's label, or the device's name; on a cluster behind the node's name."""
    own = device_name(device) if device == "cuda" else f"{cpu_name()}, {affinity()} cores"
    node = os.environ.get("SLURMD_NODENAME")
    return f"{node}: {label or own}" if node else label or own


@functools.cache
def host() -> str:
    """Return 8 hexadecimal digits that tell this machine from others of the same label."""
    own = MACHINE_ID.read_text(encoding="ascii") if MACHINE_ID.is_file() else ""
    return hashlib.sha256(f"{socket.gethostname()} {own}".encode()).hexdigest()[:8]


def ram_bytes() -> int:
    """Return the machine's memory."""
    return int(psutil.virtual_memory().total)


def _output(*command: str) -> str | None:
    """Return what a program prints; None where it fails or is not there."""
    git_free = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=20, env=git_free
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None
