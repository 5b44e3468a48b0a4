"""Rows of a run, kept in the repository: what the README's numbers come from.

A row becomes a line of <folder>/<machine>/rows.jsonl, the last of its cell; its trace, where that
is small, lies beside the path that the line names; weights are left out. Keeping the same rows
twice changes nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from pointer.errors import InputError
from workflow.bench.rows import LINES, Row, as_json, attachment, read_row, write_atomically
from workflow.report.frame import read_manifest

LARGEST_TRACE_BYTES = 300_000


def keep(manifest: Path, out: Path) -> list[Path]:
    """Add the rows that `manifest` names to `out`; return the files. Raise RowError for a row that
    is not sound."""
    machines: dict[
        Path, dict[str, str]
    ] = {}  # the rows.jsonl of a machine -> lines by the path in their key `file`
    traces = []
    for path in read_manifest(manifest):
        row = read_row(path)
        folder = out / _folder(row["machine"])
        file = Path(_folder(row["experiment"]), _folder(row["model"]), path.name)
        lines = machines.setdefault(folder / LINES, _lines(folder / LINES))
        line = as_json(row, file=str(file))
        if lines.get(str(file)) != line:
            lines.pop(str(file), None)
            lines[str(file)] = line
        traces += _small_trace(row, path, folder / file)
    if not machines:
        raise InputError.about(
            "--manifest", str(manifest), "a file that names at least one row", "the command line"
        )
    for kept, lines in machines.items():
        write_atomically(kept, "".join(f"{line}\n" for line in lines.values()))
    for source, target in traces:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return [*machines, *(target for _, target in traces)]


def _lines(path: Path) -> dict[str, str]:
    """The lines of a rows.jsonl, by their path; none where it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {json.loads(line)["file"]: line for line in lines}


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
