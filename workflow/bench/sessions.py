"""Timing sessions: which cells are timed in turn in one process, and the file of their rows; every
other row is a file of its own."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from workflow.bench import registry
from workflow.bench.cell import RUNS, Cell


@dataclass(frozen=True)
class Session:
    """The cells of a session, in the order of the plan."""

    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Return a name of its own, such as paper-n2048-r0-1a2b3c4d."""
        first = self.cells[0]
        label = first.model_copy(update={"mixer": {}, "twin": False}).label()
        members = " ".join(cell.key() for cell in self.cells)
        seal = hashlib.sha256(members.encode()).hexdigest()[:8]
        return f"{first.session}-{label}-{seal}"

    @property
    def path(self) -> str:
        """Return the file of its rows: results/runs/efficiency/<name>.jsonl."""
        return f"{RUNS}/{self.cells[0].experiment}/{self.name}.jsonl"

    def row_name(self, cell: Cell, attempt: int) -> str:
        """Return what a line of the file calls a row: a path of its own beside the file."""
        model, again = registry.info(cell.model).name, "-again" * attempt
        return f"{self.name}/{model}-{cell.label()}-{cell.key()[:8]}{again}.json"

    def argv(self) -> list[str]:
        """Return the options and arguments of `pointer-bench session` that make the rows."""
        shared = self.cells[0].model_copy(update={"mixer": {}}).argv()
        argv = shared[4:]  # without --experiment and --model
        for cell in self.cells:
            if not cell.twin:
                mixer = [f"{key}={json.dumps(value)}" for key, value in sorted(cell.mixer.items())]
                argv.append(shlex.join([cell.model, *mixer]))  # pointer k=32
        return argv


def with_twin(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells of a session, a second instance of the first behind it."""
    first, *others = cells
    return first, first.model_copy(update={"twin": True}), *others


def by_file(cells: Iterable[Cell]) -> dict[str, tuple[Cell, ...]]:
    """Return the row files of cells, in their order, with the cells whose rows each holds."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        shared = cell.model_dump(mode="json", exclude={"model", "mixer", "twin"})
        name = json.dumps(shared, sort_keys=True) if cell.timing else cell.path
        groups.setdefault(name, []).append(cell)
    files = {}
    for group in map(tuple, groups.values()):
        files[Session(group).path if group[0].timing else group[0].path] = group
    return files
