"""What differs between devices, on a CPU told to claim their abilities; memory; gpu-check."""

import contextlib
import dataclasses
import json
import sys
import warnings
from unittest.mock import Mock

import pipelines
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend
from torch.nn.attention.flex_attention import flex_attention

from baselines.longformer import window_attention
from baselines.parts import attention
from baselines.parts.flex_window import block_mask
from pointer import mixer, select, selfcheck
from workflow.bench import cli, gpu_check
from workflow.bench.cell import Cell
from workflow.bench.measure import devices, memory, models, timing

CPU = torch.device("cpu")


@pytest.fixture
def claim(monkeypatch):
    """Gives the CPU another kind's abilities; returns the list of what was waited for."""

    def replace(kind, **more):
        waited = []
        own = {"present": lambda: True, "synchronise": lambda: waited.append(kind)}
        can = dataclasses.replace(devices.ABILITIES[kind], **own | more)
        monkeypatch.setitem(devices.ABILITIES, "cpu", can)
        return waited

    return replace


def test_an_apple_gpu_is_timed_by_the_hosts_clock_idle_on_both_sides(claim):
    waited = claim("mps")
    seen = []
    assert devices.seconds(CPU, lambda: seen.append(len(waited))) >= 0
    assert seen == [1]
    assert waited == ["mps", "mps"]


def test_cuda_is_timed_by_its_own_events(claim, monkeypatch):
    order, event = [], Mock(elapsed_time=lambda other: 250.0)
    event.record.side_effect = lambda: order.append("record")
    event.synchronize.side_effect = lambda: order.append("wait")
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: event)
    waited = claim("cuda")
    assert devices.seconds(CPU, lambda: order.append("work")) == 0.25
    assert waited == ["cuda"]
    assert order == ["record", "work", "record", "wait"]


def test_a_cell_runs_through_on_an_apple_gpu_by_the_table(claim, monkeypatch):
    waited = claim("mps")
    monkeypatch.setattr(select, "fused_select", lambda device: None)  # what mps gets: plain torch
    monkeypatch.setattr(mixer, "FusedMixer", None)
    cell = Cell.of("efficiency", "pointer", length=40, batch=2, session_seconds=0, threads=1)
    (row,) = timing.efficiency([cell], lambda done, **values: None, lambda at: None)
    assert row["step_ms"] > 0
    assert len(waited) > 10


def test_peak_memory_of_an_apple_gpu_is_sampled_and_labelled_so(monkeypatch):
    held = iter([100, 100, *[900] * 10**6])
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: next(held))
    found = memory.peak(torch.device("mps"), lambda: None)
    assert "sampled" in found.method
    assert 0 <= found.bytes <= 800


# N, window, dilation, global tokens
CASES = [(1, 1, 1, 0), (65, 8, 1, 0), (300, 64, 1, 3), (257, 130, 1, 0)]
CASES += [(300, 16, 3, 0), (200, 20, 4, 130), (40, 64, 2, 0)]


