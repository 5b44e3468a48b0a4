"""Is the rate of each model chosen alike, on validation sequences, and found by its cells?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workflow.bench import rates
from workflow.bench.cell import Cell, from_dict
from workflow.bench.measure import search
from workflow.bench.measure.checkpoint import History
from workflow.bench.rates import RATES, Tried, best
from workflow.bench.tasks.copy import Copy

SMALL = {"distance": 4, "length": 20, "tokens": 60_000, "layers": 1, "width": 16, "heads": 2}


def cell(**settings: Any) -> Cell:
    return Cell.of("rates", "pointer", **{**SMALL, "threads": 1, **settings})


def history(evaluations: list[tuple[int, float]], learned: int | None = None) -> History:
    points = [(tokens, loss, 0.0, 0.0) for tokens, loss in evaluations]
    return History(tokens_used=points[-1][0], evaluations=points, tokens_to_95=learned)


@pytest.mark.parametrize(
    ("tried", "rate"),
    [
        ([(0.1, 500, 500, 1.0), (0.2, 400, 400, 2.0), (0.3, 200, None, 0.1)], 0.2),
        ([(0.1, 900, None, 1.0), (0.2, 900, None, 0.9), (0.3, 450, None, 0.5)], 0.2),
        ([(0.1, 900, None, 1.0), (0.2, 300, None, None)], 0.1),
    ],
)
def test_fewest_tokens_to_95_win_else_the_least_loss_at_the_whole_budget(
    tried: list[tuple[Any, ...]], rate: float
) -> None:
    assert best(Tried(*entry) for entry in tried) == rate


def test_a_rate_has_the_leaders_tokens_and_is_dropped_at_half_of_them_if_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "WARMUP_TOKENS", 50)
    leader = history([(100, 2.0), (200, 1.5), (300, 1.0), (400, 0.1)], learned=400)
    behind, ahead = search.Race(1000, leader), search.Race(1000, leader)
    assert not behind.is_over(history([(100, 3.0)]))
    assert behind.is_over(history([(100, 3.0), (200, 2.0)]))
    assert not ahead.is_over(history([(100, 3.0), (200, 0.4)]))
    assert ahead.is_over(history([(100, 3.0), (200, 0.4), (300, 0.4), (400, 0.4)]))


@pytest.mark.parametrize(("warmup", "half"), [(300, 1.5), (50, 1.9)])
def test_no_rate_is_dropped_in_its_warmup_or_before_the_leader_has_learned(
    monkeypatch: pytest.MonkeyPatch, warmup: int, half: float
) -> None:
    """A rate that learns late once lost to one that had not learned either at half the tokens."""
    monkeypatch.setattr(search, "WARMUP_TOKENS", warmup)
    leader = history([(100, 2.0), (200, half), (300, half), (400, half)])
    late, learned = search.Race(400, leader), history([(100, 3.0), (200, 3.0), (300, 0.1)], 300)
    assert not late.is_over(history([(100, 3.0), (200, 3.0)]))
    assert late.is_over(learned)


def test_a_search_tries_every_rate_and_never_draws_a_test_sequence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    streams = []
    drawn = Copy.sequences

    def watched(self: Copy, rng: Any, count: int, stream: str) -> Any:
        streams.append(stream)
        return drawn(self, rng, count, stream)

    monkeypatch.setattr(Copy, "sequences", watched)
    row = search.run(cell(), lambda done, **values: None, tmp_path)
    assert [entry[0] for entry in row["rates"]] == list(RATES)
    assert row["lr_chosen"] == best(Tried(*entry) for entry in row["rates"])
    assert set(streams) == {"train", "check"}


def test_a_cell_without_a_rate_gets_the_chosen_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rates, "FILE", tmp_path / "learning_rates.yaml")
    rates.FILE.write_text("{}")
    rates.read.cache_clear()
    rates.write([("copy", "1x16x2", "pointer", 0.005)])
    rates.read.cache_clear()
    found = Cell.of("copy", "pointer", **SMALL)
    assert found.lr == 0.005
    assert Cell.of("copy", "transformer", **SMALL).lr == rates.DEFAULT
    assert Cell.of("copy", "pointer", **{**SMALL, "width": 32}).lr == rates.DEFAULT
    own = Cell.of("copy", "pointer", lr=rates.DEFAULT, **SMALL)
    assert own.lr == rates.DEFAULT
    for each in (found, own):
        assert from_dict(each.to_dict()) == each
        argv = each.argv()
        assert argv[argv.index("--lr") + 1] == str(each.lr)
    rates.read.cache_clear()
