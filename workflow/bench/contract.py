"""The contract that every model is held to before its numbers are published: `pointer-bench check MODEL`.

The checks themselves are in `workflow/bench/contract_checks.py`; `check` runs those that apply, on small models (2
layers of 64) where size does not matter. Controls are exempt from parity and from gradients reaching everything, the
untrained ones also from causality and from whatever needs weights. Settings of a mixer make a variant, which is checked
like a model; but it may freeze a part, train on something softer, and sort, for such are ablations.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from workflow.bench import contract_checks as checks
from workflow.bench import models, registry
from workflow.bench.contract_checks import PARITY_LENGTH, SYMBOLS, Broken, Subject
from workflow.bench.settings import Settings

SMALL = {"layers": 2, "width": 64, "heads": 4}
NOTHING: Mapping[str, Any] = MappingProxyType({})
Test = Callable[[Subject], None]


class Check(NamedTuple):
    """One line of `pointer-bench check`."""

    name: str
    ok: bool
    reason: str


def check(name: str, mixer: Mapping[str, Any] = NOTHING) -> list[Check]:
    """All checks that apply to a model with these settings of its mixer; raises InputError for an unknown name or
    setting."""
    entry = registry.info(name)

    def built(length: int, **sizes: int) -> nn.Module:
        cell = Settings("efficiency", name, symbols=SYMBOLS, length=length, distance=7, seed=next(seeds))
        return models.build(replace(cell, mixer=dict(mixer)), torch.device("cpu"), **sizes)

    seeds = itertools.count()
    small, full = partial(built, **SMALL), partial(built, PARITY_LENGTH)
    if mixer:
        full()  # raises InputError for a bad setting, which is no fault of the model
    cost = "n log n" if mixer and entry.cost == "linear" else entry.cost
    return check_subject(Subject(name, small, full, entry.trained, entry.kind == "control", cost, bool(mixer)))


def check_subject(subject: Subject) -> list[Check]:
    """Runs every check that applies; an exception of the model is a failed check, not a crash. A model that cannot be
    built has one."""
    first = judged(checks.builds, subject)
    return [first, *(judged(function, subject) for function in applicable(subject) if first.ok)]


def applicable(subject: Subject) -> list[Test]:
    """The checks of a subject that can be built, cheapest first."""
    always: list[Test] = [checks.shapes, checks.any_length, checks.bad_input, checks.finite, checks.repeatable]
    if not subject.trained:
        return always
    weights = [checks.causal, checks.independent_of_batch, checks.saved_and_loaded, checks.cost]
    whole = [] if subject.variant else [checks.same_in_training, *([] if subject.control else [checks.gradients])]
    return [*always, *weights, *whole, *([] if subject.control else [checks.parity])]


def reason(results: Iterable[Check]) -> str:
    """What fails, in one line; empty where nothing does."""
    return "; ".join(f"{found.name}: {found.reason}" for found in results if not found.ok)


def judged(function: Test, subject: Subject) -> Check:
    """One check of a subject, from seed 0."""
    name = function.__name__.replace("_", " ")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            function(subject)
    except Broken as broken:
        return Check(name, False, str(broken))
    except Exception as error:
        return Check(name, False, f"raised {type(error).__name__}: {error}{_place(error)}")
    return Check(name, True, "")


def _place(error: Exception) -> str:
    """The innermost line outside torch where an error was raised, such as " (my_mixer.py, line 30)"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "torch" not in Path(frame.filename).parts]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
