"""Bytes: the peak that a device reports for a piece of work, and the activations that autograd keeps for a backward
pass.

Never 0 for unknown: where a device has no means, the bytes are None and the method says so. On a CPU `tracemalloc` sees
no tensors; the kernel's resident high-water mark does, and Linux resets it when 5 is written to /proc/self/clear_refs.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow.bench.measure import allocator

SAMPLE_SECONDS = 0.001
UNKNOWN = "unknown: this platform reports no peak"


@dataclass(frozen=True)
class Peak:
    """The most bytes held at once beyond what was held before, and how that was found out."""

    bytes: int | None
    method: str


def peak(device: torch.device, work: Callable[[], object]) -> Peak:
    """Runs `work` and tells its peak memory on the device. Warm up first: compilers and caches count as well."""
    gc.collect()
    if device.type == "cuda":
        return _cuda_peak(device, work)
    if device.type == "mps":
        return _sampled_peak(torch.mps.current_allocated_memory, "mps current_allocated_memory, sampled", work)
    if Path("/proc/self/clear_refs").exists():
        return _linux_peak(work)
    return _process_peak(work)


def _cuda_peak(device: torch.device, work: Callable[[], object]) -> Peak:
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return Peak(torch.cuda.max_memory_allocated(device) - before, "cuda max_memory_allocated")


def _linux_peak(work: Callable[[], object]) -> Peak:
    allocator.give_back()
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    work()
    return Peak(_status_bytes("VmHWM") - before, "linux resident high-water mark")


def _process_peak(work: Callable[[], object]) -> Peak:
    """macOS: the resident size, sampled, where psutil is installed."""
    try:
        import psutil
    except ImportError:
        work()
        return Peak(None, UNKNOWN)
    process = psutil.Process()
    return _sampled_peak(lambda: int(process.memory_info().rss), "resident size, sampled", work)


def _sampled_peak(read: Callable[[], int], method: str, work: Callable[[], object]) -> Peak:
    before = most = read()
    done = threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(SAMPLE_SECONDS):
            most = max(most, read())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return Peak(max(most, read()) - before, method)


def _status_bytes(key: str) -> int:
    """A size of /proc/self/status (VmRSS, VmHWM) in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


class SavedBytes:
    """Counts what autograd keeps for the backward pass while it is entered: distinct storages, those of `apart` left
    out.

    with SavedBytes(model.parameters()) as saved:
        loss = forward()
    print(saved.bytes)
    """

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.apart = {_storage(tensor) for tensor in apart}
        self.kept: dict[int, Any] = {}  # the storages themselves, so that no key is used twice
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Bytes of the distinct storages seen so far."""
        return sum(storage.nbytes() for storage in self.kept.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key not in self.apart:
            self.kept.setdefault(key, tensor.untyped_storage())
        return tensor

    def __enter__(self) -> SavedBytes:
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.hooks.__exit__(*exception)


def _storage(tensor: Tensor) -> int:
    """The identity of a tensor's storage; unlike its address it also exists for tensors without data."""
    return int(tensor.untyped_storage()._cdata)
