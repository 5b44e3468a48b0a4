"""The learning rates that searches chose: config/learning_rates.yaml, by task, trunk and model."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import yaml

from workflow.bench.sources import ROOT
from workflow.bench.validation import read_yaml

FILE = ROOT / "config" / "learning_rates.yaml"
RATES = (5e-4, 1e-3, 3e-3, 5e-3, 1e-2)
DEFAULT = 1e-3
HEAD = """\
# The learning rate of each model, by task and trunk (layers x width x heads), as a search chose it
# on validation sequences; written by `pointer-bench rates` from the rows of experiment `rates`.
"""


class Tried(NamedTuple):
    """What one rate came to; the loss is None where it diverged."""

    rate: float
    tokens: int
    tokens_to_95: int | None
    loss: float | None


def best(tried: Iterable[Tried]) -> float:
    """Return the rate that learned in the fewest tokens, else of the least loss after the most."""

    def rank(entry: Tried) -> tuple[float, float, float]:
        loss = math.inf if entry.loss is None else entry.loss
        if entry.tokens_to_95 is not None:
            return entry.tokens_to_95, 0, loss
        return math.inf, -entry.tokens, loss

    return min(tried, key=rank).rate


@functools.cache
def read() -> dict[str, dict[str, dict[str, float]]]:
    """Return FILE's rates, by task, trunk and model."""
    return read_yaml(FILE)


def chosen(task: str, trunk: str, model: str, ending: str) -> float:
    """Return the rate of model + ending (of CONVOLUTIONS), else of the model, else DEFAULT."""
    found = read().get(task, {}).get(trunk, {})
    return float(found.get(model + ending, found.get(model, DEFAULT)))


def write(found: Iterable[tuple[str, str, str, float]]) -> None:
    """Add task, trunk, model and rate of each search to FILE, in place of older ones."""
    content = read()
    for task, trunk, model, rate in found:
        content.setdefault(task, {}).setdefault(trunk, {})[model] = rate
    FILE.write_text(HEAD + yaml.safe_dump(content, sort_keys=True), encoding="utf-8")
