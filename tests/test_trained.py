"""A model that comes to see the future in training gets a reason in place of a score, in every
experiment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from workflow.bench import experiments, outside, registry
from workflow.bench.cell import Cell
from workflow.bench.measure import models
from workflow.bench.measure.causality import audit
from workflow.bench.rows import worker

CPU = torch.device("cpu")
MQAR: dict[str, Any] = {"pairs": 4, "length": 64, "symbols": 64}
SIZES: dict[str, dict[str, Any]] = {
    "mqar": MQAR,
    "string-copy": {"letters": 15},
    "listops": {"length": 64},
}
SMALL: dict[str, Any] = {"tokens": 1024, "batch": 2, "evaluate_symbols": 100, "threads": 1}
TRAINING = [
    entry.name
    for entry in experiments.EXPERIMENTS.values()
    if entry.trains and entry.name != "rates"
]  # which gives no score


def cell(experiment: str, model: str) -> Cell:
    """A short training of eight steps or more."""
    task = experiments.EXPERIMENTS[experiment].task
    sizes = {"distance": 16, "length": 64} if task == "copy" else SIZES.get(task, {"length": 64})
    return Cell.of(experiment, model, **SMALL | sizes)


def row(tmp_path: Path, experiment: str, model: str) -> dict[str, Any]:
    """What the worker leaves of a cell."""
    asked, result = tmp_path / "settings.json", tmp_path / "result.json"
    request = {"cells": [cell(experiment, model).to_dict()]}
    asked.write_text(json.dumps(request), encoding="utf-8")
    assert worker.main([str(asked), str(result)]) == 0
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))["rows"][0]
    return found


@pytest.mark.parametrize("experiment", TRAINING)
def test_a_model_that_leaks_after_some_steps_gets_no_score(experiment: str, tmp_path: Path) -> None:
    kind = "PointsAhead" if experiment == "interpretability" else "Turns"
    found = row(tmp_path, experiment, outside.joined("late", f"planted:{kind}"))
    assert found["status"] == "error"
    assert found["reason"].startswith("fails the contract: the model's output ")
    assert re.search(r"when tokens from \d+ on change: it sees the future$", found["reason"])
    assert "accuracy" not in found
    assert "hops_mean" not in found


def test_a_control_that_says_that_it_sees_the_future_gets_its_score(tmp_path: Path) -> None:
    found = row(tmp_path, "mqar", "pointer-repository")
    assert (found["status"], found["reason"]) == ("ok", None)


HONEST = [
    name for name in registry.names() if registry.info(name).trained and registry.info(name).causal
]


@pytest.mark.parametrize("name", HONEST)
def test_no_model_of_the_suite_is_refused(name: str) -> None:
    settings = cell("mqar", name).resolved()
    model = models.build(settings, CPU)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    audit(model, settings.learned(), CPU)
