"""The registry: one line a model, a closed set of fields, and a sentence for every mistake in a
line."""

from __future__ import annotations

from typing import Any

import pytest

from pointer.errors import InputError
from workflow.bench import registry

LINE = {"path": "baselines.mine:Mine", "cost": "linear", "position": "none", "citation": "me"}


def test_the_entries_are_the_models() -> None:
    lines = registry.FILE.read_text(encoding="utf-8").splitlines()
    assert [line.removesuffix(":") for line in lines if line[:1].isalpha()] == registry.names()


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_names_a_class_of_its_own_file_and_its_source(name: str) -> None:
    entry = registry.info(name)
    assert registry.load(name).__module__ == entry.path.partition(":")[0]
    assert "arXiv" in entry.citation or entry.kind == "control"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cots": "linear"}, "'cots' is unknown. Did you mean 'cost'"),
        ({"cost": "cheap"}, "cost of model mine 'cheap' is unknown. Known: linear, n log n"),
        ({"cost": ["linear"]}, "cost of model mine"),
        ({"path": "baselines.mine"}, "path of model mine is 'baselines.mine'; accepted: "),
        ({"path": "../mine.py:Mine"}, "path of model mine"),
        ({"path": None}, "path of model mine is None"),
        ({"citation": " "}, "citation of model mine"),
        ({"position": "a\nb"}, "position of model mine"),
        ({"trained": "no"}, "trained of model mine is 'no'; accepted: a valid boolean"),
        ({"group": "mine"}, "group of model mine 'mine' is unknown. Known: field, own, paper"),
    ],
)
def test_a_mistake_in_a_line_is_named(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        registry.entry("mine", {**LINE, **changed}, "here")
    assert "Change it in here" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../e", "", "*", "all", "control", "x; touch pwned", "a" * 41, "Mine"]
)
def test_a_name_that_no_path_or_tier_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="name of model") as caught:
        registry.entry(name, LINE, "here")
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"chain": "False"}, "setting chain of pointer is 'False'; accepted: a valid boolean"),
        ({"hard": 0}, "setting hard of pointer is 0; accepted: a valid boolean"),
        ({"k": 64.0}, "setting k of pointer is 64.0; accepted: a valid integer"),
        ({"k": True}, "setting k of pointer is True; accepted: a valid integer"),
        ({"noise": "much"}, "setting noise of pointer is 'much'; accepted: a valid number"),
        ({"credit": 3}, "credit of pointer is 3; accepted: 'none', 'candidates' or 'fft'"),
        ({"heads": 8}, "setting of pointer 'heads' is unknown"),
    ],
)
def test_a_setting_of_a_mixer_is_held_to_its_type(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        registry.build("pointer", symbols=20, length=64, mixer=setting)


def test_a_line_that_is_no_mapping_is_named() -> None:
    with pytest.raises(
        InputError, match=r"model mine is .baselines\.mine:Mine.; accepted: \{path: "
    ):
        registry.entry("mine", "baselines.mine:Mine", "here")
