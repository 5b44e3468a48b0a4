"""Ablation cells: copy rows that also say how far pointers reach, and tiers whose variants their
models accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pointer import trace
from workflow.bench import config, registry
from workflow.bench.cell import Cell
from workflow.bench.measure import pointers

SMALL: dict[str, Any] = {
    "experiment": "ablation",
    "distance": 8,
    "length": 72,
    "batch": 2,
    "tokens": 288,
    "threads": 1,
}
WINDOW, LENGTH = 4, 256


def row(folder: Path, **more: Any) -> dict[str, Any]:
    return pointers.ablation(
        Cell.of(**SMALL | {"evaluate_symbols": 1} | more), lambda done, **values: None, folder
    )


def test_a_model_without_pointers_has_no_hops(tmp_path: Path) -> None:
    assert "hops_mean" not in row(tmp_path, model="chance")


def _pointer(**settings: Any) -> nn.Module:
    """An untrained pointer whose biases are random, so that any candidate that may win does
    somewhere."""
    torch.manual_seed(0)
    model = registry.build(
        "pointer",
        symbols=20,
        length=LENGTH,
        width=32,
        heads=4,
        mixer={"window": WINDOW, **settings},
    )
    for name, parameter in model.named_parameters():
        if name.endswith("offset_table") or "sources" in name:
            nn.init.normal_(parameter)
    return model


def _longest(model: nn.Module) -> list[int]:
    return [int(layer.max()) for layer in trace(model, torch.randint(20, (1, LENGTH))).hops]


def test_where_every_candidate_is_near_no_layer_reaches_beyond_the_window() -> None:
    assert max(_longest(_pointer(k=WINDOW))) == WINDOW - 1


def test_with_chain_candidates_reach_holds_the_first_layer_to_the_window() -> None:
    free, held = (
        _longest(_pointer(candidates="offsets+chain", k=WINDOW + 5, reach=r)) for r in (0, WINDOW)
    )
    assert held[0] < WINDOW <= free[0]
    assert max(held) >= WINDOW


@pytest.mark.parametrize("experiment", ["ablation", "two_hop"])
def test_every_variant_has_settings_that_its_model_knows(experiment: str) -> None:
    block = config.tier("paper")["experiments"][experiment]
    variants = config.variants("pointer", {"mixer": {}, **block})
    made: Any = registry.load("pointer")
    assert len({repr(made.Settings(**mixer)) for mixer in variants}) == len(variants) > 1
