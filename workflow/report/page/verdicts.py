"""The verdict cards: a claim, the paper's figure, ours with its interval, the verdict, and where to look further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflow.report import claims, claims_figure
from workflow.report.claims import Line
from workflow.report.estimates import WORK
from workflow.report.ledger import Claim
from workflow.report.page.chart import on_dark
from workflow.report.rules import Verdict

# Quantity -> the page's section that shows it, and the experiment whose rows it reads.
SHOWN_IN = {
    "speedup": ("speedup", "efficiency"),
    "throughput_mean": ("throughput", "efficiency"),
    "time_exponent": ("time", "efficiency"),
    **{f"{work}_{kind}": ("operations", "complexity") for work in WORK for kind in ("growth", "reduction")},
    "accuracy_by_sequence": ("copy_accuracy", "copy"),
    "copy_spread": ("copy_accuracy", "copy"),
    "loss": ("loss_curves", "copy"),
    "mean_hop_lower": ("explorer", "interpretability"),
    "longest_hop_upper": ("explorer", "interpretability"),
    "one_target": ("explorer", "interpretability"),
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
        line.verdict.mark, line.why, claim.read_in, claim.device, claim.command, claim.explained, _cells(line),
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
    """The charts of its quantities; none where the claim is judged by the paper's own numbers."""
    shown = [SHOWN_IN[test.quantity][0] for test in claim.tests if test.quantity and test.quantity in SHOWN_IN]
    return list(dict.fromkeys(shown))


def _rows(claim: Claim) -> dict[str, list[str]]:
    """Experiments and models of its rows."""
    measured = [test for test in claim.tests if test.quantity]
    models = [str(model) for test in measured for model in (test.model, test.against) if model]
    experiments = [SHOWN_IN[test.quantity][1] for test in measured if test.quantity and test.quantity in SHOWN_IN]
    return {"experiment": list(dict.fromkeys(experiments)), "model": list(dict.fromkeys(models))}


def counts(made: Sequence[Card]) -> list[dict[str, Any]]:
    """How many claims got each verdict, in the vocabulary's order."""
    number = Counter(card.kind for card in made)
    return [
        {"kind": kind(verdict), "verdict": str(verdict), "mark": verdict.mark, "number": number[kind(verdict)]}
        for verdict in Verdict
        if number[kind(verdict)]
    ]


def colours() -> list[dict[str, str]]:
    """Class -> its colour on the light and on the dark page: those of the figure of verdicts."""
    return [
        {"kind": kind(verdict), "light": colour, "dark": on_dark(colour)}
        for verdict, colour in claims_figure.COLOURS.items()
    ]
