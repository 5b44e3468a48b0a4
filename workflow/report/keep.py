"""Rows of a run, kept in the repository: what the README's numbers come from, byte for byte, so that digests hold.

A row lands in <folder>/<machine>/<experiment>/<model>/<cell>.json with its trace where that is small; weights are left
out. Nothing is removed, and keeping the same rows twice changes nothing.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pointer.errors import InputError
from workflow.bench.rows import Row, attachment, read_row
from workflow.report.frame import read_manifest

LARGEST_TRACE_BYTES = 300_000


def keep(manifest: Path, out: Path) -> list[Path]:
    """Copies the rows that `manifest` names to `out`; returns the copies. Raises RowError for one that is not sound."""
    kept = [path for row in read_manifest(manifest) for path in _keep(row, out)]
    if not kept:
        raise InputError.about("--manifest", str(manifest), "a file that names at least one row", "the command line")
    return kept


def _keep(path: Path, out: Path) -> list[Path]:
    row = read_row(path)
    copy = out.joinpath(*(_folder(row[key]) for key in ("machine", "experiment", "model")), path.name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    pairs = [(path, copy), *_small_trace(row, path, copy)]
    return [Path(shutil.copyfile(source, target)) for source, target in pairs]


def _small_trace(row: Row, path: Path, copy: Path) -> list[tuple[Path, Path]]:
    """The row's trace and where it goes; empty where it has none or a large one."""
    name = (row["files"] or {}).get("trace")
    trace = attachment(path, str(name))
    if name is None or not trace.is_file() or trace.stat().st_size >= LARGEST_TRACE_BYTES:
        return []
    return [(trace, attachment(copy, name))]


def _folder(name: str) -> str:
    """A label as the name of a folder: `Xeon(R) @ 2.10GHz, 2 cores` -> `xeon-r-2-10ghz-2-cores`."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-") or "unnamed"
