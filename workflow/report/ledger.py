"""The ledger of claims, `config/claims.yaml`: what the paper says, and the rule that judges it, read and checked."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd

from pointer.errors import InputError
from workflow.bench import experiments, registry
from workflow.bench.cell import DEVICES, DTYPES
from workflow.bench.explain import explained
from workflow.bench.sources import ROOT
from workflow.bench.validation import read_yaml
from workflow.report import arithmetic, cost_metrics, metrics, summary
from workflow.report.rules import Estimate, Rule

SCHEMA = ROOT / "workflow" / "schemas" / "claims.schema.json"
COMMAND = "snakemake --cores 4 paper"
MEASURED = (
    metrics.speedup,
    metrics.throughput,
    metrics.growth,
    metrics.reduction,
    metrics.scaling_exponent,
    metrics.copy_accuracy,
    metrics.copy_loss,
    metrics.copy_spread,
    metrics.hops,
    metrics.targets_per_position,
)
METRICS: dict[str, Callable[..., list[Estimate]]] = {
    **{function.__name__: function for function in MEASURED},
    **{function.__name__: function for function in cost_metrics.METRICS},
    **arithmetic.ARITHMETIC,
}
# What a metric's text arguments may say: by metric and argument, or for every metric.
CHOICES: dict[tuple[str, str], Sequence[str]] = {
    ("growth", "of"): summary.WORK,
    ("reduction", "of"): summary.WORK,
    ("doubling", "of"): summary.WORK,
    ("hops", "of"): ("mean", "max"),
    ("", "phase"): tuple(cost_metrics.TIMES),
    ("", "reference_phase"): ("", *cost_metrics.TIMES),
    ("", "dtype"): DTYPES,
    ("", "half"): ("lower", "upper"),
    ("", "beside"): ("paper", "chance", "counting"),
    ("", "device"): ("any", *DEVICES),
    ("", "model"): registry.names(),
    ("", "reference"): registry.names(),
    ("", "candidates"): ("offsets", "offsets+content", "offsets+chain+content"),
    ("", "task"): [name for name, entry in experiments.EXPERIMENTS.items() if entry.trains],
}


SOURCES = {
    "S": "the summary of arXiv 2508.02631v1, section",
    "A": "the author's article of 7 August 2025",
    "R": "the author's repository at commit",
}


@dataclass(frozen=True)
class Statement:
    """One measurable statement of a claim: where its cells come from, and the rule that they must satisfy."""

    metric: str
    rule: Rule
    given: dict[str, Any] = field(default_factory=dict)

    def cells(self, frame: pd.DataFrame) -> list[Estimate]:
        """The cells of these rows; raises metrics.NotTestable where there are none."""
        return METRICS[self.metric](frame, **self.given)


@dataclass(frozen=True)
class Claim:
    """One line of the ledger."""

    id: str
    claim: str
    figure: str
    source: str
    tests: tuple[Statement, ...]
    device: str = "any"
    contradiction: bool = False
    reason: str = ""
    explained: str = ""
    command: str = COMMAND

    @property
    def read_in(self) -> str:
        """The source in words."""
        return re.sub(r"\b[SAR]\b", lambda letter: SOURCES[letter[0]], self.source)


def read(path: Path) -> list[Claim]:
    """The claims in order; raises InputError that names the file, the key and what is accepted."""
    content = read_yaml(path, "ledger")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if problem is not None:
        raise explained(problem, str(path), "ledger key")
    claims = [_claim(entry, path) for entry in content["claims"]]
    ids = [claim.id for claim in claims]
    for claim_id in ids:
        if ids.count(claim_id) > 1:
            raise InputError.about("claim id", claim_id, "an id that no other claim has", str(path))
    return claims


def _claim(entry: dict[str, Any], path: Path) -> Claim:
    tests = tuple(_test(test, entry.get("device", "any"), path) for test in entry["tests"])
    return Claim(**{**entry, "tests": tests})


def _test(entry: dict[str, Any], device: str, path: Path) -> Statement:
    name, given = entry["metric"], dict(entry.get("with", {}))
    if name not in METRICS:
        raise InputError.unknown("metric", name, METRICS, str(path))
    _check_arguments(name, given, path)
    if device != "any" and "device" in inspect.signature(METRICS[name]).parameters:  # counted work has no device
        given.setdefault("device", device)
    numbers = {key: entry[key] for key in ("value", "upper", "margin", "direction") if key in entry}
    return Statement(name, Rule(entry["rule"], **numbers), given)


def _check_arguments(name: str, given: dict[str, Any], path: Path) -> None:
    """Raises InputError unless a metric takes these arguments: all it needs, none else, each of its kind."""
    parameters = {key: p for key, p in inspect.signature(METRICS[name]).parameters.items() if key != "frame"}
    for key in given:
        if key not in parameters:
            raise InputError.unknown(f"argument of {name}", key, parameters, str(path))
    for key, parameter in parameters.items():
        if key in given or parameter.default is inspect.Parameter.empty:
            _check_argument(name, key, given.get(key), str(parameter.annotation), str(path))


def _check_argument(name: str, key: str, value: Any, kind: str, where: str) -> None:
    """`kind` is the metric's own annotation: str, int, or a list of int."""
    if kind in ("list[int]", "Sequence[int]"):
        if not isinstance(value, list) or not value or not all(type(point) is int and point > 0 for point in value):
            raise InputError.about(f"argument {key} of {name}", value, "a list of whole numbers from 1", where)
        return
    if kind.startswith("int"):
        if type(value) is not int or value < 1:
            raise InputError.about(f"argument {key} of {name}", value, "a whole number from 1", where)
        return
    known = CHOICES.get((name, key)) or CHOICES.get(("", key), ())
    if not isinstance(value, str):
        raise InputError.about(f"argument {key} of {name}", value, ", ".join(known) or "text", where)
    if known and value not in known:
        raise InputError.unknown(f"argument {key} of {name}", value, known, where)
