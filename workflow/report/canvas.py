"""The looks of models by their display names, for the results page."""

from __future__ import annotations

from collections.abc import Iterable

from workflow.report import models
from workflow.report.models import Look


def looks_for(*names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each name of a model or variant."""
    pairs = {("pointer", ""), ("transformer", "")}
    for name in {name for group in names for name in group}:
        model, _, settings = name.partition(" {")
        pairs.add((model, settings.removesuffix("}")))
    return {models.label(*pair): look for pair, look in models.looks(pairs).items()}
