"""Leaks that hide from a few lengths, cuts and modes, or come in training, are found."""

import json
import re

import pytest
import torch
from torch import nn

from workflow.bench import experiments
from workflow.bench.cell import Cell
from workflow.bench.measure import causality
from workflow.bench.measure.causality import Broken, Leaks, Subject, audit, causal
from workflow.bench.rows import worker

CPU = torch.device("cpu")


class Leaky(nn.Module):
    """Logits from a causal mean, but where `leaks` says so from the next token inside a chunk."""

    def __init__(self, chunk=128, least=512, when="always"):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20)
        self.chunk, self.least, self.when = chunk, least, when

    def forward(self, tokens):
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
        return self.head(mean)


@pytest.mark.parametrize("chunk", [64, 128, 512, 96, 192, 320])
def test_a_leak_inside_chunks_of_any_size_breaks_the_contract(chunk):
    def build(length):
        torch.manual_seed(0)
        return Leaky(chunk, least=chunk)

    with pytest.raises(Broken, match=r"output \d+ differs by"):
        causal(Subject("leaky", build, build))


class MixesBatch(Leaky):
    """Causal, but each sequence depends on the others of its batch."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits - 0.5 * logits.mean(0, keepdim=True)


def test_a_model_that_mixes_its_batch_is_not_blamed_on_the_future():
    mixes = Subject("mixes", lambda length: MixesBatch(least=10**9), lambda length: MixesBatch())
    causal(mixes)
    with pytest.raises(Broken, match="run alone instead of in a batch"):
        causality.independent_of_batch(mixes)


@pytest.mark.parametrize(
    ("when", "dtype", "words"),
    [
        ("always", "float32", "differs by"),
        ("training", "float32", "in training mode"),
        ("bfloat16", "bfloat16", "differs by"),
    ],
)
@pytest.mark.parametrize("chunk", [128, 512])
def test_the_audit_finds_it_at_the_rows_own_length(chunk, when, dtype, words):
    model = Leaky(chunk, when=when)
    cell = Cell.of("copy", "transformer", distance=512, length=1024, batch=2).resolved()
    with pytest.raises(Leaks, match=f"{words}.* it sees the future"):
        audit(model, cell.learned(), CPU, dtype)
    honest = Leaky(chunk, least=10**9)
    audit(honest, cell.learned(), CPU, dtype)


@pytest.mark.parametrize("length", [2, 3, 65, 512, 1024, 2048])
def test_cuts_lie_off_the_borders_and_one_in_the_last_tenth(length):
    cuts = causality.cut_points(length)
    assert all(1 <= cut < length for cut in cuts)
    if length >= 512:
        assert 8 <= len(cuts) <= 16
        assert sum(cut % 64 == 0 for cut in cuts) == 1
        assert cuts[-1] >= 0.9 * length


MQAR = {"pairs": 4, "length": 64, "symbols": 64}
SIZES = {"mqar": MQAR, "string-copy": {"letters": 15}, "listops": {"length": 64}}
SMALL = {"tokens": 1024, "batch": 2, "evaluate_symbols": 100, "threads": 1}
TRAINING = {name for name, entry in experiments.EXPERIMENTS.items() if entry.trains}
TRAINING = sorted(TRAINING - {"rates"})  # which gives no score


def cell(experiment, model):
    task = experiments.EXPERIMENTS[experiment].task
    sizes = {"distance": 16, "length": 64} if task == "copy" else SIZES.get(task, {"length": 64})
    return Cell.of(experiment, model, **SMALL | sizes)


def row(tmp_path, experiment, model):
    asked, result = tmp_path / "settings.json", tmp_path / "result.json"
    request = {"cells": [cell(experiment, model).to_dict()]}
    asked.write_text(json.dumps(request), encoding="utf-8")
    assert worker.main([str(asked), str(result)]) == 0
    return json.loads(result.read_text(encoding="utf-8"))["rows"][0]


@pytest.mark.parametrize("experiment", TRAINING)
def test_a_model_that_leaks_after_some_steps_gets_no_score(experiment, tmp_path):
    kind = "PointsAhead" if experiment == "interpretability" else "Turns"
    found = row(tmp_path, experiment, f"late=planted:{kind}")
    assert found["status"] == "error"
    assert found["reason"].startswith("fails the contract: the model's output ")
    assert re.search(r"when tokens from \d+ on change: it sees the future$", found["reason"])
    assert "accuracy" not in found
    assert "hops_mean" not in found


def test_a_control_that_says_that_it_sees_the_future_gets_its_score(tmp_path):
    found = row(tmp_path, "mqar", "pointer-repository")
    assert (found["status"], found["reason"]) == ("ok", None)
