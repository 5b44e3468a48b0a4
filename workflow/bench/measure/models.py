"""Build the model of a cell: seeded, on its device, and described for its row."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from pointer.trunk import count_parameters
from workflow.bench import registry
from workflow.bench.cell import Cell
from workflow.bench.outcomes import Unsupported
from workflow.bench.tasks.base import Seeds

UNTRAINED_DISTANCE = 7  # what oracle-copy gets in experiments without a task


def build(cell: Cell, device: torch.device, **sizes: int) -> nn.Module:
    """Return the model of a resolved cell, equal on every device; `sizes` replace its trunk's."""
    torch.manual_seed(Seeds.of(cell.seed).init)
    mixer: dict[str, Any] = dict(cell.mixer)
    # A model with a parameter `distance`, such as oracle-copy, gets the copy distance.
    if "distance" in inspect.signature(registry.load(cell.model).__init__).parameters:
        if cell.task is not None and cell.axis != "distance":
            message = f"{cell.model} is told a copy distance, and {cell.task_name} has none"
            raise Unsupported(message)
        mixer.setdefault("distance", UNTRAINED_DISTANCE if cell.task is None else cell.x)
    length = cell.length if cell.task is None else cell.learned().longest
    trunk = {**cell.trunk.model_dump(), **sizes}
    model = registry.build(cell.model, symbols=cell.symbols, length=length, mixer=mixer, **trunk)
    return model.to(device)


def is_trained(model: nn.Module) -> bool:
    """Return whether a model is trained; untrained controls set `trainable = False`."""
    return bool(getattr(model, "trainable", True))


def describe(model: nn.Module, cell: Cell) -> dict[str, Any]:
    """Return the row keys of any experiment: sizes, seeds and parameters."""
    seeds = Seeds.of(cell.seed)
    without_tables = count_parameters(model, tables=False)
    return {
        "n_params": without_tables,
        "n_tables": count_parameters(model, tables=True) - without_tables,
        "length": cell.length,
        "batch": cell.batch,
        "threads": cell.threads,
        "seed_data": seeds.data,
        "seed_init": seeds.init,
        "seed_order": seeds.order,
    }
