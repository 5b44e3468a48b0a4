"""Building a cell's model: seeded, on its device, and what a row says about it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from pointer.trunk import count_parameters
from workflow.bench import experiments, registry
from workflow.bench.outcomes import Unsupported
from workflow.bench.settings import Settings
from workflow.bench.tasks import Seeds, Task


def build(settings: Settings, device: torch.device, **sizes: int) -> nn.Module:
    """The model of a cell with the settings resolved, initialised from the init seed on the CPU, so alike on every
    device."""
    torch.manual_seed(Seeds.of(settings.seed).init)
    given: dict[str, Any] = dict(settings.mixer)
    if "distance" in inspect.signature(registry.load(settings.model).__init__).parameters:
        if settings.task_name not in ("", "copy"):
            raise Unsupported(f"{settings.model} is told a copy distance, and {settings.task_name} has none")
        given.setdefault("distance", settings.distance)  # oracle-copy is told
    length = task_of(settings).longest if settings.task_name else settings.length
    return registry.build(settings.model, symbols=settings.symbols, length=length, **given, **sizes).to(device)


def is_trained(model: nn.Module) -> bool:
    """Controls that are not trained say `trainable = False`."""
    return bool(getattr(model, "trainable", True))


def task_of(settings: Settings) -> Task:
    """What a cell learns, with the settings resolved."""
    task: Task = experiments.TASKS[settings.task_name].load().of(settings)
    return task


def describe(model: nn.Module, settings: Settings) -> dict[str, Any]:
    """The row keys that any experiment has: sizes, seeds and parameters (`n_params` without position tables, `n_tables`
    those)."""
    seeds, body = Seeds.of(settings.seed), count_parameters(model, tables=False)
    return {
        "n_params": body,
        "n_tables": count_parameters(model, tables=True) - body,
        "length": settings.length,
        "batch": settings.batch,
        "threads": settings.threads,
        "seed_data": seeds.data,
        "seed_init": seeds.init,
        "seed_order": seeds.order,
    }
