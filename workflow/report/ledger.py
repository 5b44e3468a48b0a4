"""The ledger of claims, `config/claims.yaml`: what the paper says, and the rule that judges it, read and checked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import yaml

from pointer.errors import InputError
from workflow.report import arithmetic, cost_metrics, metrics
from workflow.report.rules import Estimate, Rule

ROOT = Path(__file__).resolve().parents[2]
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
    command: str = COMMAND


def read(path: Path) -> list[Claim]:
    """The claims in order; raises InputError that names the file, the key and what is accepted."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable ledger ({error})") from error
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if problem is not None:
        raise InputError(f"{path}: {'/'.join(map(str, problem.absolute_path)) or 'ledger'}: {problem.message}")
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
    accepted = [key for key in inspect.signature(METRICS[name]).parameters if key != "frame"]
    for key in given:
        if key not in accepted:
            raise InputError.unknown(f"argument of {name}", key, accepted, str(path))
    if device != "any":
        given.setdefault("device", device)
    numbers = {key: entry[key] for key in ("value", "upper", "margin", "direction") if key in entry}
    return Statement(name, Rule(entry["rule"], **numbers), given)
