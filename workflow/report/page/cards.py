"""The verdict cards: a claim, the paper's number, ours with its interval, the verdict, and where to
look further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from workflow.report import claims, claims_figure
from workflow.report.claims import Line
from workflow.report.estimates import WORK
from workflow.report.page.plots import Rows, numbers, on_dark
from workflow.report.rules import Verdict

CHART_OF = {  # quantity -> the part of the page that shows it
    "speedup": "speedup",
    "throughput_mean": "throughput",
    "time_exponent": "time",
    **{f"{work}_{kind}": "operations" for work in WORK for kind in ("growth", "reduction")},
    "accuracy_by_sequence": "copy_accuracy",
    "copy_spread": "copy_accuracy",
    "loss": "loss_curves",
    "mean_hop_lower": "explorer",
    "longest_hop_upper": "explorer",
    "one_target": "explorer",
}


def card(line: Line, runs: pd.DataFrame, rows: Rows) -> dict[str, Any]:
    """Return a claim as the template shows it.

    `cells` are label, value with interval, outcome, and numbers of rows; `charts` those of its
    quantities; `rows` what to filter the rows by: nothing where the claim is judged by the paper's
    own numbers."""
    outcomes = dict(line.outcomes)
    cells = []
    for cell in line.cells:
        outcome = str(outcomes.get(cell.label, ""))
        cells.append((cell.label, claims.value_text(cell), outcome, numbers(cell.rows, rows)))
    behind = runs.iloc[sorted({number for cell in cells for number in cell[3]})]
    quantities = [test.quantity for test in line.claim.tests]
    return {
        "claim": line.claim,
        "ours": claims.ours(claims.deciding(line), 3),
        "verdict": claims.verdict(line),
        "kind": kind(line.verdict),
        "mark": line.verdict.mark,
        "why": line.why,
        "cells": cells,
        "charts": list(
            dict.fromkeys(CHART_OF[quantity] for quantity in quantities if quantity in CHART_OF)
        ),
        "rows": {column: sorted(set(behind[column])) for column in ("experiment", "model")},
    }


def kind(verdict: Verdict) -> str:
    """Return the verdict as a class of the style sheet."""
    return verdict.name.lower().replace("_", "-")


def counts(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return how many claims got each verdict, in the vocabulary's order."""
    count = Counter(line.verdict for line in lines)
    verdicts = [verdict for verdict in Verdict if count[verdict]]
    return [
        {"kind": kind(v), "verdict": str(v), "mark": v.mark, "number": count[v]} for v in verdicts
    ]


def colours() -> list[dict[str, str]]:
    """Return each verdict's class with its colour on the light and on the dark page."""
    pairs = claims_figure.VERDICTS.items()
    return [
        {"kind": kind(verdict), "light": colour, "dark": on_dark(colour)}
        for verdict, (colour, _) in pairs
    ]
