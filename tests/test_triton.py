"""Are the Triton kernels right (by Triton's interpreter, without a GPU), do they compile for CUDA, who takes them?"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pointer import select

ROOT = Path(__file__).resolve().parent.parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton has no package here")


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own: the interpreter is chosen when the kernels are imported."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@needs_triton
def test_interpreted_kernels_keep_to_the_loops() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/triton_cases.py", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 16


COMPILE = """
import json, sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pointer import select_triton as kernels

TYPES = {"offsets": "*i64", "choice": "*i64", "start": "*i64", "noise": "fp32", "sharpness": "fp32"}
SIZES = dict.fromkeys(("length", "heads", "candidates", "r", "w"), "i32")
WIDE = {"v": sys.argv[2], "g_out": sys.argv[2]}
CASES = {
    "_forward": dict(MASK=2**18 - 1, NOISY=True, KEEP=True, R_PAD=32, W_PAD=64, BLOCK=64),
    "_backward_gains": dict(W_PAD=256, BLOCK=16),
    "_backward_scores": dict(R_PAD=32, BLOCK=64),
    "_backward_values": dict(W_PAD=256, BLOCK=16),
}
sizes = {}
ONES = json.loads(sys.argv[3])  # arguments that are 1: a launch compiles a kernel of its own for them
for name, constants in CASES.items():
    kernel = getattr(kernels, name)
    constants |= {n: 1 for n in ONES if n in kernel.arg_names}
    own = WIDE if name == "_backward_gains" else {}
    signature = {
        n: "constexpr" if n in constants else {**TYPES, **SIZES, **own}.get(n, "*fp32") for n in kernel.arg_names
    }
    values = {(kernel.arg_names.index(n),): value for n, value in constants.items()}
    made = triton.compile(ASTSource(kernel, signature, values), target=GPUTarget("cuda", int(sys.argv[1]), 32))
    sizes[name] = len(made.asm["cubin"])
print(json.dumps(sizes))
"""


@needs_triton
@pytest.mark.parametrize(
    ("capability", "values", "ones"), [("80", "*fp32", '["length", "candidates"]'), ("90", "*bf16", '["heads"]')]
)
def test_kernels_compile_for_cuda_without_a_gpu(capability: str, values: str, ones: str, tmp_path: Path) -> None:
    done = run("-c", COMPILE, capability, values, ones, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(":") == 4


def test_each_kind_of_device_gets_its_own_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "FusedSelect", "numba")
    monkeypatch.setitem(sys.modules, "pointer.select_triton", SimpleNamespace(TritonSelect="triton"))
    kernel = select.fused_select.__wrapped__
    assert [kernel(device) for device in ("cpu", "cuda", "mps")] == ["numba", "triton", None]
    monkeypatch.setitem(sys.modules, "pointer.select_triton", None)  # the package is absent
    assert kernel("cuda") is None


def test_select_hands_a_device_what_its_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups folded, contiguous, and the noise's starts on the device; the shape of the answer."""
    seen: list[tuple[int, ...]] = []

    class Kernel:
        @staticmethod
        def apply(*arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.extend(tuple(t.shape) for t in arguments[:6])
            assert all(t.is_contiguous() for t in arguments[:6])
            return arguments[2].clone(), torch.zeros(arguments[0].shape[:2], dtype=torch.int64)

    monkeypatch.setattr(select, "fused_select", lambda device: Kernel if device == "cpu" else None)
    q, v = torch.randn(2, 5, 3, 4).transpose(1, 2), torch.randn(2, 3, 5, 6)
    offsets = torch.arange(2).expand(3, -1)
    out, choice = select.select(q, q, v, torch.zeros(3, 2), offsets, select.Noise())
    assert seen == [(6, 5, 4), (6, 5, 4), (6, 5, 6), (3, 2), (3, 2), (6,)]
    assert out.shape == v.shape
    assert choice.shape == (2, 3, 5)


@pytest.mark.gpu
@needs_triton
def test_on_a_gpu_the_kernels_keep_to_the_plain_path() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    from workflow.bench import gpu_check

    broken = [check for check in gpu_check.selection_checks(torch.device("cuda")) if not check.ok]
    assert broken == []
