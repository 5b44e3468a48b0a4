"""A model that comes to see the future in training gets a row with the reason in place of a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workflow.bench import outside, registry, worker
from workflow.bench.measure import models, trained
from workflow.bench.settings import Settings

SIZES: dict[str, Any] = {"pairs": 4, "length": 64, "symbols": 64, "tokens": 4096, "evaluate_symbols": 500}
SMALL: dict[str, Any] = {"experiment": "mqar", "threads": 1} | SIZES


def row(tmp_path: Path, model: str) -> dict[str, Any]:
    """What the worker leaves of a short training."""
    asked, result = tmp_path / "settings.json", tmp_path / "result.json"
    asked.write_text(json.dumps(Settings(model=model, **SMALL).to_dict()), encoding="utf-8")
    assert worker.main([str(asked), str(result)]) == 0
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def test_a_model_that_leaks_after_some_steps_gets_no_score(tmp_path: Path) -> None:
    found = row(tmp_path, outside.joined("late", "planted:Turns"))
    assert found["status"] == "error"
    assert found["reason"].startswith("breaks its contract: the trained model's output 31 differs by ")
    assert "accuracy" not in found


def test_an_honest_model_gets_its_score(tmp_path: Path) -> None:
    found = row(tmp_path, outside.joined("honest", "planted:Honest"))
    assert (found["status"], found["reason"]) == ("ok", None)
    assert found["accuracy"] >= 0


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.info(name).trained])
def test_no_model_of_the_suite_is_refused(name: str) -> None:
    settings = Settings(model=name, **SMALL).resolved()
    model = models.build(settings, torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    trained.audit(model, settings)


def test_untrained_controls_and_single_tokens_are_left_out() -> None:
    class Told(nn.Module):
        trainable = False

        def forward(self, tokens: Tensor) -> Tensor:
            raise AssertionError("it was asked")

    trained.audit(Told(), Settings(model="oracle-copy", **SMALL).resolved())
