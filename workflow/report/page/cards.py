"""The verdict cards: a claim, the paper's number, ours with its interval, the verdict, and where to look further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workflow.report import claims, figures
from workflow.report.claims import Line
from workflow.report.page.plots import on_dark
from workflow.report.rules import Verdict

MARKS = {
    Verdict.REPRODUCED: "✓",
    Verdict.PARTIALLY: "◐",
    Verdict.NOT_REPRODUCED: "✗",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_TESTABLE: "–",
    Verdict.INVALID: "!",
    Verdict.UNSOUND: "!",
    Verdict.SMOKE: "·",
}
SHOWN_IN = {  # metric -> the chart that shows it, and the experiment whose rows it reads
    "speedup": ("speedup", "efficiency"),
    "throughput": ("throughput", "efficiency"),
    "growth": ("operations", "complexity"),
    "reduction": ("operations", "complexity"),
    "scaling_exponent": ("time", "efficiency"),
    "doubling": ("operations", "complexity"),
    "faster": ("speedup", "efficiency"),
    "smaller_peak": ("memory", "efficiency"),
    "time_growth": ("time", "efficiency"),
    "copy_tokens": ("loss_curves", "copy"),
    "sooner": ("loss_curves", "fairness"),
    "task_accuracy": ("recall", "mqar"),
    "copy_accuracy": ("copy_accuracy", "copy"),
    "copy_spread": ("copy_accuracy", "copy"),
    "copy_loss": ("loss_curves", "copy"),
    "hops": ("explorer", "interpretability"),
    "targets_per_position": ("explorer", "interpretability"),
}


def card(line: Line) -> dict[str, Any]:
    """Return a claim as the template shows it.

    `cells` are label, value with interval, outcome; `charts` the charts of its metrics; `rows` what
    to filter the rows by: nothing where the claim is judged by the paper's own numbers.
    """
    outcomes = dict(line.outcomes)
    cells = []
    for cell in line.cells:
        value = claims.ours([cell], 1).partition(": ")[2]
        cells.append((cell.label, value, str(outcomes.get(cell.label, ""))))
    measured = [test for test in line.claim.tests if test.metric in SHOWN_IN]
    models = [str(test.given[key]) for test in measured for key in ("model", "reference") if key in test.given]
    experiments = [SHOWN_IN[test.metric][1] for test in measured]
    return {
        "claim": line.claim,
        "ours": claims.ours(claims.deciding(line), 3),
        "verdict": claims.verdict(line),
        "kind": kind(line.verdict),
        "mark": MARKS[line.verdict],
        "why": line.why,
        "cells": cells,
        "charts": list(dict.fromkeys(SHOWN_IN[test.metric][0] for test in measured)),
        "rows": {"experiment": list(dict.fromkeys(experiments)), "model": list(dict.fromkeys(models))},
    }


def kind(verdict: Verdict) -> str:
    """Return the verdict as a class of the style sheet."""
    return verdict.name.lower().replace("_", "-")


def counts(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return how many claims got each verdict, in the vocabulary's order."""
    numbers = Counter(line.verdict for line in lines)
    verdicts = [verdict for verdict in Verdict if numbers[verdict]]
    return [{"kind": kind(v), "verdict": str(v), "mark": MARKS[v], "number": numbers[v]} for v in verdicts]


def colours() -> list[dict[str, str]]:
    """Return each verdict's class with its colour on the light and on the dark page."""
    pairs = figures.VERDICTS.items()
    return [{"kind": kind(verdict), "light": colour, "dark": on_dark(colour)} for verdict, (colour, _) in pairs]
