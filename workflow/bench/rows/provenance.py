"""Say where a row comes from: cell, command, machine, versions, commit, sources. Loads no torch."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow.bench import experiments, registry, tasks
from workflow.bench.cell import Cell, affinity
from workflow.bench.sources import ROOT, content_hash, find_file

PACKAGES = ("torch", "numpy", "numba", "snakemake")
# Where an import leads to what makes a number; everything else plans, writes or reads rows.
MAKING = ("baselines.", "pointer.", "workflow.bench.measure.", "workflow.bench.tasks.")
TRUNK = ("pointer.trunk", "pointer.optim")  # of every model
KEYS = ("experiment", "device", "dtype", "threads", "length", "batch", "symbols", "seed", "repeat")
CONTRACT = ROOT / "workflow" / "bench" / "measure" / "contract.py"
MACHINE_ID = Path("/etc/machine-id")


def identity(cell: Cell) -> dict[str, Any]:
    """Return every key of a row that is known before measuring."""
    full, entry = cell.resolved(), registry.info(cell.model)
    return {
        **{key: getattr(full, key) for key in KEYS},
        "model": entry.name,
        "model_path": entry.path,
        "model_hash": content_hash(model_files(cell.built)[:1]),
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
    return source_hash(cell.built, cell.experiment, cell.task_name)


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
    return content_hash(sorted(_measuring(experiment, task)), inspect.getsource(registry.build))


def _measuring(experiment: str, task: str) -> list[Path]:
    """Return the files that make an experiment's rows whatever the model: the module that measures
    it, its task, the trunk, and what these import."""
    modules = [experiments.info(experiment).module, *TRUNK]
    modules += [tasks.TASKS[task].partition(":")[0]] if task else []
    return with_imports(filter(None, map(find_file, modules)))


def model_files(model: str) -> list[Path]:
    """Return the file of a model's class, then those that it imports (of its package, or beside it,
    outside the suite), and that of the convolution which it is given."""
    module = registry.info(model).path.partition(":")[0]
    own = find_file(module, (ROOT, *sys.path))
    if own is None:
        return []
    given = registry.without_ending(model)[1] != "source"
    further = [ROOT / registry.CONVOLUTION] if given else []
    if own.is_relative_to(ROOT):
        return with_imports([own, *further])
    depth = module.count(".")
    near = own.parents[depth - 1].rglob("*.py") if depth else own.parent.glob("*.py")
    return [own, *sorted(path for path in near if path != own), *further]


def with_imports(start: Iterable[Path]) -> list[Path]:
    """Return files, then those of MAKING that they import, wherever in the file."""
    files: list[Path] = []
    queue = list(start)
    while queue:
        file = queue.pop()
        if file in files:
            continue
        files.append(file)
        queue += imported(file)
    return files


@functools.cache
def imported(file: Path) -> list[Path]:
    """Return the files of MAKING that a file imports itself."""
    files = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
            found = [find_file(name) for name in names if name.startswith(MAKING)]
            files += [path for path in found if path is not None]
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
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _output(*command: str) -> str | None:
    """Return what a program prints; None where it fails or is not there."""
    git_free = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=20, env=git_free
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None
