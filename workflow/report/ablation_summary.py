"""The numbers behind the ablations: one line a variant, with what every seed did, and what a variant changed.

A variant is named by the settings that differ among the rows of its experiment; those that all rows share are told
once. Tokens until 95% are known up to one look: training looks at a held-out sequence every few steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from workflow.report import summary
from workflow.report.frame import first_look, unpack

CELL = [*summary.PLACE, "model", "distance"]
Mixer = Mapping[str, Any]


def rows(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The rows of one experiment, `model` named by what differs among them, `look_tokens` between two looks."""
    raw, found = frame[frame["experiment"] == experiment], summary.of(frame, experiment)
    mixers = [_mixer(settings) for settings in raw["settings"]]
    alike = common(mixers)
    differing = [{key: value for key, value in mixer.items() if key not in alike} for mixer in mixers]
    names = [summary.variant(str(model), own) for model, own in zip(raw["model"], differing, strict=True)]
    found["model"] = pd.array(names, dtype="string")
    found["look_tokens"] = found["evaluations"].map(first_look)
    return found


def shared(frame: pd.DataFrame, experiment: str) -> str:
    """The settings that all rows of an experiment share, in words; empty where there are none."""
    found = common([_mixer(settings) for settings in frame[frame["experiment"] == experiment]["settings"]])
    return ", ".join(f"{key}={found[key]}" for key in sorted(found))


def common(mixers: Sequence[Mixer]) -> Mixer:
    """What all mixers' settings have in common; nothing where they are all the same, and name the variant."""
    alike = [
        (key, value) for key, value in (mixers[0] if mixers else {}).items() if all(_has(m, key, value) for m in mixers)
    ]
    return dict(alike) if any(mixer != mixers[0] for mixer in mixers) else {}


def _has(mixer: Mixer, key: str, value: Any) -> bool:
    return key in mixer and mixer[key] == value


def natural(name: str) -> list[tuple[str, int]]:
    """Sorts variants, k=16 before k=128."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _mixer(settings: Any) -> Mixer:
    mixer: Mixer = (unpack(settings) or {}).get("mixer") or {}
    return mixer


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
