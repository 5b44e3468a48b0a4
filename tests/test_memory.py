"""Known numbers of bytes come out of the memory measurements."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from workflow.bench.measure import memory

MIB = 2**20
ROOT = Path(__file__).resolve().parent.parent

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's high-water mark")


MEASURE = """
import json, sys
import torch
from workflow.bench.measure import memory

peaks = []
for sizes_mib in json.loads(sys.argv[1]):
    def work():
        for size in sizes_mib:
            torch.ones(size * 2**20 // 4)
    peak = memory.peak(torch.device("cpu"), work)
    peaks.append((peak.bytes, peak.method))
print(json.dumps(peaks))
"""


def peaks(*sizes_mib):
    command = [sys.executable, "-c", MEASURE, json.dumps(sizes_mib)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [(found, method) for found, method in json.loads(done.stdout)]


@linux
def test_the_peak_of_known_tensors_is_read_within_ten_percent():
    """It forgets an earlier, higher one; what is freed in between is not added up."""
    for (found, method), size in zip(peaks([160], [40], [60] * 5), (160, 40, 60), strict=True):
        assert method == "linux resident high-water mark"
        assert found == pytest.approx(size * MIB, rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="reads CUDA's own allocator")
@pytest.mark.parametrize("size_mib", [40, 160])
def test_the_peak_of_a_known_tensor_on_a_gpu(size_mib):
    device = torch.device("cuda")
    held = torch.ones(64 * MIB // 4, device=device)  # what was there before does not count
    found = memory.peak(device, lambda: torch.ones(size_mib * MIB // 4, device=device))
    assert (found.method, held.numel()) == ("cuda max_memory_allocated", 64 * MIB // 4)
    assert found.bytes == pytest.approx(size_mib * MIB, rel=0.1)


def test_saved_bytes_are_those_of_distinct_activations():
    layer, x = nn.Linear(64, 32), torch.randn(10, 64)
    with memory.SavedBytes(layer.parameters()) as saved:
        y = layer(x).exp()  # keeps x for the weight's gradient, and its own result
    assert saved.bytes == 4 * (10 * 64 + 10 * 32)
    y.sum().backward()


def test_a_tensor_kept_twice_counts_once():
    x = torch.randn(100, requires_grad=True)
    with memory.SavedBytes([]) as saved:
        x * x * x.view(100)
    assert saved.bytes == 2 * 400  # x, and x * x
