"""The registry: one line a model, a closed set of fields, and a sentence for every mistake in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pointer.errors import InputError
from workflow.bench import registry

LINE = {"path": "baselines.mine:Mine", "cost": "linear", "position": "none", "citation": "me"}


def test_a_model_is_one_line_of_the_registry() -> None:
    lines = [line for line in registry.FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line.partition(":")[0] for line in lines] == registry.names()


def test_a_line_says_only_what_differs_from_a_model_of_yours() -> None:
    found = registry.entry("mine", LINE, "here")
    assert (found.name, found.path, found.kind, found.group) == ("mine", "baselines.mine:Mine", "model", "own")
    assert (found.trained, found.learned_positions) == (True, False)


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_names_a_class_of_its_own_file_and_its_source(name: str) -> None:
    entry = registry.info(name)
    assert registry.load(name).__module__ == entry.path.partition(":")[0]
    assert "arXiv" in entry.citation or entry.kind == "control"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cots": "linear"}, "'cots' is unknown. Did you mean 'cost'"),
        ({"cost": "cheap"}, "cost of model mine is 'cheap'; accepted: linear, n log n"),
        ({"cost": ["linear"]}, "cost of model mine"),
        ({"path": "baselines.mine"}, "path of model mine is 'baselines.mine'; accepted: \"package.module:Class\""),
        ({"path": "../mine.py:Mine"}, "path of model mine"),
        ({"path": None}, "path of model mine is None"),
        ({"citation": " "}, "citation of model mine"),
        ({"position": "a\nb"}, "position of model mine"),
        ({"trained": "no"}, "trained of model mine is 'no'; accepted: true or false"),
        ({"group": "mine"}, "group of model mine is 'mine'; accepted: paper, field, own"),
    ],
)
def test_a_mistake_in_a_line_is_named(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        registry.entry("mine", {**LINE, **changed}, "here")
    assert "Change it in here" in str(caught.value)


def test_a_line_that_is_no_mapping_is_named() -> None:
    with pytest.raises(InputError, match=r"model mine is .baselines\.mine:Mine.; accepted: \{path: "):
        registry.entry("mine", "baselines.mine:Mine", "here")


def test_a_file_that_lists_a_model_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FILE", tmp_path / "registry.yaml")
    registry.FILE.write_text("a: {path: b.c:D}\na: {path: b.c:D}\n", encoding="utf-8")
    with pytest.raises(InputError, match="'a' stands twice"):
        registry._entries.__wrapped__()
