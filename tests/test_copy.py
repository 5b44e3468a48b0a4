"""Do copy rows say what they should: the oracle at 100%, chance on its line, a model without reach
no better?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from workflow.bench.cell import Cell
from workflow.bench.measure import learning
from workflow.bench.rows import keys

CELL: dict[str, Any] = {"experiment": "copy", "threads": 1, "tokens": 2048}
CELL |= {"distance": 32, "length": 64, "batch": 4}


def row(model: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return learning.run(Cell.of(model=model, **CELL | more), lambda done, **values: None, tmp_path)


def test_the_oracle_scores_everything_without_training(tmp_path: Path) -> None:
    found = row("oracle-copy", tmp_path)
    assert (found["accuracy"], found["tokens_used"], found["steps"]) == (1.0, 0, 0)
    assert found["n_evaluated"] >= 10_000
    assert found["loss_curve"] == []


@pytest.mark.parametrize("seed", range(3))
def test_chance_sits_on_the_chance_line(seed: int, tmp_path: Path) -> None:
    found = row("chance", tmp_path, seed=seed)
    assert found["chance"] == 0.05
    assert binomtest(sum(found["correct_by_sequence"]), found["n_evaluated"], 0.05).pvalue > 1e-4


def test_a_trained_model_without_mixing_stays_at_chance(tmp_path: Path) -> None:
    found = row("identity", tmp_path, evaluate_symbols=4000)
    assert found["tokens_used"] == 2048
    assert found["accuracy"] < 0.08
    assert found["loss_curve"][-1][0] == 2048
    assert set(found) <= set(keys())
    assert found["n_params"] == pytest.approx(3.2e6, rel=0.1)


def test_models_of_a_seed_differ_in_nothing_but_the_model(tmp_path: Path) -> None:
    first, second = (
        row(name, tmp_path, seed=5, evaluate_symbols=1) for name in ("identity", "uniform")
    )
    same = ("seed_data", "seed_init", "seed_order", "tokens_used", "n_evaluated", "batch", "length")
    assert [first[key] for key in same] == [second[key] for key in same]
