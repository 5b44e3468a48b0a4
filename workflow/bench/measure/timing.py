"""Time a model's training step and hard inference at length N (paper section 3.2).

Only the step is timed: forward, backward, clipping and update, on batches that are already on the
device, warmed up, the models of a session in turn. Where work is periodic (amortised credit) a
round steps the whole period. Training is timed at progress 0, its most expensive phase.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from statistics import fmean, median
from typing import Any

import torch
from torch import nn

from workflow.bench import registry
from workflow.bench.cell import Cell
from workflow.bench.measure import devices, flops, models, session, statistics
from workflow.bench.measure.training import Batch, Recipe, Report, Stepper, set_progress
from workflow.bench.outcomes import DISTURBED
from workflow.bench.tasks.base import generator
from workflow.bench.tasks.copy import copy_batch

BATCHES = 4  # different batches, in turn
UNKNOWN_LOAD = "what other programs took of the cores is not known here"


class Timed:
    """One model of a session, built before its first step. After one failure it always fails."""

    def __init__(
        self, cell: Cell, device: torch.device, data: Sequence[Batch], begun: Callable[[], object]
    ) -> None:
        self.cell, self.device, self.data, self.begun = cell, device, cycle(data), begun
        self.stepper: Stepper | None = None
        self.failure: Exception | None = None
        self.row: dict[str, Any] = {}
        self.phases = {"inference": session.Member(cell.model, partial(self.take, self.inference))}
        if registry.info(cell.model).trained:
            self.phases["training"] = session.Member(cell.model, partial(self.take, self.training))

    def take(self, step: Callable[[Stepper], float]) -> float:
        """Build the model if needed and return the wall seconds of a step."""
        if self.failure is not None:
            raise self.failure
        try:
            if self.stepper is None:
                self.begun()
                model = models.build(self.cell, self.device)
                self.row = models.describe(model, self.cell) | {"period": flops.period(model)}
                self.stepper = stepper_of(model, self.cell, self.device)
            return step(self.stepper)
        except Exception as error:
            self.failure, self.stepper = error, None
            raise

    def training(self, stepper: Stepper) -> float:
        """Step for a period of the model's work; return the wall seconds of all its steps."""
        stepper.model.train()
        steps = range(self.row["period"])
        return sum(
            devices.seconds(self.device, lambda: stepper.step(*next(self.data))) for _ in steps
        )

    def inference(self, stepper: Stepper) -> float:
        """Run a forward pass in eval mode without gradients; return its wall seconds."""
        stepper.model.eval()

        def forward() -> None:
            with torch.no_grad(), devices.precision(self.device, self.cell.dtype):
                stepper.model(next(self.data)[0])

        return devices.seconds(self.device, forward)

    def result(self) -> dict[str, Any] | Exception:
        """Return the row keys of the rounds, or the model's failure."""
        if self.failure is not None:
            return self.failure
        tokens = self.cell.batch * self.cell.length
        row = dict(self.row)
        for phase, member in self.phases.items():
            training = phase == "training"
            steps = row["period"] if training else 1
            wall = [ms / steps for ms in member.wall_ms]
            time, prefix = ("step", "") if training else ("inference", "inference_")
            row[f"{time}_ms"], row[f"{time}_ms_mean"] = median(wall), fmean(wall)
            row[f"{prefix}rounds_ms"] = wall
            row[f"{prefix}rounds_processor_ms"] = [ms / steps for ms in member.processor_ms]
            row[f"{prefix}tokens_per_s"] = 1000 * tokens / fmean(wall)
        return row


def efficiency(
    cells: Sequence[Cell], report: Report, begun: Callable[[int | None], object]
) -> list[dict[str, Any] | Exception]:
    """Time the cells of a session in turn, all of one size; return row keys or a failure for each.

    `begun` is called with the index of the cell that is built and warmed up, then with None.
    """
    cells = [cell.resolved() for cell in cells]
    device = devices.resolve(cells[0].device)
    data = batches(cells[0], device)
    timed = [Timed(cell, device, data, partial(begun, n)) for n, cell in enumerate(cells)]
    members = [member for one in timed for member in one.phases.values()]

    def after_round(done: float) -> None:
        if done == 0:
            begun(None)
        report(done)

    first = cells[0]
    load = session.run(members, first.session_seconds, first.repeat, report=after_round)
    results = [one.result() for one in timed]
    warnings = [] if load.others is not None else [UNKNOWN_LOAD]
    reason = session.disturbed(load, *_twin(cells, timed))
    warnings += [f"{DISTURBED}{reason}"] if reason else []
    for result in results:
        if isinstance(result, dict):
            result |= {"others_share": load.others, "warnings": warnings}
    return results


def _twin(cells: Sequence[Cell], timed: Sequence[Timed]) -> tuple[float, float, float]:
    """Return the twin's time over the first model's, with its interval; 1 if either is missing."""
    first = timed[0]
    twins = [one for cell, one in zip(cells, timed, strict=True) if cell.twin]
    if not twins or first.failure is not None or twins[0].failure is not None:
        return 1.0, 1.0, 1.0
    phase = "training" if "training" in first.phases else "inference"
    pairs = zip(twins[0].phases[phase].wall_ms, first.phases[phase].wall_ms, strict=True)
    return statistics.ratio([math.log(twin / own) for twin, own in pairs], session.CERTAIN)


def batches(cell: Cell, device: torch.device) -> list[Batch]:
    """Return copy-shaped random batches on the device, half of each sequence supervised."""
    # The copy task needs two tokens; one-token cells take the first of the tokens, the last target.
    length, distance = max(2, cell.length), max(1, cell.length // 2)
    result = []
    for index in range(BATCHES):
        rng = generator("timing", cell.seed, index)
        tokens, targets = copy_batch(rng, cell.batch, length, distance, cell.symbols)
        tokens, targets = tokens[:, : cell.length], targets[:, -cell.length :]
        result.append((torch.tensor(tokens).to(device), torch.tensor(targets).to(device)))
    return result


def stepper_of(model: nn.Module, cell: Cell, device: torch.device) -> Stepper:
    """Return the stepper of a resolved cell's model, at progress 0: noise is on."""
    set_progress(model, 0.0)
    return Stepper(model.train(), Recipe(cell.tokens, cell.lr, cell.dtype), device)
