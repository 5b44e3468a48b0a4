"""Turn cells into rows: check the model's contract, measure in a child process, write the rows.

However the child ends there is a row that says so, but where the fault is the user's (InputError),
somebody's who killed it (StoppedError) or the disk's (OSError).
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench.cell import Cell, from_dict
from workflow.bench.outcomes import Clock
from workflow.bench.rows import (
    Row,
    RowError,
    as_json,
    attachment,
    child,
    complete,
    contracts,
    file_hash,
    lock,
    provenance,
    read_row,
    seal,
    unwritten,
    write_row,
)
from workflow.bench.sessions import Session, with_twin

FINAL = ("ok", "oom", "unsupported", "diverged")  # an error or a timeout is tried again
DEADLINE = "POINTER_BENCH_DEADLINE"  # holds the time in seconds after which no optional row starts
FIGURES = {
    "bits_per_byte": "{:.3f} bits a byte",
    "accuracy": "accuracy {:.4f}",
    "step_ms": "{:.1f} ms a step",
    "flops_step": "{:.3g} FLOPs a step",
}


def row_of(
    cell: Cell,
    out: Path,
    contract: Path | None = None,
    *,
    keep: bool = False,
    optional: bool = False,
) -> tuple[Row, bool]:
    """Measure a cell and write its row to `out`; return the row, and whether it was there before.

    `contract` is the file of the model's verdict. With `keep` a final row of today's sources stays.
    An `optional` row is skipped after the tier's deadline; it counts in `attempt` how often.
    """
    with work_folder(cell, out) as folder:
        file = contract or contracts.path(cell.built, cell.mixer)
        if contract is None and not file.parent.is_dir():
            file = folder / "contract.json"
        verdict = contracts.verdict(cell.built, cell.mixer, file, folder)
        row = kept(cell, out) if keep and verdict.status == "ok" else None
        before = row is not None
        if row is not None:
            out.touch()  # younger than the verdict, so that Snakemake asks no more
        elif optional and time.time() > float(os.environ.get(DEADLINE, "inf")):
            reason = "deadline: the tier's minutes are over; the next run makes this row"
            row = write(refused(cell, "skipped", reason) | {"attempt": tried(out)}, folder, out)
        elif verdict.status == "ok":
            cells = with_twin([cell]) if cell.timing else (cell,)
            measured = run(cells, folder)[0]
            if cell.timing:
                measured |= {"session": Session(cells).name, "attempt": 0}
            elif optional:
                measured |= {"attempt": tried(out)}
            row = write(measured, folder, out)
        else:
            row = write(refused(cell, verdict.status, verdict.reason), folder, out)
        if row["status"] != "timeout":  # which goes on from its checkpoint when tried again
            shutil.rmtree(folder)
        return row, before


def kept(cell: Cell, path: Path) -> Row | None:
    """Return the row in a file if it is final, of this cell and of today's sources, else None."""
    try:
        row = read_row(path)
        same = from_dict(row["settings"]).key(row["data_hash"]) == cell.key()
    except (RowError, InputError):
        return None
    return row if same and final(row, cell) else None


def tried(path: Path) -> int:
    """Return how often a deadline cut the row of a file.

    Snakemake runs a job again when this number, which is among its parameters, has changed.
    """
    try:
        row = read_row(path)
    except RowError:
        return 0
    before: int = row["attempt"] or 0
    return before + 1 if row["status"] == "skipped" else before


def final(row: Row, cell: Cell) -> bool:
    """Return whether a row needs no other measurement: it is final, and of today's sources."""
    current: bool = row["source_hash"] == provenance.sources(cell)
    return row["status"] in FINAL and current


@contextmanager
def work_folder(cell: Cell, out: Path) -> Iterator[Path]:
    """Hold a hidden folder beside a row, one process at a time; a killed one leaves a checkpoint.

    A checkpoint of other sources is removed.
    """
    folder = out.with_name(f".{out.stem}.work")
    with lock.taken(folder / "lock"):
        origin = folder / f"{cell.key()}-{provenance.sources(cell)}"
        if not origin.exists():
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "lock":
                    path.unlink()
            origin.touch()
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(path.is_dir() for path in folder.iterdir()):
                shutil.rmtree(folder)


def run(cells: Sequence[Cell], folder: Path, worker: Sequence[str] | None = None) -> list[Row]:
    """Measure cells in one child process; return their rows, complete but not yet sealed.

    The first cell's memory limit holds for all. `folder` keeps the files that the rows name.
    """
    return attempt(cells, folder, worker)[0]


def attempt(
    cells: Sequence[Cell], folder: Path, worker: Sequence[str] | None = None
) -> tuple[list[Row], int | None]:
    """Measure cells as `run` does; return their rows, and the place of the cell of a session that
    the process died of while it was built, if one did."""
    clock = Clock()
    origins = [provenance.identity(cell) for cell in cells]
    request = {"cells": [cell.to_dict() for cell in cells]}
    limits = [cell.timeout_s for cell in cells]
    seconds = sum(limits) if all(limits) else 0
    memory = cells[0].memory_limit_bytes
    if not memory and cells[0].device == "cpu":
        memory = provenance.ram_bytes()
    ending = child.execute(request, folder, seconds=seconds, memory_bytes=memory, worker=worker)
    if ending.kind == "bad_input":
        raise InputError(ending.message)
    if ending.kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    measured = list(ending.result.get("rows", ()))
    status = ending.kind if ending.kind == "oom" else "error"
    reason = ending.message
    if ending.timed_out:
        status, reason = "timeout", f"still running after {seconds} s (`timeout_s`)"
    elif ending.code == -signal.SIGKILL:
        status = "oom"
    measured += [{"status": status, "reason": reason}] * (len(cells) - len(measured))
    rows = [
        complete({**origin, **clock.times(), **_finite(row)})
        for origin, row in zip(origins, measured, strict=True)
    ]
    return rows, ending.result.get("at") if ending.kind != "ok" else None


def refused(cell: Cell, status: str, reason: str) -> Row:
    """Return the row of a cell that may not be measured, complete but not yet sealed."""
    origin = provenance.identity(cell)
    return complete({**origin, **Clock().times(), "status": status, "reason": reason})


def write(row: Row, folder: Path, out: Path) -> Row:
    """Write the files that a row names beside `out`, then, atomically, the sealed row.

    <kind>.<ending> in `folder` becomes <row's name>.<kind>.<ending>; the row holds their hashes. A
    row that cannot be written is printed.
    """
    named: dict[str, str] = row["files"] or {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for name in named.values():
            shutil.copyfile(folder / name, attachment(out, name))
        hashes = {kind: file_hash(attachment(out, name)) for kind, name in named.items()}
        return write_row(out, {**row, "files_sha256": hashes or None})
    except OSError as error:
        for name in named.values():
            attachment(out, name).unlink(missing_ok=True)
        raise unwritten(error, out, as_json(seal(row, out), indent=1)) from error


def outcome(row: Row, name: str) -> str:
    """Return one line on a row: what it is, how it ended, its main figure with its unit."""
    ending = row["status"] if row["status"] == "ok" else f"{row['status']} ({row['reason']})"
    line = f"{row['experiment']} {row['model']} {name}: {ending}"
    for key, text in FIGURES.items():
        if row[key] is not None:
            return f"{line}, {text.format(row[key])}"
    return line


def _finite(value: Any) -> Any:
    """Return the value with null for NaN and infinities, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value
