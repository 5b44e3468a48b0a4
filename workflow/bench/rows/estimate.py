"""Estimate how long cells take: from rows that exist, else crudely from counted tokens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from workflow.bench import experiments, registry
from workflow.bench.cell import Cell, Trunk, affinity, threads
from workflow.bench.rows import Row, RowError, read_row
from workflow.bench.rows.run import kept

START_S = 4.0  # a process, torch, a model
KEPT_S = 1.0  # a row that is there
TRAINING_TOKENS_PER_S = 5500.0  # a core of a 2-core AMD EPYC, linear cost, 3.2 M parameters
INFERENCE_SHARE = 1 / 3  # a forward pass is a third of a training step
EVALUATIONS = 1.15  # training stops now and then to evaluate
# The length at which a model takes twice the time a token that it takes at length 0.
LINEAR = float("inf")
DOUBLING = {"linear": LINEAR, "n log n": 16384.0, "quadratic": 1200.0, "quadratic-unfused": 160.0}


def wall_seconds(cell: Cell, root: Path = Path()) -> float:
    """Return the seconds that a cell adds to a pipeline: all but timings run side by side."""
    path = root / cell.path
    if kept(cell, path) is not None:
        return KEPT_S
    try:
        seconds = START_S + row_seconds(read_row(path))
    except RowError:
        seconds = START_S + counted_seconds(cell)
    return seconds if cell.timing else seconds * threads(cell.threads) / affinity()


def row_seconds(row: Row) -> float:
    """Return how long a row's measurement took; 0 where its times are none (see verify)."""
    try:
        started, ended = (datetime.fromisoformat(row[key]) for key in ("started", "ended"))
        return max(0.0, (ended - started).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def counted_seconds(cell: Cell) -> float:
    """Return the seconds of a cell that nobody has measured, from its tokens."""
    cell, entry = cell.resolved(), registry.info(cell.model)
    experiment = experiments.info(cell.experiment)
    trained = scored = 0.0
    if experiment.timing:
        trained = scored = (cell.warmup_steps + cell.timed_steps) * cell.batch * cell.length
    elif experiment.trains:
        trained = EVALUATIONS * cell.tokens if entry.trained else 0
        scored = cell.length * max(1, cell.evaluate_symbols / cell.learned().supervised)
    slower = 1 + cell.length / DOUBLING[entry.cost]
    slower *= cell.trunk.layers * cell.trunk.width / (Trunk().layers * Trunk().width)
    return (trained + INFERENCE_SHARE * scored) * slower / (TRAINING_TOKENS_PER_S * cell.threads)


def duration(seconds: float) -> str:
    """Return seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(cells: Iterable[Cell], root: Path = Path()) -> list[str]:
    """Return a line an experiment, and one on all: rows to measure and time."""
    seconds: dict[str, list[float]] = {}
    for cell in cells:
        seconds.setdefault(cell.experiment, []).append(wall_seconds(cell, root))
    seconds["all"] = [value for values in seconds.values() for value in values]
    lines = []
    for name, values in seconds.items():
        count = f"{sum(value > KEPT_S for value in values):4} of {len(values):4} rows to measure"
        lines.append(f"{name:18} {count}, about {duration(sum(values))}")
    return lines
