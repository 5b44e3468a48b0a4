"""Turn a timing session into the rows of one file, a line each."""

from __future__ import annotations

import csv
import math
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from pointer.errors import InputError
from workflow.bench.cell import Cell, from_dict
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import (
    Row,
    RowError,
    as_json,
    contracts,
    parse,
    row_texts,
    seal,
    unwritten,
    write_atomically,
)
from workflow.bench.rows.run import attempt, final, refused, work_folder
from workflow.bench.sessions import Session
from workflow.bench.sources import ROOT

ATTEMPTS = 2  # of a session that is disturbed
COMPARED = ("pointer-formula", "pointer", "identity")  # with SLOWER, on the console
SLOWER = "transformer"
PAPER = ROOT / "results" / "paper" / "throughput.csv"


def rows_of(session: Session, out: Path, *, keep: bool = False) -> tuple[list[Row], bool]:
    """Time the cells of a session and write their rows to `out`; return the rows, and whether they
    were there before.

    A disturbed session is timed once more, and the rows of both stand in the file. With `keep` a
    file of final rows of today's sources stays.
    """
    with work_folder(session.cells[0], out) as folder:
        refusals = _refusals(session.cells, folder)
        before = kept(session, out) if keep and not refusals else []
        if before:
            out.touch()  # younger than the verdicts, so that Snakemake asks no more
            return before, True
        rows = []
        for number in range(ATTEMPTS):
            made = refusals | _measured(session.cells, refusals, folder)
            rows += [_sealed(session, cell, made[cell.key()], number) for cell in session.cells]
            if not any(disturbed(row) for row in made.values()):
                break
        text = "".join(f"{as_json(row, file=name)}\n" for name, row in rows)
        try:
            write_atomically(out, text)
        except OSError as error:
            raise unwritten(error, out, text) from error
        shutil.rmtree(folder)
        return [row for _, row in rows], False


def kept(session: Session, path: Path) -> list[Row]:
    """Return the rows in a file if they are those of the session, all final and of today's sources;
    else none."""
    cells = {cell.key(): cell for cell in session.cells}
    rows = []
    try:
        for place, text in row_texts([path]):
            row = parse(text, place)
            cell = cells.get(from_dict(row["settings"]).key())
            if cell is None or not final(row, cell):
                return []
            rows.append(row)
    except (RowError, InputError):
        return []
    found = {from_dict(row["settings"]).key() for row in rows}
    return rows if found == cells.keys() else []


def disturbed(row: Row) -> bool:
    """Return whether a row's session was disturbed."""
    return any(warning.startswith(DISTURBED) for warning in row["warnings"])


def ratios(rows: Sequence[Row]) -> list[str]:
    """Return, a line a model of COMPARED, how many times as fast as SLOWER it trained in the rounds
    of the last attempt, the paper's ratio beside the formula's."""
    last = max(row["attempt"] for row in rows)
    timed = {}
    for row in rows:
        plain = not row["settings"]["mixer"] and not row["settings"]["twin"]
        if plain and row["attempt"] == last and row["rounds_ms"]:
            timed[row["model"]] = row
    lines = []
    for model in COMPARED if SLOWER in timed else ():
        own = timed.get(model)
        if own is None:
            continue
        pairs = list(zip(timed[SLOWER]["rounds_ms"], own["rounds_ms"], strict=True))
        ratio = math.exp(sum(math.log(slow / fast) for slow, fast in pairs) / len(pairs))
        paper = _paper_ratio(own["length"]) if model == COMPARED[0] else ""
        lines.append(f"N={own['length']}: {model} trains {ratio:.2f}x as fast as {SLOWER}{paper}")
    return lines


def _paper_ratio(length: int) -> str:
    with PAPER.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["length"] == str(length)]
    rates = {line["model"]: float(line["value"]) for line in lines}
    return f" (paper {rates['pointer'] / rates[SLOWER]:.2f}x)" if rates else ""


def _refusals(cells: Sequence[Cell], folder: Path) -> dict[str, Row]:
    """Return, by the cells' keys, the rows of models that do not keep the contract."""
    rows = {}
    for cell in cells:
        file = contracts.path(cell.built, cell.mixer)
        file = file if file.parent.is_dir() else folder / file.name
        verdict = contracts.verdict(cell.built, cell.mixer, file, folder)
        if verdict.status != "ok":
            rows[cell.key()] = refused(cell, verdict.status, verdict.reason)
    return rows


def _measured(cells: Sequence[Cell], refusals: dict[str, Row], folder: Path) -> dict[str, Row]:
    """Return the rows of the other cells by their keys. A cell that the process dies of, while it
    is built and warmed up, has a row that says so; the rest gets another process."""
    left = [cell for cell in cells if cell.key() not in refusals]
    rows = {}
    while left:
        made, at = attempt(left, folder)
        done = left if at is None else [left[at]]
        for cell, row in zip(left, made, strict=True):
            if cell in done:
                rows[cell.key()] = row
        left = [cell for cell in left if cell not in done]
    return rows


def _sealed(session: Session, cell: Cell, row: Row, number: int) -> tuple[str, Row]:
    """Return the row's name in the file, and the row, sealed."""
    name = session.row_name(cell, number)
    command = shlex.join(["pointer-bench", "session", *session.argv()])
    of_session = {"session": session.name, "attempt": number, "command": command}
    return name, seal(row | of_session, name)
