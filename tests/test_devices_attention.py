"""Attention by device: which kernel CUDA must take, and that FlexAttention's mask sees what the
chunks see."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from baselines.longformer import window_attention
from baselines.parts import attention
from baselines.parts.flex_window import BLOCK, block_mask, visible

CPU = torch.device("cpu")
# N, window, dilation, global tokens
CASES = [
    (1, 1, 1, 0),
    (65, 8, 1, 0),
    (300, 64, 1, 3),
    (257, 130, 1, 0),
    (300, 16, 3, 0),
    (200, 20, 4, 130),
    (40, 64, 2, 0),
]


def inputs(length: int) -> list[Tensor]:
    """Return q, k, v: float64[2, 2, N, 8]."""
    generator = torch.Generator().manual_seed(length)
    return [
        torch.randn(2, 2, length, 8, generator=generator, dtype=torch.float64) for _ in range(3)
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_flex_mask_sees_what_the_chunks_see(case: tuple[int, int, int, int]) -> None:
    q, k, v = inputs(case[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow when it is not compiled
        flexible = flex_attention(q, k, v, block_mask=block_mask(*case, CPU))
    torch.testing.assert_close(flexible, window_attention(q, k, v, *case[1:]), atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", [*CASES, (1000, 256, 1, 0), (900, 200, 2, 5)], ids=str)
def test_blocks_are_those_that_hold_a_visible_pair(case: tuple[int, int, int, int]) -> None:
    """Every block with a visible pair is listed, and only a block of visible pairs alone is called
    full."""
    length, mask, pairs = case[0], block_mask(*case, CPU), visible(*case[1:])
    by_pairs = create_block_mask(pairs, None, None, length, length, device="cpu")
    assert bool((mask.to_dense() >= by_pairs.to_dense()).all())
    count = -(-length // BLOCK)
    positions = torch.arange(count * BLOCK)
    square = pairs(positions, positions, positions[:, None], positions)
    whole = square.view(count, BLOCK, count, BLOCK).all(3).all(1)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    for row in range(count):
        full = mask.full_kv_indices[0, 0, row, : mask.full_kv_num_blocks[0, 0, row]]
        assert bool(whole[row, full.long()].all())


def test_a_window_touches_few_blocks_at_any_length() -> None:
    mask = block_mask(65536, 256, 1, 0, CPU)
    assert mask.full_kv_num_blocks is not None
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
def test_a_device_may_take_one_kernel_only(
    device: str, dtype: torch.dtype, backend: SDPBackend | None
) -> None:
    assert attention.forced_backend(device, dtype) is backend


def test_the_forced_kernel_is_the_only_one_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[SDPBackend] = []

    @contextlib.contextmanager
    def only(backend: SDPBackend) -> Iterator[None]:
        forced.append(backend)
        yield

    monkeypatch.setattr(attention, "sdpa_kernel", only)
    monkeypatch.setattr(
        attention, "forced_backend", lambda device, dtype: SDPBackend.FLASH_ATTENTION
    )
    attention.causal_attention(*inputs(20))
    assert forced == [SDPBackend.FLASH_ATTENTION]
