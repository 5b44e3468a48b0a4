"""Leaks that hide from a few lengths, cuts and modes are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workflow.bench.cell import Cell
from workflow.bench.measure.causality import (
    Broken,
    Leaks,
    Subject,
    audit,
    causal,
    cut_points,
    independent_of_batch,
)

CPU = torch.device("cpu")


class Leaky(nn.Module):
    """Logits from a causal mean, but where `leaks` says so from the next token inside a chunk."""

    def __init__(self, chunk: int = 128, least: int = 512, when: str = "always") -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20)
        self.chunk, self.least, self.when = chunk, least, when

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        length = x.shape[1]
        counts = torch.arange(1, length + 1)[:, None]
        mean = x.cumsum(1) / counts
        leaks = length >= self.least and length % self.chunk == 0
        leaks &= self.when != "training" or self.training
        leaks &= self.when != "bfloat16" or torch.is_autocast_enabled("cpu")
        if leaks:
            chunks = x.unflatten(1, (-1, self.chunk))
            mean = mean + chunks.roll(-1, dims=2).flatten(1, 2)
        logits: Tensor = self.head(mean)
        return logits


def subject(**faults: Any) -> Subject:
    def build(length: int) -> nn.Module:
        torch.manual_seed(0)
        return Leaky(**faults)

    return Subject("leaky", build, build)


@pytest.mark.parametrize("chunk", [64, 128, 512, 96, 192, 320])
def test_a_leak_inside_chunks_of_any_size_breaks_the_contract(chunk: int) -> None:
    with pytest.raises(Broken, match=r"output \d+ differs by"):
        causal(subject(chunk=chunk, least=chunk))


def test_a_leak_in_training_alone_breaks_the_contract() -> None:
    with pytest.raises(Broken, match=r"in training: it sees the future"):
        causal(subject(when="training"))


class MixesBatch(Leaky):
    """Causal, but each sequence depends on the others of its batch."""

    def forward(self, tokens: Tensor) -> Tensor:
        logits = super().forward(tokens)
        return logits - 0.5 * logits.mean(0, keepdim=True)


def test_a_model_that_mixes_its_batch_is_not_blamed_on_the_future() -> None:
    mixes = Subject("mixes", lambda length: MixesBatch(least=10**9), lambda length: MixesBatch())
    causal(mixes)
    with pytest.raises(Broken, match="run alone instead of in a batch"):
        independent_of_batch(mixes)


def test_a_causal_mean_keeps_it() -> None:
    causal(subject(least=10**9))


@pytest.mark.parametrize(
    ("when", "dtype", "words"),
    [
        ("always", "float32", "differs by"),
        ("training", "float32", "in training mode"),
        ("bfloat16", "bfloat16", "differs by"),
    ],
)
@pytest.mark.parametrize("chunk", [128, 512])
def test_the_audit_finds_it_at_the_rows_own_length(
    chunk: int, when: str, dtype: str, words: str
) -> None:
    model = Leaky(chunk, when=when)
    cell = Cell.of("copy", "transformer", distance=512, length=1024, batch=2).resolved()
    with pytest.raises(Leaks, match=f"{words}.* it sees the future"):
        audit(model, cell.learned(), CPU, dtype)
    honest = Leaky(chunk, least=10**9)
    audit(honest, cell.learned(), CPU, dtype)


@pytest.mark.parametrize("length", [2, 3, 65, 512, 1024, 2048])
def test_cuts_lie_off_the_borders_and_one_in_the_last_tenth(length: int) -> None:
    cuts = cut_points(length)
    assert all(1 <= cut < length for cut in cuts)
    if length >= 512:
        assert 8 <= len(cuts) <= 16
        assert sum(cut % 64 == 0 for cut in cuts) == 1
        assert cuts[-1] >= 0.9 * length
