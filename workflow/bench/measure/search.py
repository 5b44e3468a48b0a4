"""Search the learning rate, the same way for every model: one row with the outcome of each rate.

Rates are tried in turn on one seed. A rate that reaches 95% sets the tokens of the others. At half
of them a rate is dropped if its loss is above the leader's at as many tokens, but not while it
still warms up, nor if the leader had learned nothing by then: who leaves a plateau first shows only
once somebody has. Only the validation stream is read, never test sequences. `pointer-bench rates`
writes the chosen rates to config/learning_rates.yaml, the default of every cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, models
from workflow.bench.measure.checkpoint import History
from workflow.bench.measure.training import WARMUP_TOKENS, Recipe, Report, train
from workflow.bench.outcomes import Diverged
from workflow.bench.rates import RATES, Tried, best

RECENT = 4  # evaluations that a loss is the mean of
LEARNING = 0.9  # of its first loss: a leader below it has left the plateau of guessing


def run(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the row keys of a search: sizes, and the outcome of each rate."""
    cell = cell.resolved()
    device, task = devices.resolve(cell.device), cell.learned()
    devices.make_deterministic()
    tried: list[Tried] = []
    leader: History | None = None
    row: dict[str, Any] = {}
    for rate in RATES:
        race = Race(cell.tokens, leader)
        model = models.build(cell, device)
        row = models.describe(model, cell) | {"tokens_budget": cell.tokens}
        recipe = Recipe(cell.tokens, rate, cell.dtype, schedule=cell.schedule)
        try:
            history = train(model, task, recipe, device, report, stop=race.is_over)
        except Diverged as diverged:
            used = int(diverged.row["tokens_used"])
            tried.append(Tried(rate=rate, tokens=used, tokens_to_95=None, loss=None))
            continue
        tokens, to_95 = history.tokens_used, history.tokens_to_95
        tried.append(Tried(rate, tokens, to_95, recent_loss(history, tokens)))
        if best(tried) == rate:
            leader = history
    return row | {"rates": [list(entry) for entry in tried], "lr_chosen": best(tried)}


class Race:
    """When the training at one rate ends: it has learned, its tokens are used, or it is behind."""

    def __init__(self, tokens: int, leader: History | None) -> None:
        self.leader = leader
        self.tokens = tokens  # at most
        if leader is not None and leader.tokens_to_95 is not None:
            self.tokens = leader.tokens_to_95
        self.halfway = False

    def is_over(self, history: History) -> bool:
        """Return whether to stop after this evaluation."""
        used = history.tokens_used
        if not self.halfway and used >= self.tokens / 2:
            self.halfway = True
            if self.leader and used >= WARMUP_TOKENS:
                leading = recent_loss(self.leader, used)
                learning = leading < LEARNING * self.leader.evaluations[0][1]
                if learning and recent_loss(history, used) > leading:
                    return True
        return history.tokens_to_95 is not None or used >= self.tokens


def recent_loss(history: History, tokens: int) -> float:
    """Return the mean validation loss of the last evaluations up to `tokens`, in nats a symbol."""
    losses = [loss for used, loss, _, _ in history.evaluations if used <= tokens][-RECENT:]
    return sum(losses) / len(losses)
