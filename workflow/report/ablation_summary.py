"""The numbers behind the ablations: one line a variant, with what every seed did, and what a variant changed.

A variant is named by the settings that differ among the rows of its experiment; those that all rows share are told
once. Tokens until 95% are known up to one look: training looks at a held-out sequence every few steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from workflow.report import summary
from workflow.report.frame import unpack

CELL = [*summary.PLACE, "model", "distance"]
Mixer = Mapping[str, Any]


def rows(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The rows of one experiment, `model` named by what differs among them, `look_tokens` between two looks."""
    found = summary.of(frame, experiment)
    mixers = [_mixer(settings) for settings in found["settings"]]
    shared = common(mixers)
    of = frame[frame["experiment"] == experiment]["model"]
    names = [
        variant(str(model), {k: v for k, v in m.items() if k not in shared})
        for model, m in zip(of, mixers, strict=True)
    ]
    found["model"] = pd.array(names, dtype="string")
    found["look_tokens"] = [_first_look(cell) for cell in found["evaluations"]]
    return found


def shared(frame: pd.DataFrame, experiment: str) -> str:
    """The settings that all rows of an experiment share, in words; empty where there are none."""
    found = common([_mixer(settings) for settings in summary.of(frame, experiment)["settings"]])
    return ", ".join(f"{key}={found[key]}" for key in sorted(found))


def common(mixers: Iterable[Mixer]) -> Mixer:
    """What all mixers' settings have in common; nothing for a single row, whose settings are its name."""
    every = list(mixers)
    if len(every) < 2:
        return {}
    return {key: value for key, value in every[0].items() if all(m.get(key, _ABSENT) == value for m in every)}


_ABSENT = object()


def variant(model: str, changed: Mixer) -> str:
    """As `summary.of` names it: pointer {k=32}."""
    return f"{model} {{{', '.join(f'{key}={changed[key]}' for key in sorted(changed))}}}" if changed else model


def _mixer(settings: Any) -> Mixer:
    mixer: Mixer = (unpack(settings) or {}).get("mixer") or {}
    return mixer


def _first_look(evaluations: Any) -> float | None:
    looks = unpack(evaluations)
    return float(looks[0][0]) if looks else None


def cells(found: pd.DataFrame, keys: list[str] = CELL) -> pd.DataFrame:
    """`keys`, means over seeds with the least and the most of them; `solved` seeds got to 95%, `runs` were run."""
    spread = found.assign(
        solved=found["tokens_to_95"].notna(), tokens_per_s=found["tokens_used"] / found["train_seconds"]
    )
    columns: dict[str, str] = {"solved": "sum", "tokens_budget": "max", "look_tokens": "max", "tokens_per_s": "median"}
    for column in ("tokens_to_95", "seconds_to_95", "accuracy"):
        spread[f"{column}_least"], spread[f"{column}_most"] = spread[column], spread[column]
        columns |= {column: "mean", f"{column}_least": "min", f"{column}_most": "max"}
    return summary.summarise(spread, keys, columns)


def effect(cell: Any, default: Any) -> str:
    """What a variant does to the tokens until 95%, against the model's defaults: never, some seeds, later, sooner, or
    same, where a difference within one look is none."""
    if cell["solved"] == 0:
        return "never"
    if cell["solved"] < cell["runs"]:
        return "some seeds"
    difference = cell["tokens_to_95"] - default["tokens_to_95"]
    if abs(difference) <= max(cell["look_tokens"], default["look_tokens"]):
        return "same"
    return "later" if difference > 0 else "sooner"
