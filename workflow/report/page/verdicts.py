"""The verdict cards: a claim, the paper's figure, ours with its interval, the verdict, and where to look further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflow.report import claims, figures
from workflow.report.claims import Line
from workflow.report.ledger import Claim
from workflow.report.page.chart import on_dark
from workflow.report.rules import Verdict

MARKS = {
    Verdict.REPRODUCED: "✓",
    Verdict.PARTIALLY: "◐",
    Verdict.NOT_REPRODUCED: "✗",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_TESTABLE: "–",
    Verdict.INVALID: "!",
    Verdict.SMOKE: "·",
}
# Metric -> the page's section that shows it, and the experiment whose rows it reads.
SHOWN_IN = {
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


@dataclass(frozen=True)
class Card:
    """One claim on the page. `cells` are label, value with interval, outcome; `rows` what to filter the rows by."""

    id: str
    claim: str
    paper: str
    ours: str
    verdict: str
    kind: str
    mark: str
    why: str
    source: str
    device: str
    command: str
    explained: str
    cells: list[tuple[str, str, str]]
    figures: list[str]
    rows: dict[str, list[str]]


def cards(lines: Sequence[Line]) -> list[Card]:
    """A card for each claim, in the ledger's order."""
    return [_card(line) for line in lines]


def _card(line: Line) -> Card:
    claim = line.claim
    return Card(
        claim.id, claim.claim, claim.figure, claims.ours(claims.deciding(line), 3), claims.verdict(line),
        kind(line.verdict),
        MARKS[line.verdict], line.why, claim.read_in, claim.device, claim.command, claim.explained, _cells(line),
        _figures(claim), _rows(claim),
    )  # fmt: skip


def kind(verdict: Verdict) -> str:
    """The verdict as a class of the style sheet."""
    return verdict.name.lower().replace("_", "-")


def _cells(line: Line) -> list[tuple[str, str, str]]:
    said = dict(line.outcomes)
    return [
        (cell.label, claims.ours([cell], 1).partition(": ")[2], str(said.get(cell.label, ""))) for cell in line.cells
    ]


def _figures(claim: Claim) -> list[str]:
    """The charts that its metrics are drawn in; none where the claim is judged by the paper's own numbers."""
    return list(dict.fromkeys(SHOWN_IN[test.metric][0] for test in claim.tests if test.metric in SHOWN_IN))


def _rows(claim: Claim) -> dict[str, list[str]]:
    """Experiments and models of its rows."""
    measured = [test for test in claim.tests if test.metric in SHOWN_IN]
    models = [str(test.given[key]) for test in measured for key in ("model", "reference") if key in test.given]
    experiments = [SHOWN_IN[test.metric][1] for test in measured]
    return {"experiment": list(dict.fromkeys(experiments)), "model": list(dict.fromkeys(models))}


def counts(made: Sequence[Card]) -> list[dict[str, Any]]:
    """How many claims got each verdict, in the vocabulary's order."""
    number = Counter(card.kind for card in made)
    return [
        {"kind": kind(verdict), "verdict": str(verdict), "mark": MARKS[verdict], "number": number[kind(verdict)]}
        for verdict in Verdict
        if number[kind(verdict)]
    ]


def colours() -> list[dict[str, str]]:
    """Class -> its colour on the light and on the dark page: those of the figure of verdicts."""
    return [
        {"kind": kind(verdict), "light": colour, "dark": on_dark(colour)}
        for verdict, (colour, _) in figures.VERDICTS.items()
    ]
