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
from workflow.bench.tasks.base import Seeds, Task

UNTRAINED_DISTANCE = 7  # what oracle-copy is told where nothing is copied, as in the contract


def build(settings: Cell, device: torch.device, **sizes: int) -> nn.Module:
    """Return the model of a cell with the settings resolved.

    It is initialised on the CPU from the init seed, so it is the same on every device.
    """
    torch.manual_seed(Seeds.of(settings.seed).init)
    mixer: dict[str, Any] = dict(settings.mixer)
    # A model with a parameter `distance`, such as oracle-copy, gets the copy distance.
    if "distance" in inspect.signature(registry.load(settings.model).__init__).parameters:
        if settings.axis != "distance" and settings.task is not None:
            raise Unsupported(
                f"{settings.model} is told a copy distance, and {settings.task_name} has none"
            )
        distance = UNTRAINED_DISTANCE if settings.task is None else settings.x
        mixer.setdefault("distance", distance)
    length = settings.length if settings.task is None else task_of(settings).longest
    trunk = {**settings.trunk.model_dump(), **sizes}
    model = registry.build(
        settings.model, symbols=settings.symbols, length=length, mixer=mixer, **trunk
    )
    return model.to(device)


def is_trained(model: nn.Module) -> bool:
    """Return whether a model is trained; untrained controls say `trainable = False`."""
    return bool(getattr(model, "trainable", True))


def task_of(settings: Cell) -> Task:
    """Return the task of a cell with the settings resolved."""
    return settings.learned()


def describe(model: nn.Module, settings: Cell) -> dict[str, Any]:
    """Return the row keys of any experiment: sizes, seeds and parameters.

    `n_params` excludes position tables, which `n_tables` counts.
    """
    seeds = Seeds.of(settings.seed)
    without_tables = count_parameters(model, tables=False)
    return {
        "n_params": without_tables,
        "n_tables": count_parameters(model, tables=True) - without_tables,
        "length": settings.length,
        "batch": settings.batch,
        "threads": settings.threads,
        "seed_data": seeds.data,
        "seed_init": seeds.init,
        "seed_order": seeds.order,
    }
