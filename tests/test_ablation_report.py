"""Ablation tables: what the notes conclude is what the rows say, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from synthetic import Row, copied, make

from workflow.report import notes
from workflow.report.layout import Table

LOOK = 10_000
Line = dict[str, Any]


def seeds(
    mixer: Line, until: Iterable[int | None], experiment: str = "ablation", **more: Any
) -> list[Row]:
    """A row for each seed of a variant, which reached 95% after so many tokens, or never."""
    return [_seed(mixer, tokens, seed, experiment, **more) for seed, tokens in enumerate(until)]


def _seed(mixer: Line, tokens: int | None, seed: int, experiment: str, **more: Any) -> Row:
    given = {
        "model": "pointer",
        "distance": 512,
        "train_seconds": 50.0,
        "tokens_used": 100_000,
        "machine": "m",
    } | more
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


def text(table: Table, column: object, **labels: str) -> str:
    wide = table.wide
    for label, value in labels.items():
        wide = wide[wide[label] == value]
    assert len(wide) == 1, wide
    return str(wide[str(column)].iloc[0])


def test_a_cell_says_mean_spread_and_how_many_seeds_got_there() -> None:
    table = make("ablation", ROWS)
    until = {"quantity": "tokens until 95%"}
    assert text(table, 512, model="pointer", variant="", **until) == "50,000 (40,000 to 60,000)"
    assert text(table, 512, model="pointer", variant="credit=none", **until) == "never"
    assert (
        text(table, 512, model="pointer", variant="credit=candidates", **until)
        == "40,000, 1 of 3 seeds"
    )
    assert (
        text(table, 512, model="pointer", variant="credit=candidates", quantity="accuracy, %")
        == "36.67 (5.00 to 100.00)"
    )


def test_the_conclusion_sorts_settings_by_what_they_do() -> None:
    (said,) = [note for note in make("ablation", ROWS).notes if note.startswith("D=512")]
    assert said == (
        "D=512: 3 seeds each, pointer with its defaults: 50,000 (40,000 to 60,000) tokens; "
        "never within the budget: credit=none; in some seeds only: credit=candidates; "
        "later by more than the evaluation interval: k=16 with window=8 (2×), noise=1.0 (2×); "
        "sooner by more than the evaluation interval: k=128 (0.4×); no difference larger than the "
        "evaluation interval: gate=False."
    )


def test_the_notes_tell_budget_and_resolution() -> None:
    notes = " ".join(make("ablation", ROWS).notes)
    assert "10,000 tokens (D=512)" in notes
    assert "Budget: 200,000 tokens" in notes


@pytest.mark.parametrize(
    "rows", [ROWS[3:], [*seeds({}, (None,)), *ROWS[3:]]], ids=["absent", "failing"]
)
def test_without_working_defaults_nothing_is_compared(rows: list[Row]) -> None:
    (said,) = [note for note in make("ablation", rows).notes if note.startswith("D=512")]
    assert said.endswith("no comparison.")


@pytest.mark.parametrize(
    ("difference", "effect"), [(LOOK, "same"), (LOOK + 1, "later"), (-LOOK - 1, "sooner")]
)
def test_a_difference_within_one_look_is_none(difference: int, effect: str) -> None:
    rows = [*seeds({}, (50_000,)), *seeds({"k": 3}, (50_000 + difference,))]
    (conclusion,) = [note for note in make("ablation", rows).notes if note.startswith("D=512")]
    assert f"{notes.EFFECTS[effect]}: k=3" in conclusion


def test_settings_that_all_rows_share_are_told_once() -> None:
    rows = [
        *seeds({"window": 32, "k": 32}, (90_000,), "two_hop", distance=48),
        *seeds(
            {"window": 32, "k": 37, "candidates": "offsets+chain"},
            (60_000,),
            "two_hop",
            distance=48,
        ),
        *seeds({"window": 32, "k": 32}, (None,), "two_hop", distance=256),
    ]
    table = make("two_hop", rows)
    assert set(table.wide["variant"]) == {"k=32", "candidates=offsets+chain, k=37"}
    assert "All rows: window=32." in table.notes
    assert any(
        n.startswith("D=256: pointer with k=32: tokens until 95% never, accuracy")
        for n in table.notes
    )


def test_what_the_chain_changes_is_said_where_all_else_is_alike() -> None:
    rows = [
        *seeds({"k": 32}, (90_000,), "two_hop", distance=48),
        *seeds({"k": 32, "chain": False}, (60_000, 61_000), "two_hop", distance=48),
        *seeds({"k": 64}, (60_000,), "two_hop", distance=96),
        *seeds({"k": 64, "chain": False}, (60_000,), "two_hop", distance=96),
        *seeds({"k": 32}, (None,), "two_hop", distance=256),
        *seeds({"k": 32, "chain": False}, (None,), "two_hop", distance=256),
        *seeds({"k": 16, "chain": False}, (None,), "two_hop", distance=256),
    ]
    assert make("two_hop", rows).notes[-3:] == (
        "D=48, the chain beside pointer with chain=False, k=32: later by more than the evaluation "
        "interval.",
        "D=96, the chain beside pointer with chain=False, k=64: no difference larger than the "
        "evaluation interval.",
        "D=256, the chain beside pointer with chain=False, k=32: neither reaches 95%, which says "
        "nothing of the chain.",
    )


def test_a_single_variant_keeps_its_name() -> None:
    table = make("ablation", seeds({"k": 32}, (40_000, 50_000)))
    assert set(table.wide["variant"]) == {"k=32"}


def fair_rows() -> list[Row]:
    """The same tokens as attention with the same table, in a quarter of the time; two that never
    get there."""
    unable = [
        row
        for model, position in (
            ("transformer", "learned absolute"),
            ("transformer-rotary", "rotary"),
        )
        for row in seeds({}, (None, None), "fairness", model=model, position=position)
    ]
    table = "learned offset table"
    able = seeds(
        {},
        (50_000, 60_000),
        "fairness",
        model="transformer-relative",
        position=table,
        train_seconds=200.0,
    )
    able = [row | {"seconds_to_95": 4 * row["seconds_to_95"]} for row in able]
    return [*unable, *able, *seeds({}, (50_000, 60_000), "fairness", position=table)]


def test_fairness_concludes_what_table_and_pointer_bring() -> None:
    table = make("fairness", fair_rows())
    brings = [note for note in table.notes if note.startswith("What")]
    assert brings[0] == (
        "What the position table brings, tokens until 95% at D=512, within 200,000: transformer "
        "(learned absolute) "
        "never; transformer-rotary (rotary) never; transformer-relative (learned offset table) "
        "55,000 "
        "(50,000 to 60,000)."
    )
    assert (
        "1.00 (1.00 to 1.00) times the tokens, 0.250 (0.250 to 0.250) times the time, 4.00"
        in brings[1]
    )
    assert text(table, 512, model="pointer", quantity="seconds until 95%") == "27.5 (25.0 to 30.0)"


def test_fairness_without_all_four_concludes_nothing() -> None:
    rows = [row for row in fair_rows() if row["model"] != "transformer-rotary"]
    assert "no conclusion" in " ".join(make("fairness", rows).notes)
