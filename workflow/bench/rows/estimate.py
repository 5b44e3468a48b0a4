"""Estimate how long cells take: from rows that exist, else crudely from counted tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from workflow.bench import experiments, registry
from workflow.bench.cell import Cell, Trunk, affinity, threads
from workflow.bench.rows import RowError, parse, row_texts
from workflow.bench.rows.run import kept
from workflow.bench.sessions import by_file

START_S = 4.0  # a process, torch, a model
KEPT_S = 1.0  # a row that is there
# Of a core, both busy, at linear cost and 3.2 M parameters: AMD EPYC 2,900, Intel Xeon 4,500.
TRAINING_TOKENS_PER_S = 3800.0
INFERENCE_SHARE = 1 / 3  # a forward pass is a third of a training step
ROUNDS = 5  # of a timing session, at least, the warm-up included
PEAK_STEPS = 4  # of a memory row
SEARCHED = 2.5  # budgets that a search over the rates uses
EVALUATIONS = 1.15  # training stops now and then to evaluate
# The length at which a model takes twice the time a token that it takes at length 0.
DOUBLING = {"linear": math.inf, "n log n": 16384.0, "quadratic": 1200.0, "quadratic-unfused": 450.0}


def wall_seconds(file: str, cells: Sequence[Cell], root: Path = Path()) -> float:
    """Return the seconds that a row file adds to a pipeline: all but timings run side by side."""
    path, first = root / file, cells[0]
    if kept(cells, path):
        return KEPT_S
    try:
        rows = [parse(text, at) for at, text in row_texts([path])]
        made = [row for row in rows if row["status"] != "skipped"]  # none: ValueError
        spans = [[datetime.fromisoformat(row[key]) for key in ("started", "ended")] for row in made]
        seconds = START_S + max((ended - started).total_seconds() for started, ended in spans)
    except (RowError, ValueError):
        seconds = START_S + sum(counted_seconds(cell) for cell in cells)
        seconds = max(seconds, START_S + first.session_seconds) if first.timing else seconds
    return seconds if first.timing else seconds * threads(first.threads) / affinity()


def counted_seconds(cell: Cell) -> float:
    """Return the seconds of a cell that nobody has measured, from its tokens."""
    cell, entry = cell.resolved(), registry.info(cell.model)
    experiment = experiments.info(cell.experiment)
    trained = scored = 0.0
    if experiment.timing:
        trained = scored = ROUNDS * cell.batch * cell.length
    elif experiment.trains:
        trained = EVALUATIONS * cell.tokens if entry.trained else 0
        trained *= SEARCHED if cell.experiment == "rates" else 1
        scored = cell.length * max(1, cell.evaluate_symbols / cell.learned().supervised)
    elif cell.experiment == "memory":
        trained = PEAK_STEPS * cell.batch * cell.length
    slower = 1 + cell.length / DOUBLING[entry.cost]
    slower *= cell.trunk.layers * cell.trunk.width / (Trunk().layers * Trunk().width)
    return (trained + INFERENCE_SHARE * scored) * slower / (TRAINING_TOKENS_PER_S * cell.threads)


def duration(seconds: float) -> str:
    """Return seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def seconds(cells: Iterable[Cell], root: Path = Path()) -> dict[str, float]:
    """Return the seconds that each row file of cells adds to a pipeline."""
    return {file: wall_seconds(file, group, root) for file, group in by_file(cells).items()}


def summary(cells: Iterable[Cell], expected: Mapping[str, float]) -> list[str]:
    """Return a line an experiment, and one on all; expected: what `seconds` says of the cells."""
    times: dict[str, list[float]] = {}
    to_do: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for file, group in by_file(cells).items():
        needed = expected[file]
        for name in (group[0].experiment, "all"):
            times.setdefault(name, []).append(needed)
            total[name] += len(group)
            to_do[name] += len(group) * (needed > KEPT_S)
    lines = []
    for name in sorted(times, key="all".__eq__):
        count = f"{to_do[name]:4} of {total[name]:4} rows to measure"
        lines.append(f"{name:18} {count}, about {duration(sum(times[name]))}")
    return lines
