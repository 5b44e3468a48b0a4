"""Turn cells into rows: check the model's contract, measure in a child process, write the rows.
However the child ends there is a row that says so, but where the fault is the user's (InputError),
somebody's who killed it (EnvironmentFault) or the disk's (OSError)."""

from __future__ import annotations

import csv
import errno
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean

from pointer.errors import InputError
from workflow.bench import rows
from workflow.bench.cell import Cell, from_dict
from workflow.bench.outcomes import DISTURBED, Clock
from workflow.bench.rows import Row, child, contracts, lock, provenance
from workflow.bench.sessions import Session, with_twin
from workflow.bench.sources import ROOT

ATTEMPTS = 2  # of a session that is disturbed
FINAL = ("ok", "oom", "unsupported", "diverged")  # an error or a timeout is tried again
COMPARED = ("pointer-formula", "pointer", "identity")  # with SLOWER, on the console
SLOWER = "transformer"
PAPER = ROOT / "results" / "paper" / "throughput.csv"
# Set for the jobs of a pipeline: the time in seconds after which no optional row starts, or inf.
DEADLINE = "POINTER_BENCH_DEADLINE"
FIGURES = {
    "bits_per_byte": "{:.3f} bits a byte",
    "accuracy": "accuracy {:.4f}",
    "step_ms": "{:.1f} ms a step",
    "flops_step": "{:.3g} FLOPs a step",
}


def row_of(
    cell: Cell, out: Path, *, keep: bool = False, optional: bool = False
) -> tuple[Row, bool]:
    """Measure a cell and write its row to `out`; return the row, and whether it was there before:
    with `keep` a final row of today's sources stays. An `optional` row is skipped after the tier's
    deadline; it counts in `attempt` how often."""
    with work_folder(cell, out) as folder:
        row = _refusal(cell, folder)
        before = kept([cell], out) if keep and row is None else []
        if before:
            out.touch()  # younger than the verdict, so that Snakemake asks no more
            return before[0], True
        if optional and time.time() > float(os.environ.get(DEADLINE, "inf")):
            reason = "deadline: the tier's minutes are over; the next run makes this row"
            row = refused(cell, "skipped", reason)
        elif row is None:
            cells = with_twin([cell]) if cell.timing else (cell,)
            (row, *_), _ = run(cells, folder)
            if cell.timing:
                row |= {"session": Session(cells).name, "attempt": 0}
        if optional:
            row |= {"attempt": tried(out)}
        row = write(row, folder, out)
        if row["status"] != "timeout":  # which goes on from its checkpoint when tried again
            shutil.rmtree(folder)
        return row, False


def rows_of(session: Session, out: Path, *, keep: bool = False) -> tuple[list[Row], bool]:
    """Time the cells of a session and write their rows to `out`, as `row_of` does. A disturbed
    session is timed once more, and the rows of both stand in the file."""
    command = shlex.join(["pointer-bench", "session", *session.argv()])
    with work_folder(session.cells[0], out) as folder:
        found = {cell.key(): _refusal(cell, folder) for cell in session.cells}
        refusals = {key: row for key, row in found.items() if row is not None}
        before = kept(session.cells, out) if keep and not refusals else []
        if before:
            out.touch()
            return before, True
        lines = {}
        for number in range(ATTEMPTS):
            made = refusals | _measured(session.cells, refusals, folder)
            of_session = {"session": session.name, "attempt": number, "command": command}
            for cell in session.cells:
                name = session.row_name(cell, number)
                lines[name] = rows.seal(made[cell.key()] | of_session, name)
            if not any(disturbed(row) for row in made.values()):
                break
        text = "".join(f"{rows.as_json(row, file=name)}\n" for name, row in lines.items())
        try:
            rows.write_atomically(out, text)
        except OSError as error:
            raise _unwritten(error, out, text) from error
        shutil.rmtree(folder)
        return list(lines.values()), False


def _measured(cells: Sequence[Cell], refusals: dict[str, Row], folder: Path) -> dict[str, Row]:
    """Return the rows of the other cells by their keys. A cell that the process dies of, while it
    is built and warmed up, has a row that says so; the rest gets another process."""
    left = [cell for cell in cells if cell.key() not in refusals]
    measured: dict[str, Row] = {}
    while left:
        made, at = run(left, folder)
        if at is None:
            return measured | {cell.key(): row for cell, row in zip(left, made, strict=True)}
        dead = left.pop(at)
        measured[dead.key()] = made[at]
    return measured


def disturbed(row: Row) -> bool:
    """Return whether a row's session was disturbed."""
    return any(warning.startswith(DISTURBED) for warning in row["warnings"])


def ratios(timed: Sequence[Row]) -> list[str]:
    """Return, a line a model of COMPARED, how many times as fast as SLOWER it trained in the rounds
    of the last attempt, the paper's ratio beside the formula's."""
    last = max(row["attempt"] for row in timed)
    plain = {}
    for row in timed:
        changed = row["settings"]["mixer"] or row["settings"]["twin"]
        if not changed and row["attempt"] == last and row["rounds_ms"]:
            plain[row["model"]] = row
    lines = []
    for model in [name for name in COMPARED if SLOWER in plain and name in plain]:
        own = plain[model]
        pairs = zip(plain[SLOWER]["rounds_ms"], own["rounds_ms"], strict=True)
        ratio = geometric_mean(slow / fast for slow, fast in pairs)
        paper = _paper_ratio(own["length"]) if model == COMPARED[0] else ""
        lines.append(f"N={own['length']}: {model} trains {ratio:.2f}x as fast as {SLOWER}{paper}")
    return lines