def inputs(length):
    generator = torch.Generator().manual_seed(length)
    return torch.randn(3, 2, 2, length, 8, generator=generator, dtype=torch.float64).unbind()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_flex_mask_sees_what_the_chunks_see(case):
    q, k, v = inputs(case[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow when it is not compiled
        flexible = flex_attention(q, k, v, block_mask=block_mask(*case, CPU))
    torch.testing.assert_close(flexible, window_attention(q, k, v, *case[1:]), atol=1e-9, rtol=0)


def test_a_window_touches_few_blocks_at_any_length():
    mask = block_mask(65536, 256, 1, 0, CPU)
    assert int((mask.kv_num_blocks + mask.full_kv_num_blocks).max()) <= 4


@pytest.mark.parametrize(
    ("device", "dtype", "backend"),
    [
        ("cuda", torch.bfloat16, SDPBackend.FLASH_ATTENTION),
        ("cuda", torch.float32, SDPBackend.EFFICIENT_ATTENTION),
        ("cuda", torch.float64, None),
        ("cpu", torch.bfloat16, None),
        ("mps", torch.float32, None),
    ],
)
def test_a_device_may_take_one_kernel_only(device, dtype, backend):
    assert attention.forced_backend(device, dtype) is backend


def test_the_forced_kernel_is_the_only_one_allowed(monkeypatch):
    only = Mock(return_value=contextlib.nullcontext())
    monkeypatch.setattr(attention, "sdpa_kernel", only)
    monkeypatch.setattr(attention, "forced_backend", lambda *_: SDPBackend.FLASH_ATTENTION)
    attention.causal_attention(*inputs(20))
    only.assert_called_once_with(SDPBackend.FLASH_ATTENTION)


# What a bare GPU machine may lack: everything but torch, numpy, psutil, PyYAML and what those
# bring.
ABSENT = (
    *("snakemake", "numba", "llvmlite", "jsonschema", "pandas", "pyarrow", "scipy", "statsmodels"),
    *("matplotlib", "rich", "safetensors", "cpuinfo", "tabulate", "triton", "pytest", "hypothesis"),
)
BARE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv = ["pointer-bench", *sys.argv[1:]]
runpy.run_module("workflow.bench", run_name="__main__")
"""


def test_without_cuda_it_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    absent = dataclasses.replace(devices.ABILITIES["cuda"], present=lambda: False)
    monkeypatch.setitem(devices.ABILITIES, "cuda", absent)
    assert cli.main(["gpu-check", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "needs a CUDA device" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_dry_run_goes_through_where_little_is_installed(tmp_path):
    done = pipelines.ran(sys.executable, "-c", BARE, "gpu-check", "--dry", "--out", str(tmp_path))
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    failed = [check["name"] for check in found["checks"] if not check["ok"]]
    assert failed == ["selection: available"], done.stdout + done.stderr
    assert done.returncode == 1
    assert {row["reason"] for row in found["rows"]} == {None}
    assert {row["model"] for row in found["rows"]} == set(gpu_check.MODELS)
    assert all(row["step_ms"] > 0 for row in found["rows"])
    assert all(f", {name}: " in done.stdout for name in gpu_check.MODELS)


def test_a_missing_package_is_named_in_one_line():
    code = BARE.replace("sys.argv =", "sys.modules['yaml'] = None; sys.argv =")
    done = pipelines.ran(sys.executable, "-c", code, "gpu-check")
    words = "this Python lacks the package 'yaml'; constraints.txt has its version"
    assert (done.returncode, done.stderr) == (2, f"pointer-bench: {words}\n")


def test_a_check_that_fails_has_the_reason(monkeypatch):
    def wrong(device):
        raise selfcheck.Mismatch("value differs")

    monkeypatch.setattr(selfcheck, "CHECKS", (wrong,))
    assert next(gpu_check.checks(CPU)) == ("selection: wrong", False, "Mismatch: value differs")


def test_a_model_that_fails_is_a_row_and_the_others_go_on(monkeypatch, capsys):
    right = models.build

    def broken(cell, device):
        if cell.model == "transformer":
            raise RuntimeError("No available kernel. Aborting execution.")
        return right(cell, device)

    monkeypatch.setattr(models, "build", broken)
    monkeypatch.setattr(gpu_check, "MODELS", ("transformer", "identity"))
    rows = {row["model"]: row for row in gpu_check.race(48, CPU)}
    assert rows["transformer"]["reason"] == "RuntimeError: No available kernel. Aborting execution."
    assert rows["identity"]["reason"] is None
    assert rows["identity"]["times_reference"] is None
    assert "transformer: RuntimeError: No available kernel" in capsys.readouterr().out


MIB = 2**20

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
    done = pipelines.ran(sys.executable, "-c", MEASURE, json.dumps(sizes_mib))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    x = torch.randn(100, requires_grad=True)
    with memory.SavedBytes([]) as saved:
        x * x * x.view(100)
    assert saved.bytes == 2 * 400  # x, once, and x * x
