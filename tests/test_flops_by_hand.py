"""Every mixer's forward pass is counted as a hand count of its products says, elementwise work on
top."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pointer.mixer import PointerMixer
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape
from workflow.bench import registry
from workflow.bench.measure import flops

N, D, H = 512, 256, 8  # length, width, heads
E = D // H
P = 2 * N * D * D  # one projection d -> d
C = 64  # chunk of the linear recurrences


def attention(keys: float) -> float:
    """Scores and mixture of every position over so many keys: 2 d operations each a key."""
    return 4 * N * keys * D


def recurrence(feature: int, value: int) -> float:
    """In chunks: scores, their mixture, what a chunk adds to the state, what the state gives a
    query; all heads."""
    return 2 * N * H * (C * feature + C * value + 2 * feature * value)


def fft(channels: int, points: int) -> float:
    """Real transforms of `channels` rows."""
    return 2.5 * channels * points * math.log2(points)


# Products by hand, and the share that elementwise work (masks, softmax, norms, rotations) may add
# to them.
BY_HAND: dict[str, tuple[float, float]] = {
    "pointer": (2 * N * D * (2 * 32 + D) + N * 64 * (2 * 32 + 4) + N * D, 0.03),
    "pointer-formula": (2 * N * D * (2 * 32 + D) + 2 * N * (256 + 512) / 2 * 32, 0.01),
    "pointer-dense": (2 * N * D * (2 * 32 + D) + 2 * N * (256 + 512) / 2 * 32, 0.01),
    "transformer": (4 * P + attention(N / 2), 0.0),
    "transformer-unfused": (4 * P + attention(N), 0.03),
    "transformer-rotary": (4 * P + attention(N / 2), 0.01),
    "transformer-relative": (4 * P + attention((128 + 256 + 384 + 512) / 4), 0.03),
    "transformer-content": (4 * P + attention(N / 2), 0.03),
    "longformer": (4 * P + attention(3 * 128), 0.01),
    "local": (4 * P + attention(2 * 64), 0.01),
    "logsparse": (4 * P + attention(10), 0.03),
    # 192 tiles of 64 pairs, 64 keys each
    "moba": (4 * P + attention(64) + 2 * N * D * 8 + 4 * 192 * 64 * 64 * E, 0.03),
    "reformer": (3 * P + 4 * attention(2 * 64) + 4 * 2 * N * D * 4, 0.05),
    "linear-attention": (4 * P + recurrence(E, E + 1), 0.02),
    "performer": (4 * P + 2 * 2 * N * H * E * 64 + recurrence(64, E + 1), 0.02),
    "retnet": (5 * P + recurrence(E, E), 0.02),
    "gla": (5 * P + 2 * 2 * N * D * 16 + recurrence(E, E), 0.02),
    "deltanet": (
        4 * P + 2 * N * D * H + 2 * N * H * (2 * C * E + C * E + 3 * E * E) + N * H * C * 2 * E,
        0.02,
    ),
    "hyena": (4 * P + 3 * fft(D, 2 * N) + 2 * N * (33 * 64 + 2 * 64 * 64 + 64 * D), 0.02),
    "s4d": (2 * P + 3 * fft(D, 2 * N) + 2 * D * N * 64, 0.02),
    "identity": (0, 0.0),
    "uniform": (2 * P, 0.01),
    "random-pointer": (3 * P, 0.01),
}


def counted(name: str) -> int:
    """Operations of one forward pass of the first layer's mixer alone in inference, its declared
    work included."""
    mixer: Any = registry.load(name)
    shape = LayerShape(D, H, N, 0, 6)
    module = mixer(shape, mixer.Settings()) if hasattr(mixer, "Settings") else mixer(shape)
    with flops.counter() as counter, torch.no_grad():
        module.eval()(torch.randn(1, N, D), None)
    return counter.get_total_flops() + (module.flops(1, N)[0] if hasattr(module, "flops") else 0)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_mixers_work_is_what_a_hand_count_says(name: str) -> None:
    by_hand, elementwise = BY_HAND[name]
    assert by_hand <= counted(name) <= by_hand * (1 + elementwise)


def both_ways(**chosen: Any) -> tuple[int, int]:
    """Operations of a training step of one pointer mixer, forward and backward, its declared work
    included."""
    mixer = PointerMixer(LayerShape(D, H, N, 0, 6), CandidateSettings(**chosen)).train()
    x = torch.randn(1, N, D, requires_grad=True)
    with flops.counter() as forward:
        out, _ = mixer(x, None)
    with flops.counter() as backward:
        out.sum().backward()
    declared = mixer.flops(1, N)
    return forward.get_total_flops() + declared[0], backward.get_total_flops() + declared[1]


@pytest.mark.parametrize(
    "chosen",
    [{}, {"gate": False}, {"value": True}, {"credit": "none"}, {"candidates": "offsets+content"}],
    ids=str,
)
def test_what_the_kernels_declare_is_what_torch_counts_of_the_same_steps(
    chosen: dict[str, Any],
) -> None:
    """Plain torch also adds up all K weighted values (2 operations each a channel), where a kernel
    copies one, and autograd adds the gradients of slices."""
    sums = 2 * N * 64 * D
    plain, compiled = both_ways(fused=False, **chosen), both_ways(fused=True, **chosen)
    assert compiled[0] == pytest.approx(plain[0] - sums, rel=0.03)
    assert 0.95 * (plain[1] - sums) <= compiled[1] <= plain[1] - sums
