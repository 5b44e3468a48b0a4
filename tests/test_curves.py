"""Tokens until 95% over the copy distance: the fit, what it predicts, and the figure."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import Row, copied, table_of

from workflow.report import estimates, figures, intervals
from workflow.report.curves import curves

SMALL = {"layers": 2, "width": 64, "heads": 2}
DISTANCES = (16, 32, 64, 128)


def runs(exponent: float, never: int = 0) -> list[Row]:
    """Three seeds a distance, spread by a tenth; the last `never` at the largest never learn."""
    rows = []
    for distance in DISTANCES:
        for seed in range(3):
            tokens: int | None = int(1000 * distance**exponent * (0.9 + 0.1 * seed))
            tokens = None if distance == DISTANCES[-1] and seed >= 3 - never else tokens
            accuracy = 0.5 if tokens is None else 0.99
            given = {"seed": seed, "trunk": SMALL, "tokens_to_95": tokens}
            rows.append(copied("transformer", distance, accuracy, **given))
    return rows


def test_the_exponent_is_that_of_the_runs_that_learned() -> None:
    made = estimates.build(table_of(runs(0.5, never=1)))
    (fit,) = estimates.select(made, "tokens_to_95_exponent").to_dict("records")
    assert fit["low"] < 0.5 < fit["high"]
    assert (fit["n"], fit["runs"], fit["reason"]) == (11, 12, "1 runs never learned")
    line = estimates.select(made, "tokens_to_95_fit").set_index("x")
    assert line.loc[2048, "value"] == pytest.approx(1000 * math.sqrt(2048), rel=0.15)
    assert line.loc[2048, "low"] < line.loc[2048, "value"] < line.loc[2048, "high"]


def test_a_prediction_holds_a_further_run_at_its_level() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        noise = np.exp(0.3 * rng.standard_normal(13))
        x = np.repeat(DISTANCES, 3)
        found = intervals.predictions(list(x), list(5 * x**0.7 * noise[:12]), [1024])
        held += found[0].holds(5 * 1024**0.7 * noise[12])
    assert 0.965 < held / 2000 < 0.985


def test_the_figure_names_the_exponent_and_the_runs_that_never_learned(tmp_path: Path) -> None:
    table = table_of(runs(0.5, never=2))
    made = estimates.build(table)
    figures.write(made, table, tmp_path, names=["curves"])
    text = (tmp_path / "curves.svg").read_text()
    assert "transformer: D^0.4" in text
    assert "2 never" in text
    assert "trunk 2x64x2" in text
    drawn = curves(made, table).axes[0]
    heights = [y for line in drawn.lines for y in np.atleast_1d(line.get_ydata())]
    assert max(heights) >= 1.5 * 100_000 / 1000  # the budget is 100,000 tokens
