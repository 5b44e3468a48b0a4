"""Do interpretability rows name what they keep, and are hops counted where the task needs them?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from workflow.bench.cell import Cell
from workflow.bench.measure import models, pointers
from workflow.bench.outcomes import Unsupported
from workflow.bench.rows import keys

CELL: dict[str, Any] = {"distance": 24, "length": 80, "batch": 2, "tokens": 480}
CELL["experiment"] = "interpretability"


def run(model: str, tmp_path: Path) -> dict[str, Any]:
    settings = Cell.of(model=model, evaluate_symbols=100, threads=1, **CELL)
    return pointers.interpretability(settings, lambda done, **values: None, tmp_path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("interpretability")
    return run("pointer", folder), folder


def test_a_row_holds_hops_by_layer(measured: tuple[dict[str, Any], Path]) -> None:
    row, _ = measured
    assert set(row) <= set(keys())
    assert len(row["hops_mean"]) == len(row["hops_max"]) == 6
    assert all(
        0 <= mean <= longest < 80
        for mean, longest in zip(row["hops_mean"], row["hops_max"], strict=True)
    )
    assert row["tokens_used"] == 480


def test_the_trace_holds_every_pointer_of_a_sequence(measured: tuple[dict[str, Any], Path]) -> None:
    row, folder = measured
    trace = json.loads((folder / row["files"]["trace"]).read_text(encoding="utf-8"))
    targets = torch.tensor(trace["targets"])
    assert targets.shape == (6, 1, 80)
    assert bool((targets <= torch.arange(80)).all())
    assert [sum(counts) for counts in trace["hop_counts"]] == [2 * (80 - 24)] * 6
    assert len(trace["chain_of_last_position"]) == 7


def test_the_weights_are_those_of_the_model(measured: tuple[dict[str, Any], Path]) -> None:
    row, folder = measured
    settings = Cell.of(model="pointer", **CELL).resolved()
    models.build(settings, torch.device("cpu")).load_state_dict(
        load_file(folder / row["files"]["weights"])
    )


def test_a_model_without_pointers_is_unsupported_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="transformer has no pointers to trace"):
        run("transformer", tmp_path)


def test_hops_fall_into_half_open_bins() -> None:
    assert pointers.hop_edges(9) == [0, 1, 2, 4, 8, 16]
    counts = pointers.histogram(torch.tensor([0, 0, 1, 3, 4, 7, 8]), [0, 1, 2, 4, 8, 16])
    assert counts == [2, 1, 1, 2, 1]


def test_hop_statistics_are_by_layer() -> None:
    hops = torch.tensor([[[[0, 2, 4]]], [[[1, 1, 10]]]])
    assert pointers.hop_statistics(hops) == {
        "utilisation": 5 / 6,
        "hops_mean": [2.0, 4.0],
        "hops_max": [4, 10],
    }
