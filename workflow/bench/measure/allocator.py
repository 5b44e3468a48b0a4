"""How the C library's allocator (glibc) treats freed tensors: kept while work is timed, given back while it is weighed.

Left alone, glibc returns much of a training step's memory to the kernel and fetches it again, page by page, in the next
one. How much depends on the sizes and order of a model's tensors, so that equal work took 1.14 s in one run and 2.08 s
in another (identity, N=16384, 2 cores: 0 and 307,441 page faults a step). Elsewhere these do nothing.
"""

from __future__ import annotations

import ctypes
import functools
import sys

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
NEVER = -1
DEFAULT_MMAP_MAX, DEFAULT_THRESHOLD = 65536, 128 * 1024


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """The C library, where it has glibc's two functions."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def keep() -> None:
    """From now on freed memory stays with the process, ready for the next step."""
    if libc := _libc():
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back() -> None:
    """Freed memory goes back to the kernel, now and from now on: what is resident is what is held."""
    if libc := _libc():
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, DEFAULT_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_THRESHOLD)
        libc.malloc_trim(0)
