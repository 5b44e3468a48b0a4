"""The Triton kernels: right in Triton's interpreter, compiled for CUDA, and chosen by device."""

import importlib.util
import sys
from types import SimpleNamespace

import pipelines
import pytest

from pointer import select

absent = importlib.util.find_spec("triton") is None
needs_triton = pytest.mark.skipif(absent, reason="Triton has no package here")


def run(*command, **variables):
    """Run Python in a new process, where the kernels are imported anew; return its output."""
    result = pipelines.ran(sys.executable, *command, **variables)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-3000:]
    return result.stdout


@needs_triton
def test_interpreted_kernels_keep_to_the_loops():
    """On a GPU, tests/test_pointer_select.py runs the kernels by itself."""
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton")
    output = run(*options, "tests/test_pointer_select.py", TRITON_INTERPRET="1")
    assert "8 passed" in output, output


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pointer import select_triton as kernels

TYPES = {"offsets": "*i64", "choice": "*i64", "start": "*i64", "noise": "fp32", "sharpness": "fp32"}
SIZES = dict.fromkeys(("length", "heads", "candidates", "r", "w"), "i32")
CASES = {
    "_forward": dict(MASK=2**18 - 1, NOISY=True, KEEP=True, R_PAD=32, W_PAD=64, BLOCK=64),
    "_backward_gains": dict(W_PAD=256, BLOCK=16),
    "_backward_scores": dict(R_PAD=32, BLOCK=64),
    "_backward_values": dict(W_PAD=256, BLOCK=16),
}
# Arguments that are 1: a launch compiles a kernel of its own for them.
cases = ((80, "*fp32", ("length", "candidates")), (90, "*bf16", ("heads",)))
for capability, values, ones in cases:
    for name, constants in CASES.items():
        kernel = getattr(kernels, name)
        constants = constants | {n: 1 for n in ones if n in kernel.arg_names}
        types = TYPES | SIZES | (dict(v=values, g_out=values) if name == "_backward_gains" else {})
        signature = {n: types.get(n, "*fp32") for n in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        positions = {(kernel.arg_names.index(n),): value for n, value in constants.items()}
        source = ASTSource(kernel, signature, positions)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        print(capability, name, len(compiled.asm["cubin"]))
"""


@needs_triton
def test_kernels_compile_for_cuda_without_a_gpu(tmp_path):
    lines = run("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(lines) == 8
    assert all(int(line.split()[-1]) > 0 for line in lines)


def test_each_kind_of_device_gets_its_own_selection(monkeypatch):
    monkeypatch.setattr(select, "FusedSelect", "numba")
    installed = SimpleNamespace(TritonSelect="triton")
    monkeypatch.setitem(sys.modules, "pointer.select_triton", installed)
    kernel = select.fused_select.__wrapped__
    assert [kernel(device) for device in ("cpu", "cuda", "mps")] == ["numba", "triton", None]
    monkeypatch.setitem(sys.modules, "pointer.select_triton", None)  # the package is absent
    assert kernel("cuda") is None
