"""Candidates of a position's own: is the right block proposed, without a look ahead, and do rows of the shared offsets
alone rest on nothing of it?"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointer.errors import InputError
from pointer.settings import CandidateSettings
from pointer.sources import choose_block
from workflow.bench import registry

BLOCKS = {"candidates": "offsets+blocks", "k": 24, "window": 8, "block": 4, "block_region": 3}
SMALL = {"symbols": 7, "layers": 3, "width": 32, "heads": 4}


def normal(*size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_block(q: Tensor, k: Tensor, i: int, target: int, size: int, region: int) -> int:
    """One position by loops: the complete block of the region whose mean key scores best, else the target's own."""
    around = range(target // size - region // 2, target // size - region // 2 + region)
    scores = {
        b: float(q[i] @ k[b * size : (b + 1) * size].mean(0)) for b in around if b >= 0 and (b + 1) * size <= i + 1
    }
    return max(scores, key=lambda block: scores[block]) if scores else target // size


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 40),
    size=st.integers(1, 9),
    region=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_the_block_pointer_chooses_the_best_complete_block_of_its_region(
    length: int, size: int, region: int, seed: int
) -> None:
    q, k = normal(2, 2, length, 5, seed=seed), normal(2, 2, length, 5, seed=seed + 1)
    draw = torch.rand(2, 2, length, generator=torch.Generator().manual_seed(seed))
    targets = (draw * (torch.arange(length) + 1)).long()
    found = choose_block(q, k, targets, size, region)
    for b in range(2):
        for h in range(2):
            for i in range(length):
                wanted = best_block(q[b, h], k[b, h], i, int(targets[b, h, i]), size, region)
                assert int(found[b, h, i]) == wanted


def test_the_token_pointer_reaches_what_the_block_pointer_chose() -> None:
    torch.manual_seed(0)
    model = registry.build("pointer", length=90, chain=False, **{**BLOCKS, "window": 1, "k": 6}, **SMALL).eval()
    first, second = model.mixers[0], model.mixers[1]
    with torch.no_grad():
        first.offset_table.zero_()[0, 50] = 100.0
        second.offset_table.sub_(200.0)
        second.sources.every[0].bias[0, 2] = 100.0  # the third position of the block
    tokens = torch.randint(7, (1, 90), generator=torch.Generator().manual_seed(1))
    from pointer import trace

    reached = torch.arange(90) - trace(model, tokens).hops[1, 0, 0]
    assert set((reached[60:] % 4).tolist()) == {2}


def test_a_block_takes_its_place_among_the_candidates() -> None:
    assert CandidateSettings(**BLOCKS).proposed == 4  # type: ignore[arg-type]
    with pytest.raises(InputError, match="window is 21; accepted: 1 to 20"):
        CandidateSettings(**{**BLOCKS, "window": 21})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="block_region is 0"):
        CandidateSettings(**{**BLOCKS, "block_region": 0})  # type: ignore[arg-type]
