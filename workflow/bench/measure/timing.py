"""Time, memory and counted work of a model at length N (paper sections 3.2 and 4.2).

Only the step is timed: forward, backward, clipping and update, on batches that are on the device
already, warmed up. Where work is periodic (amortised credit) the unit is the period, so that no
expensive step escapes the mean. Training is timed at progress 0, its most expensive phase.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, flops, memory, models
from workflow.bench.measure.statistics import unstable
from workflow.bench.measure.training import Batch, Recipe, Report, Stepper, set_progress
from workflow.bench.tasks.base import generator
from workflow.bench.tasks.copy import copy_batch

MIN_SECONDS = 0.5  # a shorter sample says little on a machine with a scheduler
MAX_SECONDS = 30.0  # after this long, no further period is started ...
MIN_UNITS = 3  # ... once this many are done
PEAK_STEPS = 2  # the second step has the optimiser's state of the first
BATCHES = 4  # different batches, in turn
Measured = tuple[dict[str, Any], list[str]]  # row keys, warnings


def efficiency(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the measured row keys of an efficiency cell; leave nothing in `folder`."""
    cell = cell.resolved()
    device = devices.resolve(cell.device)
    model = models.build(cell, device)
    data = cycle(batches(cell, device))
    row = models.describe(model, cell)
    keys, warnings = inference(model, data, cell, device)
    row |= keys
    report(0.3)
    if models.is_trained(model):
        keys, more = training(model, data, cell, device)
        row |= keys
        warnings += more
        report(0.7)
        del model
        row |= peak(cell, device, data)
    report(0.8)
    return row | counted(cell) | {"warnings": warnings}


def complexity(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the counted row keys of a complexity cell, of one sequence unless it gives a batch."""
    cell = cell.model_copy(update={"batch": cell.batch or 1}).resolved()
    return models.describe(models.build(cell, torch.device("cpu")), cell) | counted(cell)


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


def training(model: nn.Module, data: Iterator[Batch], cell: Cell, device: torch.device) -> Measured:
    """Measure the training step, and its forward pass alone with noise and graph."""
    stepper, period = _stepper(model, cell, device), flops.period(model)
    forward = clock(lambda: stepper.loss(*next(data)), cell, device, period)
    step = clock(lambda: stepper.step(*next(data)), cell, device, period)
    row: dict[str, Any] = forward.row("forward") | step.row("step")
    row |= {"steps": step.steps, "period": period}
    row["tokens_per_s"] = 1000 * cell.batch * cell.length / step.mean_ms
    return row, unstable(step.units_ms, "training step")


def inference(
    model: nn.Module, data: Iterator[Batch], cell: Cell, device: torch.device
) -> Measured:
    """Measure hard inference: a forward pass in eval mode without gradients."""
    model.eval()

    def forward() -> None:
        with torch.no_grad(), devices.precision(device, cell.dtype):
            model(next(data)[0])

    timing = clock(forward, cell, device, 1)
    row: dict[str, Any] = dict(timing.row("inference"))
    row["inference_tokens_per_s"] = 1000 * cell.batch * cell.length / timing.mean_ms
    return row, unstable(timing.units_ms, "inference")


def peak(cell: Cell, device: torch.device, data: Iterator[Batch]) -> dict[str, Any]:
    """Measure peak memory of training: weights, gradients, optimiser state, activations."""

    def work() -> None:
        stepper = _stepper(models.build(cell, device), cell, device)
        for _ in range(PEAK_STEPS):
            stepper.step(*next(data))

    measured = memory.peak(device, work)
    return {"peak_memory_bytes": measured.bytes, "memory_method": measured.method}


def counted(cell: Cell) -> dict[str, Any]:
    """Return counted work of one batch; null for the training step of an untrained control."""
    model = models.build(cell, torch.device("cpu"))
    work = flops.count(model, cell.batch, cell.length)
    trained = models.is_trained(model)
    return {
        "flops_forward": work.forward,
        "flops_step": work.step if trained else None,
        "saved_bytes": work.saved_bytes if trained else None,
    }


@dataclass(frozen=True)
class Timing:
    """Milliseconds per step, one entry for each timed period of steps."""

    units_ms: list[float]
    period: int

    @property
    def steps(self) -> int:
        """Return the number of timed steps."""
        return len(self.units_ms) * self.period

    @property
    def mean_ms(self) -> float:
        """Return the mean milliseconds per step over whole periods."""
        return float(np.mean(self.units_ms))

    def row(self, prefix: str) -> dict[str, float]:
        """Return <prefix>_ms (the median), _ms_q20, _ms_q80 and _ms_mean."""
        q20, median, q80 = (float(q) for q in np.percentile(self.units_ms, [20, 50, 80]))
        name = f"{prefix}_ms"
        return {name: median, f"{name}_q20": q20, f"{name}_q80": q80, f"{name}_mean": self.mean_ms}


def clock(step: Callable[[], object], cell: Cell, device: torch.device, period: int) -> Timing:
    """Time whole periods of `step`: `timed_steps` and MIN_SECONDS at least, within MAX_SECONDS."""
    for _ in range(period * math.ceil(cell.warmup_steps / period)):
        step()
    units: list[float] = []
    asked = math.ceil(cell.timed_steps / period)
    gc.collect()
    gc.disable()  # a collection in the middle would be timed
    try:
        begin = time.perf_counter()
        while True:
            spent = time.perf_counter() - begin
            if len(units) >= asked and spent >= MIN_SECONDS:
                break
            if len(units) >= min(asked, MIN_UNITS) and spent >= MAX_SECONDS:
                break
            seconds = sum(devices.seconds(device, step) for _ in range(period))
            units.append(seconds * 1000 / period)
    finally:
        gc.enable()
    return Timing(units, period)


def _stepper(model: nn.Module, cell: Cell, device: torch.device) -> Stepper:
    set_progress(model, 0.0)
    return Stepper(model.train(), Recipe(cell.tokens, cell.lr, cell.dtype), device)
