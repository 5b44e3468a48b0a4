"""Peak memory and counted work of a training step at length N (paper sections 3.2 and 4.2).

Peak memory takes a process of its own: earlier models of a process would raise it.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, flops, memory, models
from workflow.bench.measure.timing import batches, stepper_of
from workflow.bench.measure.training import Report

PEAK_STEPS = 2  # the second step has the optimiser's state of the first


def peak_memory(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return a memory cell's row keys: peak of weights, gradients, optimiser state, activations."""
    cell = cell.resolved()
    device = devices.resolve(cell.device)
    model = models.build(cell, device)
    row = models.describe(model, cell)
    if not models.is_trained(model):
        return row
    del model
    data = cycle(batches(cell, device))

    def work() -> None:
        stepper = stepper_of(models.build(cell, device), cell, device)
        for _ in range(PEAK_STEPS):
            stepper.step(*next(data))

    work()  # what is loaded and compiled once is not the model's
    report(0.5)
    measured = memory.peak(device, work)
    return row | {"peak_memory_bytes": measured.bytes, "memory_method": measured.method}


def complexity(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return a complexity cell's counted row keys, of one sequence unless the cell sets a batch."""
    cell = cell.model_copy(update={"batch": cell.batch or 1}).resolved()
    model = models.build(cell, torch.device("cpu"))
    work = flops.count(model, cell.batch, cell.length)
    trained = models.is_trained(model)
    return models.describe(model, cell) | {
        "flops_forward": work.forward,
        "flops_step": work.step if trained else None,
        "saved_bytes": work.saved_bytes if trained else None,
    }
