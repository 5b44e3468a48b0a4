"""Measure memory: the peak of a piece of work, and what autograd keeps for the backward pass."""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

SAMPLE_SECONDS = 0.001
CLEAR_REFS = Path("/proc/self/clear_refs")
# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
DEFAULT_MMAP_MAX, DEFAULT_THRESHOLD = 65536, 128 * 1024


@dataclass(frozen=True)
class Peak:
    """The most bytes held at once beyond those held before, and how they were measured."""

    bytes: int
    method: str


def peak(device: torch.device, work: Callable[[], object]) -> Peak:
    """Run `work`, which has run once before, and return its peak memory on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return Peak(torch.cuda.max_memory_allocated(device) - before, "cuda max_memory_allocated")
    if device.type == "mps":
        method = "mps current_allocated_memory, sampled"
        return _sampled_peak(torch.mps.current_allocated_memory, method, work)
    if CLEAR_REFS.exists():
        return_freed_memory()
        before = _status_bytes("VmRSS")
        CLEAR_REFS.write_text("5", encoding="ascii")  # resets the high-water mark
        work()
        return Peak(_status_bytes("VmHWM") - before, "linux resident high-water mark")
    process = psutil.Process()  # macOS
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
    """Return a size of /proc/self/status, such as VmRSS, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    for line in status.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step, while work is timed.

    Otherwise page faults make the same work take 1.14 s or 2.08 s (identity, N=16384, 2 cores).
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Make glibc return freed memory to the kernel, now and later: resident is what is held."""
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, DEFAULT_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_THRESHOLD)
        libc.malloc_trim(0)


class SavedBytes:
    """Count the distinct storages that autograd keeps for the backward pass, `apart` excluded."""

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.apart = {_storage(tensor) for tensor in apart}
        self.kept: dict[int, Any] = {}  # the storages themselves, so that no key is used twice
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """The bytes of the distinct storages kept so far."""
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
    """Return the identity of a tensor's storage, which unlike an address exists without data."""
    return int(tensor.untyped_storage()._cdata)
