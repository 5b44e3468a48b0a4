"""Ablation tables: what the notes conclude is what the rows say, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from synthetic import Row, cell, copied, make

LOOK = 10_000
Line = dict[str, Any]


def seeds(
    mixer: Line, until: Iterable[int | None], experiment: str = "ablation", **more: Any
) -> list[Row]:
    """A row for each seed of a variant, which reached 95% after so many tokens, or never."""
    return [_seed(mixer, tokens, seed, experiment, **more) for seed, tokens in enumerate(until)]


def _seed(mixer: Line, tokens: int | None, seed: int, experiment: str, **more: Any) -> Row:
    given = {"model": "pointer", "distance": 512, "tokens_used": 100_000, "machine": "m"} | more
    return copied(
        accuracy=1.0 if tokens else 0.05,
        experiment=experiment,
        settings={"mixer": mixer},
        seed=seed,
        tokens_budget=200_000,
        tokens_to_95=tokens,
        seconds_to_95=tokens and tokens / 2000,
        evaluations=[[LOOK, 2.0, 0.1, 0.1], [2 * LOOK, 2.0, 0.1, 0.1]],
        **given,
    )


ROWS = [
    *seeds({}, (40_000, 50_000, 60_000)),
    *seeds({"credit": "none"}, (None, None, None)),
    *seeds({"credit": "candidates"}, (None, 40_000, None)),
    *seeds({"noise": 1.0}, (100_000, 100_000, 100_000)),
    *seeds({"k": 128}, (20_000, 20_000, 20_000)),
    *seeds({"gate": False}, (50_000, 50_000, 80_000)),
    *seeds({"k": 16, "window": 8}, (90_000, 100_000, 110_000)),
]


def test_a_cell_says_mean_spread_and_how_many_seeds_got_there() -> None:
    table = make("ablation", ROWS)
    until = {"quantity": "tokens until 95%"}
    assert cell(table, 512, model="pointer", variant="", **until) == "50,000 (40,000 to 60,000)"
    assert cell(table, 512, model="pointer", variant="credit=none", **until) == "never"
    one = {"model": "pointer", "variant": "credit=candidates"}
    assert cell(table, 512, **one, **until) == "40,000, 1 of 3 seeds"
    assert cell(table, 512, **one, quantity="accuracy, %") == "36.67 (5.00 to 100.00)"


def test_the_notes_tell_budget_and_resolution() -> None:
    notes = " ".join(make("ablation", ROWS).notes)
    assert "10,000 tokens (D=512)" in notes
    assert "Budget: 200,000 tokens" in notes


def test_settings_that_all_rows_share_are_told_once() -> None:
    chain = {"window": 32, "k": 37, "candidates": "offsets+chain"}
    rows = seeds({"window": 32, "k": 32}, (90_000,), "two_hop", distance=48)
    rows += seeds(chain, (60_000,), "two_hop", distance=48)
    rows += seeds({"window": 32, "k": 32}, (None,), "two_hop", distance=256)
    table = make("two_hop", rows)
    assert set(table.wide["variant"]) == {"k=32", "candidates near the chain, k=37"}
    assert "All rows: window=32." in table.notes
