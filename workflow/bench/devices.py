"""Where a cell runs: the device, its threads, its precision, its clock, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from workflow.bench.outcomes import Unsupported

MATMUL_SIZE = {"cpu": 1024, "cuda": 8192, "mps": 2048}
MATMUL_SECONDS = 0.2


def resolve(name: str) -> torch.device:
    """cpu, cuda or mps as a torch device; raises Unsupported where this machine has none."""
    present: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if not present[name]():
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
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def precision(device: torch.device, dtype: str) -> AbstractContextManager[None]:
    """The context of forward passes: bfloat16 means autocast with float32 weights, float32 means nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Wall-clock seconds of `work`, the device idle on both sides."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def device_name(device: torch.device) -> str | None:
    """The accelerator's own name; None for a CPU, whose name comes from the provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def matmul_flops_per_s(device: torch.device, dtype: str) -> float:
    """This machine's own matrix-product rate in FLOP/s at the cell's threads and precision: the best of repeated square
    products."""
    size = MATMUL_SIZE[device.type]
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    times = [seconds(device, lambda: a @ b) for _ in range(3)]
    while sum(times) < MATMUL_SECONDS:
        times.append(seconds(device, lambda: a @ b))
    return 2 * size**3 / min(times)
