"""How long will a tier take, and how much disk? From rows that exist, else from counted work.

The counted guess is crude on purpose: tokens through the model over a rate, slowed down by the cost class. It is meant
to tell minutes from hours, and gives way to a measured row as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from workflow.bench import experiments, registry
from workflow.bench.cell import Cell
from workflow.bench.rows import Row
from workflow.bench.settings import Settings, affinity, threads
from workflow.bench.store import Store

START_S = 4.0  # a process, torch, a model
STORED_S = 1.0  # a row that the store already has
TRAINING_TOKENS_PER_S = 3000.0  # a core of a 2-core AMD EPYC, linear cost, 3.2 M parameters
INFERENCE_SHARE = 1 / 3  # a forward pass is a third of a training step
EVALUATIONS = 1.3  # training stops now and then to evaluate
DOUBLING_LENGTH = {"linear": float("inf"), "n log n": 16384.0, "quadratic": 1200.0, "quadratic-unfused": 160.0}
ROW_BYTES = 15_000
WEIGHTS_BYTES = 14_000_000  # a trained model, kept by interpretability in the store and beside the row
REPORT_BYTES = 10_000_000


@dataclass(frozen=True)
class Estimate:
    """What is left of some cells: how many to measure, wall-clock seconds, bytes on disk."""

    cells: int
    left: int
    seconds: float
    disk_bytes: int


def estimate(cells: Iterable[Cell], store: Store) -> Estimate:
    """Time and disk left for cells; what the store has costs next to nothing."""
    every = list(cells)
    left = [cell for cell in every if store.find(cell) is None]
    seconds = sum(wall_seconds(cell, store) for cell in every)
    return Estimate(len(every), len(left), seconds, sum(disk_bytes(cell) for cell in left))


def wall_seconds(cell: Cell, store: Store) -> float:
    """Seconds that a cell adds to a pipeline: training cells that use a share of the CPUs run side by side."""
    if store.find(cell) is not None:
        return STORED_S
    earlier = store.earlier(cell)
    seconds = START_S + (row_seconds(earlier) if earlier else counted_seconds(cell))
    return seconds if cell.timing else seconds * threads(cell.threads) / affinity()


def row_seconds(row: Row) -> float:
    """How long a row's measurement took; 0 where its times are none (`pointer-bench verify` tells)."""
    try:
        spent = datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["started"])
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, spent.total_seconds())


def counted_seconds(settings: Settings) -> float:
    """Seconds of a cell that nobody has measured, from the tokens that go through the model."""
    cell, entry, experiment = settings.resolved(), registry.info(settings.model), experiments.info(settings.experiment)
    trained = scored = 0.0
    if experiment.timing:
        trained = scored = (cell.warmup_steps + cell.timed_steps) * cell.batch * cell.length
    elif experiment.trains:
        trained = EVALUATIONS * cell.tokens if entry.trained else 0
        scored = cell.length * max(1, cell.evaluate_symbols / cell.learned().supervised)
    slower = 1 + cell.length / DOUBLING_LENGTH[entry.cost]
    return (trained + INFERENCE_SHARE * scored) * slower / (TRAINING_TOKENS_PER_S * cell.threads)


def disk_bytes(settings: Settings) -> int:
    """What a cell leaves on disk, once in the store and once beside its tier's rows."""
    weights = WEIGHTS_BYTES if settings.experiment == "interpretability" else 0
    return 2 * (ROW_BYTES + weights)


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(cells: Iterable[Cell], store: Store) -> list[str]:
    """Lines for a reader: each experiment, then all of it."""
    every = list(cells)
    names = list(dict.fromkeys(cell.experiment for cell in every))
    lines = [_line(name, [cell for cell in every if cell.experiment == name], store) for name in names]
    return [*lines, _line("all", every, store, REPORT_BYTES)]


def _line(name: str, cells: list[Cell], store: Store, further_bytes: int = 0) -> str:
    found = estimate(cells, store)
    rows, megabytes = f"{found.left:4} of {found.cells:4} rows to measure", (found.disk_bytes + further_bytes) / 1e6
    return f"{name:18} {rows}, about {duration(found.seconds)}, {megabytes:.1f} MB"
