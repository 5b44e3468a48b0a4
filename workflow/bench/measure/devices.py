"""The device of a cell: what it can do, its precision and its clock.

A new kind of device is one entry of ABILITIES (docs/devices.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from workflow.bench.outcomes import Unsupported


@dataclass(frozen=True)
class Abilities:
    """What a kind of device can do."""

    present: Callable[[], bool]
    synchronise: Callable[[], None]  # waits until the device has done all its work
    events: bool  # it has a clock of its own; otherwise the host's clock is used


ABILITIES = {
    "cpu": Abilities(lambda: True, lambda: None, events=False),
    "cuda": Abilities(torch.cuda.is_available, torch.cuda.synchronize, events=True),
    "mps": Abilities(torch.backends.mps.is_available, torch.mps.synchronize, events=False),
}


def resolve(name: str) -> torch.device:
    """Return the torch device cpu, cuda or mps; raise Unsupported if this machine has none."""
    if not ABILITIES[name].present():
        raise Unsupported(f"device {name!r} is absent on this machine (torch {torch.__version__})")
    return torch.device(name)


def make_deterministic() -> None:
    """Make the same seed and threads give the same bits; slower on CUDA, so for training only."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that would write every new tensor twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def precision(device: torch.device, dtype: str) -> AbstractContextManager[None]:
    """Return the context of forward passes: bfloat16 is autocast with float32 weights."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds of `work`, gaps between kernels included, the device idle before it."""
    ability = ABILITIES[device.type]
    ability.synchronise()
    if ability.events:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        elapsed_ms: float = start.elapsed_time(end)
        return elapsed_ms / 1000
    begin = time.perf_counter()
    work()
    ability.synchronise()
    return time.perf_counter() - begin


def device_name(device: torch.device) -> str | None:
    """Return an accelerator's name; None for a CPU, whose name is part of the provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
