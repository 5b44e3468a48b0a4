"""The contract that every model is held to before its numbers are published: `pointer-bench check MODEL`.

The checks themselves are in `workflow/bench/contract_checks.py`; `check` runs those that apply, on small models (2
layers of 64) where size does not matter. Controls are exempt from parity and from gradients reaching everything, the
untrained ones also from causality and from whatever needs weights. Settings of a mixer of the suite make a variant,
which is checked like a model; but it may freeze a part, train on something softer, and sort, for such are ablations.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.measure import contract_checks as checks
from workflow.bench.measure import models
from workflow.bench.measure.contract_checks import PARITY_LENGTH, SYMBOLS, Broken, Subject
from workflow.bench.settings import Settings
from workflow.bench.sources import ROOT

SMALL = {"layers": 2, "width": 64, "heads": 4}
NOTHING: Mapping[str, Any] = MappingProxyType({})
Test = Callable[[Subject], None]
DECISIVE: tuple[Test, ...] = (checks.builds, checks.shapes, checks.finite, checks.repeatable)
SUITE = ROOT / "workflow"


class Check(NamedTuple):
    """One line of `pointer-bench check`."""

    name: str
    ok: bool
    reason: str


def check(name: str, mixer: Mapping[str, Any] = NOTHING) -> Iterator[Check]:
    """All checks that apply to a model with these settings of its mixer, each as it is done; raises InputError for an
    unknown name or setting."""
    entry = registry.info(name)

    def built(length: int, **sizes: int) -> nn.Module:
        cell = Settings("efficiency", name, symbols=SYMBOLS, length=length, distance=7, seed=next(seeds))
        return models.build(replace(cell, mixer=dict(mixer)), torch.device("cpu"), **sizes)

    seeds = itertools.count()
    if mixer:
        _refuse_bad_settings(partial(built, PARITY_LENGTH))
    variant = bool(mixer) and entry.group != "own"
    cost = "n log n" if variant and entry.cost == "linear" else entry.cost
    small = partial(built, **SMALL)
    return check_subject(Subject(name, small, built, entry.trained, entry.kind == "control", cost, variant))


def _refuse_bad_settings(build: Callable[[], object]) -> None:
    """Raises InputError for a refused setting, which is no fault of the model; what else fails, `builds` tells."""
    try:
        build()
    except InputError:
        raise
    except Exception:
        return


def check_subject(subject: Subject) -> Iterator[Check]:
    """Runs every check that applies; an exception of the model is a failed check, not a crash. Where one of DECISIVE
    fails, the others would say the same in other words, or wrongly: of what differs at each call, a later token seems
    to be the cause. They are left out."""
    for function in applicable(subject):
        found = judged(function, subject)
        yield found
        if not found.ok and function in DECISIVE:
            return


def applicable(subject: Subject) -> list[Test]:
    """The checks of a subject, cheapest first."""
    first: list[Test] = [checks.builds, checks.shapes, checks.any_length, checks.bad_input]
    always = [*first, checks.finite, checks.repeatable]
    if not subject.trained:
        return always
    weights = [checks.causal, checks.independent_of_batch, checks.as_measured, checks.saved_and_loaded, checks.cost]
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
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        about = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        return Check(name, False, f"{about}raised {type(error).__name__}: {said}{_place(error)}")
    return Check(name, True, "")


def _place(error: BaseException) -> str:
    """The innermost line outside torch and the suite's own calls where an error was raised, such as " (my_mixer.py,
    line 30)"."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "torch" not in path.parts and SUITE not in path.parents:
            return f" ({path.name}, line {frame.lineno})"
    return ""
