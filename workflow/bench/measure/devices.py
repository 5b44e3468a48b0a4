"""Where a cell runs: the device, what it can do, its threads, its precision, its clock, and how fast it multiplies
matrices.

`ABILITIES` says what a kind of device can do, and everything that differs between devices asks it: a new kind is one
entry there (docs/maintaining.md, "Adding a machine").
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from workflow.bench.outcomes import Unsupported

MATMUL_SECONDS = 0.2


def _nothing() -> None:
    """A CPU has done its work when the call returns."""


@dataclass(frozen=True)
class Abilities:
    """What a kind of device can do. Times come from its own clock where it has events, else from the host's."""

    present: Callable[[], bool]
    synchronise: Callable[[], None]  # waits until the device has done all it was given
    events: bool  # a clock on the device, between its own pieces of work
    selection: Literal["numba", "triton", "torch"]  # what computes Pointer's selection
    attention: Literal["torch", "flash"]  # what computes a Transformer's attention in bfloat16
    window: Literal["chunks", "flex"]  # what computes a sliding window
    peak_memory: Literal["high-water mark", "counted", "sampled"]
    matmul_size: int  # of a square product that keeps it busy for some milliseconds


ABILITIES = {
    "cpu": Abilities(lambda: True, _nothing, False, "numba", "torch", "chunks", "high-water mark", 1024),
    "cuda": Abilities(
        torch.cuda.is_available, torch.cuda.synchronize, True, "triton", "flash", "flex", "counted", 8192
    ),
    "mps": Abilities(
        torch.backends.mps.is_available, torch.mps.synchronize, False, "torch", "torch", "chunks", "sampled", 2048
    ),
}


def abilities(device: torch.device) -> Abilities:
    """What a device can do, by its kind."""
    return ABILITIES[device.type]


def resolve(name: str) -> torch.device:
    """cpu, cuda or mps as a torch device; raises Unsupported where this machine has none."""
    if not ABILITIES[name].present():
        raise Unsupported(f"device {name!r} is absent on this machine (torch {torch.__version__})")
    return torch.device(name)


def make_deterministic() -> None:
    """Same seed and threads, same bits. For training only: on CUDA the deterministic kernels are slower."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that would write every new tensor twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was given; nothing to wait for on a CPU."""
    abilities(device).synchronise()


def precision(device: torch.device, dtype: str) -> AbstractContextManager[None]:
    """The context of forward passes: bfloat16 means autocast with float32 weights, float32 means nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of `work`, the device idle on both sides: by CUDA's events, else by the host's clock."""
    synchronise(device)
    if abilities(device).events:
        return _event_seconds(work)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def _event_seconds(work: Callable[[], object]) -> float:
    """From before the first to after the last kernel of `work`, gaps between them counted, by the device's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    elapsed_ms: float = start.elapsed_time(end)
    return elapsed_ms / 1000


def device_name(device: torch.device) -> str | None:
    """The accelerator's own name; None for a CPU, whose name comes from the provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def matmul_flops_per_s(device: torch.device, dtype: str) -> float:
    """This machine's own matrix-product rate in FLOP/s at the cell's threads and precision: the best of repeated square
    products."""
    size = abilities(device).matmul_size
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    times = [seconds(device, lambda: a @ b) for _ in range(3)]
    while sum(times) < MATMUL_SECONDS:
        times.append(seconds(device, lambda: a @ b))
    return 2 * size**3 / min(times)
