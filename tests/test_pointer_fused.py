"""The fused mixer against the steps that it replaces: outputs, pointers and every gradient, in
float64."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointer import mixer
from pointer.block import Pointed
from pointer.mixer import PointerMixer
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape

LENGTH, WIDTH = 96, 24
THREADS = """
import sys
import torch
from pointer.mixer import PointerMixer
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape

torch.set_num_threads(int(sys.argv[1]))
settings = CandidateSettings(candidates=sys.argv[2])
mixer = PointerMixer(LayerShape(32, 4, 96, 0, 1), settings)
mixer(torch.randn(1, 96, 32), None)[0].sum().backward()
print(torch.get_num_threads())
"""


def subject(**chosen: Any) -> PointerMixer:
    """The second of two layers in training, with an offset table that is not flat."""
    torch.manual_seed(0)
    settings = CandidateSettings(score_width=4, **chosen)
    layer = PointerMixer(LayerShape(WIDTH, 4, LENGTH, 1, 2), settings).double()
    with torch.no_grad():
        layer.offset_table.normal_()
        layer.project.weight.mul_(20)
    layer.set_progress(0.1)
    return layer


def run(
    layer: PointerMixer, x: Tensor, lower: Pointed, seed: int
) -> tuple[Tensor, Pointed, list[Tensor | None]]:
    """Output, pointers, and the gradients of the input and of every parameter."""
    torch.manual_seed(seed)
    out, pointed = layer(x, lower)
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(out.shape, dtype=out.dtype, generator=generator)
    leaves = [x, *layer.parameters()]
    return out, pointed, list(torch.autograd.grad(out, leaves, upstream, allow_unused=True))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    heads=st.sampled_from([1, 2, 3]),
    length=st.integers(1, LENGTH),
    k=st.integers(1, 12),
    chosen=st.fixed_dictionaries(
        {
            "gate": st.booleans(),
            "chain": st.booleans(),
            "credit": st.sampled_from(["none", "candidates", "fft"]),
            "credit_channels": st.sampled_from([3, 8]),
            "noise": st.sampled_from([0.0, 0.4]),
            "temperature": st.sampled_from([0.5, 1.0]),
        }
    ),
    seed=st.integers(0, 10**6),
)
def test_the_fused_mixer_equals_its_steps(
    batch: int, heads: int, length: int, k: int, chosen: dict[str, Any], seed: int
) -> None:
    layer = subject(pointer_heads=heads, k=k, window=(k + 1) // 2, **chosen)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, WIDTH, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    choice = torch.zeros(batch, heads, length, dtype=torch.int64)
    lower = Pointed(choice, choice, torch.arange(2).repeat(heads, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixer, "FusedMixer", None)
        expected, pointers, slopes = run(layer, x, lower, seed)
    out, pointed, gradients = run(layer, x, lower, seed)
    assert torch.equal(pointed.targets, pointers.targets)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)
    for gradient, oracle in zip(gradients, slopes, strict=True):
        assert (gradient is None) == (oracle is None)
        if gradient is not None and oracle is not None:
            # Credit is computed in float32.
            torch.testing.assert_close(gradient, oracle, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("threads", "candidates"), [(1, "offsets"), (4, "offsets+content")])
def test_the_kernels_leave_torch_its_number_of_threads(threads: int, candidates: str) -> None:
    """In a process of its own, where they run for the first time: numba's pool then takes OpenMP's
    number over."""
    command = [sys.executable, "-c", THREADS, str(threads), candidates]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(threads)
