"""Does a step that is timed fetch no memory from the kernel anew, and one that is weighed give it back?"""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets parameters of glibc's allocator")

STEPS = """
import resource, sys, torch
from workflow.bench.measure import memory
getattr(memory, sys.argv[1])()
def step():
    held = [torch.ones(size * 2**18) for size in (1, 9, 60)]  # MiB
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):  # fragments of the heap find their places in a few
    step()
before = faults()
step()
print(faults() - before)
"""


def page_faults(what: str) -> int:
    """Of a step that allocates 70 MiB, after eight equal ones in a process of its own."""
    done = subprocess.run([sys.executable, "-c", STEPS, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


@glibc
def test_a_timed_step_finds_its_memory_where_it_left_it() -> None:
    assert page_faults("keep_freed_memory") < 100


@glibc
def test_a_weighed_step_holds_nothing_that_it_has_freed() -> None:
    assert page_faults("return_freed_memory") * 4096 > 60 * 2**20
