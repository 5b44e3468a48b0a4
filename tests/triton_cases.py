"""The Triton kernels against loops: in Triton's interpreter, or on a GPU.

tests/test_triton.py starts this file, with TRITON_INTERPRET=1 for the interpreter, which must be
set before the kernels are imported."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import Inputs, Shape, assert_same, by_loops, inputs
from torch import Tensor

from pointer.select import Noise, select_plain, targets
from pointer.select_triton import BLOCK, TritonSelect

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") else "cuda"


def on_triton(arguments: Inputs, start: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """The Triton path with the signature of the plain one: (value, candidate index), on the CPU."""
    q, k, v, bias, offsets = (t.to(DEVICE) for t in arguments)
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    out, choice = TritonSelect.apply(*flat, bias, offsets, start.to(DEVICE), relaxed)  # type: ignore[no-untyped-call]
    return out.view(v.shape).cpu(), choice.view(q.shape[:3]).cpu()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.integers(1, 70),
    candidates=st.integers(1, 9),
    widths=st.sampled_from([(1, 1), (3, 5), (16, 33)]),
    scale=st.sampled_from(
        [0.0, 0.375]
    ),  # float32 holds them exactly: the kernel takes the scale in it
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_selection_equals_the_loops(
    batch: int, heads: int, length: int, candidates: int, widths: tuple[int, int], scale: float,
    temperature: float, seed: int,
) -> None:  # fmt: skip
    arguments = inputs((batch, heads, length, candidates), seed, widths)
    start, noise = torch.arange(batch * heads) * 1237 + seed, Noise(scale, temperature)
    expected, expected_targets = by_loops(arguments, start, noise)
    value, choice = on_triton(arguments, start, noise)
    assert torch.equal(targets(choice, arguments[4]), expected_targets)
    assert_same(value, expected, list(arguments[:4]))


@pytest.mark.parametrize(
    ("shape", "widths", "dtype"),
    [
        ((1, 1, 1, 1), (1, 1), torch.float64),  # one position, one candidate
        ((2, 2, 5, 12), (32, 64), torch.float64),  # shorter than its window
        ((1, 2, BLOCK, 8), (32, 64), torch.float32),  # a block, no more
        (
            (1, 1, 2 * BLOCK + 1, 16),
            (32, 256),
            torch.float32,
        ),  # the model's widths, one row in the last block
        (
            (1, 1, 40, 6),
            (7, 300),
            torch.float64,
        ),  # rows wider than a program's copy, of no power of two
    ],
)
def test_sizes_at_the_edges_equal_the_plain_path(
    shape: Shape, widths: tuple[int, int], dtype: torch.dtype
) -> None:
    arguments = inputs(shape, 11, widths, dtype=dtype)
    start, noise = torch.arange(shape[0] * shape[1]) * 999, Noise(0.375, 0.5)
    value, choice = on_triton(arguments, start, noise)
    expected, expected_choice = select_plain(*arguments, start, noise)
    assert torch.equal(choice, expected_choice)
    assert_same(value, expected, list(arguments[:4]))
    with torch.no_grad():  # scores are not kept
        again, chosen = on_triton(arguments, start, noise)
    assert torch.equal(chosen, choice)
    assert torch.equal(again, value)


def test_the_nearest_offset_wins_a_tie() -> None:
    q, k, v, _, _ = inputs((1, 1, 9, 3), 0, (2, 3), dtype=torch.float32)
    zero, offsets, start = (
        torch.zeros_like(q),
        torch.tensor([[0, 2, 5]]),
        torch.zeros(1, dtype=torch.int64),
    )
    for bias, expected in (
        ([0.0, 0.0, 0.0], list(range(9))),
        ([0.0, 1.0, 1.0], [0, 1, 0, 1, 2, 3, 4, 5, 6]),
    ):
        _, choice = on_triton((zero, k, v, torch.tensor([bias]), offsets), start, Noise())
        assert targets(choice, offsets).tolist() == [[expected]]


def test_noise_wraps_around_the_pool() -> None:
    arguments = inputs((1, 2, 20, 4), 5)
    start, noise = torch.tensor([2**18 - 30, 2**18 - 1]), Noise(0.375)
    assert torch.equal(
        on_triton(arguments, start, noise)[1], select_plain(*arguments, start, noise)[1]
    )


def test_gradients_are_the_same_bit_for_bit_twice() -> None:
    arguments = inputs((1, 2, 90, 6), 9, (8, 16), dtype=torch.float32)
    values = [on_triton(arguments, torch.arange(2), Noise(0.375))[0] for _ in range(2)]
    runs = [torch.autograd.grad(value.square().sum(), list(arguments[:4])) for value in values]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_no_later_position_reaches_an_earlier_output() -> None:
    q, k, v, bias, offsets = inputs((1, 1, 80, 6), 2, (8, 16), dtype=torch.float32)
    start = torch.zeros(1, dtype=torch.int64)
    before, _ = on_triton((q, k, v, bias, offsets), start, Noise())
    q, k, v = (torch.cat([t[:, :, :41], torch.randn_like(t[:, :, 41:])], dim=2) for t in (q, k, v))
    after, _ = on_triton((q, k, v, bias, offsets), start, Noise())
    assert torch.equal(before[:, :, :41], after[:, :, :41])
    assert not torch.equal(before[:, :, 41:], after[:, :, 41:])
