"""Experiment `efficiency` (paper section 3.2): time, throughput, memory and counted work of a training step and of
inference at length N.

Only the step is timed: forward, backward, clipping and update, on batches that lie on the device already. Every shape
is warmed up, the device is idle on both sides of the clock, the garbage collector is off. Where work is periodic
(amortised credit) the unit is the period: percentiles are over whole periods, and tokens_per_s comes from the mean over
all of them, which no dear step escapes. Units that disagree put a warning into the row. Training stands at its start
(progress 0), its dearest phase: noise is on.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workflow.bench.measure import devices, flops, memory, models, statistics
from workflow.bench.measure.training import Recipe, Report, Stepper, tell_progress
from workflow.bench.settings import Settings
from workflow.bench.tasks import generator
from workflow.bench.tasks.copy import copy_batch

MIN_SECONDS = 0.5  # a shorter sample says little on a machine with a scheduler
MAX_SECONDS = 30.0  # after this long, no further period is started ...
MIN_UNITS = 3  # ... once this many are there
PEAK_STEPS = 2  # the second step has the optimiser's state of the first
BATCHES = 4  # different batches, in turn
Measured = tuple[dict[str, Any], list[str]]  # row keys, and what makes them doubtful


@dataclass(frozen=True)
class Timing:
    """Milliseconds a step, one entry for each timed period of `period` steps."""

    units_ms: list[float]
    period: int

    @property
    def steps(self) -> int:
        """Timed steps."""
        return len(self.units_ms) * self.period

    @property
    def mean_ms(self) -> float:
        """Mean milliseconds a step over whole periods."""
        return float(np.mean(self.units_ms))

    def row(self, prefix: str) -> dict[str, float]:
        """<prefix>_ms (median), _q20, _q80 and _mean."""
        q20, median, q80 = (float(q) for q in np.percentile(self.units_ms, [20, 50, 80]))
        return {
            f"{prefix}_ms": median,
            f"{prefix}_ms_q20": q20,
            f"{prefix}_ms_q80": q80,
            f"{prefix}_ms_mean": self.mean_ms,
        }


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The measured row keys of an efficiency cell. Leaves nothing in `folder`."""
    cell = settings.resolved()
    device = devices.resolve(cell.device)
    model, data = models.build(cell, device), cycle(batches(cell, device))
    described = models.describe(model, cell)
    row, unstable = inference(model, data, cell, device)
    report(0.3)
    if models.is_trained(model):
        trained, further = training(model, data, cell, device)
        row, unstable = row | trained, unstable + further
        report(0.7)
        del model
        row |= peak(cell, device, data)
    report(0.8)
    rate = devices.matmul_flops_per_s(device, cell.dtype)
    return described | row | counted(cell) | {"machine_flops_per_s": rate, "warnings": unstable}


def batches(cell: Settings, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Copy-shaped random batches on the device, half of each sequence supervised: (int64[B, N], int64[B, N])."""
    made = (
        copy_batch(
            generator("timing", cell.seed, i), cell.batch, max(2, cell.length), max(1, cell.length // 2), cell.symbols
        )
        for i in range(BATCHES)
    )
    return [
        (torch.tensor(tokens[:, : cell.length]).to(device), torch.tensor(targets[:, -cell.length :]).to(device))
        for tokens, targets in made
    ]


def training(model: nn.Module, data: Iterator[tuple[Tensor, Tensor]], cell: Settings, device: torch.device) -> Measured:
    """Row keys of the training step, and of its forward pass alone (with noise, keeping what backward needs);
    warnings."""
    stepper, period = _stepper(model, cell, device), flops.period(model)
    forward = clock(lambda: stepper.loss(*next(data)), cell, device, period)
    timing = clock(lambda: stepper.step(*next(data)), cell, device, period)
    per_step = cell.batch * cell.length
    sizes = {"steps": timing.steps, "period": period, "tokens_per_s": 1000 * per_step / timing.mean_ms}
    warnings = statistics.unstable(timing.units_ms, "training step")
    return forward.row("forward") | timing.row("step") | sizes, warnings


def inference(
    model: nn.Module, data: Iterator[tuple[Tensor, Tensor]], cell: Settings, device: torch.device
) -> Measured:
    """Row keys of hard inference, and warnings: a forward pass in eval mode without gradients."""
    model.eval()

    def forward() -> None:
        with torch.no_grad(), devices.precision(device, cell.dtype):
            model(next(data)[0])

    timing = clock(forward, cell, device, 1)
    rate = {"inference_tokens_per_s": 1000 * cell.batch * cell.length / timing.mean_ms}
    return timing.row("inference") | rate, statistics.unstable(timing.units_ms, "inference")


def peak(cell: Settings, device: torch.device, data: Iterator[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Row keys of peak memory: weights, gradients, optimiser state and activations of training, with everything
    compiled beforehand."""

    def work() -> None:
        stepper = _stepper(models.build(cell, device), cell, device)
        for _ in range(PEAK_STEPS):
            stepper.step(*next(data))

    found = memory.peak(device, work)
    return {"peak_memory_bytes": found.bytes, "memory_method": found.method}


def counted(cell: Settings) -> dict[str, Any]:
    """Row keys of counted work for the cell's batch; no step and no saved bytes for an untrained
    control."""
    model = models.build(cell, torch.device("cpu"))
    work = flops.count(model, cell.batch, cell.length, cell.symbols)
    trained = models.is_trained(model)
    return {
        "flops_forward": work.forward,
        "flops_step": work.step if trained else None,
        "saved_bytes": work.saved_bytes if trained else None,
    }


def clock(step: Callable[[], object], cell: Settings, device: torch.device, period: int) -> Timing:
    """Times whole periods of `step`: at least `timed_steps` and MIN_SECONDS, but little more than MAX_SECONDS."""
    for _ in range(period * math.ceil(cell.warmup_steps / period)):
        step()
    units: list[float] = []
    wanted = math.ceil(cell.timed_steps / period)
    with _no_garbage_collection():
        begin = time.perf_counter()
        while not _enough(len(units), wanted, time.perf_counter() - begin):
            units.append(sum(devices.seconds(device, step) for _ in range(period)) * 1000 / period)
    return Timing(units, period)


def _enough(units: int, wanted: int, seconds: float) -> bool:
    return (units >= wanted and seconds >= MIN_SECONDS) or (units >= min(wanted, MIN_UNITS) and seconds >= MAX_SECONDS)


def _stepper(model: nn.Module, cell: Settings, device: torch.device) -> Stepper:
    tell_progress(model, 0.0)
    return Stepper(model.train(), Recipe(cell.tokens, cell.lr, cell.dtype), device)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collected before, off inside: a collection in the middle of a step is not the step's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