def _paper_ratio(length: int) -> str:
    with PAPER.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["length"] == str(length)]
    rates = {line["model"]: float(line["value"]) for line in lines}
    return f" (paper {rates['pointer'] / rates[SLOWER]:.2f}x)" if rates else ""


def _refusal(cell: Cell, folder: Path) -> Row | None:
    """Return the row of a cell whose model does not keep the contract; None where it does."""
    file = contracts.place(cell.built, cell.mixer, folder)
    verdict = contracts.verdict(cell.built, cell.mixer, file, folder)
    return None if verdict.status == "ok" else refused(cell, verdict.status, verdict.reason)


def kept(cells: Sequence[Cell], path: Path) -> list[Row]:
    """Return a file's rows if they are the cells', all final and of today's sources; else none."""
    try:
        there = [rows.parse(text, place) for place, text in rows.row_texts([path])]
        keys = [from_dict(row["settings"]).key(row["data_hash"]) for row in there]
    except (rows.RowError, InputError):
        return []
    sources = {cell.key(): provenance.sources(cell) for cell in cells}
    for key, row in zip(keys, there, strict=True):
        if row["status"] not in FINAL or row["source_hash"] != sources.get(key):
            return []
    return there if set(keys) == sources.keys() else []


def tried(path: Path) -> int:
    """Return how often a deadline cut a row: a parameter of its job, which a change runs again."""
    try:
        row = rows.read_row(path)
    except rows.RowError:
        return 0
    before: int = row["attempt"] or 0
    return before + 1 if row["status"] == "skipped" else before


@contextmanager
def work_folder(cell: Cell, out: Path) -> Iterator[Path]:
    """Hold a hidden folder beside a row, one process at a time; a killed one leaves a checkpoint,
    which is removed if it is of other sources."""
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


def run(cells: Sequence[Cell], folder: Path) -> tuple[list[Row], int | None]:
    """Measure cells in one child process, which works in `folder`; return their rows, complete but
    not yet sealed, and the place of the cell of a session that it died of, if one was built."""
    clock = Clock()
    origins = [provenance.identity(cell) for cell in cells]
    request = {"cells": [cell.to_dict() for cell in cells]}
    limits = [cell.timeout_s for cell in cells]
    seconds = sum(limits) if all(limits) else 0
    memory = cells[0].memory_limit_bytes
    if not memory and cells[0].device == "cpu":
        memory = provenance.ram_bytes()
    ending = child.execute(request, folder, seconds=seconds, memory_bytes=memory)
    if ending.kind == "bad_input":
        raise InputError(ending.message)
    if ending.kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    killed = ending.code == -signal.SIGKILL
    failed = {"status": "oom" if killed or ending.kind == "oom" else "error"}
    failed["reason"] = ending.message
    if ending.timed_out:
        failed = {"status": "timeout", "reason": f"still running after {seconds} s (`timeout_s`)"}
    measured = ending.result.get("rows") or [failed] * len(cells)
    pairs = zip(origins, measured, strict=True)
    made = [rows.complete(origin | clock.times() | row) for origin, row in pairs]
    return made, ending.result.get("at") if ending.kind != "ok" else None


def refused(cell: Cell, status: str, reason: str) -> Row:
    """Return the row of a cell that may not be measured, complete but not yet sealed."""
    ending = {"status": status, "reason": reason}
    return rows.complete(provenance.identity(cell) | Clock().times() | ending)


def write(row: Row, folder: Path, out: Path) -> Row:
    """Write the files that a row names beside `out`, then, atomically, the sealed row; print a row
    that cannot be written. <kind>.<ending> in `folder` becomes <row's name>.<kind>.<ending>."""
    named: dict[str, str] = row["files"] or {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for name in named.values():
            shutil.copyfile(folder / name, rows.attachment(out, name))
        hashes = {kind: rows.file_hash(rows.attachment(out, name)) for kind, name in named.items()}
        return rows.write_row(out, {**row, "files_sha256": hashes or None})
    except OSError as error:
        for name in named.values():
            rows.attachment(out, name).unlink(missing_ok=True)
        raise _unwritten(error, out, rows.as_json(rows.seal(row, out), indent=1)) from error


def _unwritten(error: OSError, path: Path, text: str) -> OSError:
    """Print a result whose file cannot be written; return the error to raise, which says so."""
    print(text, flush=True)
    return OSError(error.errno, f"{error.strerror}; its content is printed", str(path))


def outcome(row: Row, name: str) -> str:
    """Return one line on a row: what it is, how it ended, its main figure with its unit."""
    ending = row["status"] if row["status"] == "ok" else f"{row['status']} ({row['reason']})"
    line = f"{row['experiment']} {row['model']} {name}: {ending}"
    for key, text in FIGURES.items():
        if row[key] is not None:
            return f"{line}, {text.format(row[key])}"
    return line
