"""Models outside the repository: found and read without running them, named by mistake and all, and
whole in a row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointer.errors import InputError
from workflow.bench import config, outside, registry
from workflow.bench.cell import Cell, from_dict
from workflow.bench.rows import provenance
from workflow.bench.sources import ROOT, content_hash

HERE = str(Path(__file__).parent)
CODE = """
from . import helper
from ..common import value

raise RuntimeError("this module must not run while planning")


class Mine:
    cost = "n log n"
    citation: str = "Me 2026"
    learned_positions = True
    position = str("computed")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's on Python's path: `theirs.sub.mine` imports its neighbours by
    relative names."""
    folder = tmp_path / "theirs" / "sub"
    folder.mkdir(parents=True)
    (folder.parent / "common.py").write_text("value = 1\n")
    (folder / "helper.py").write_text("")
    (folder / "mine.py").write_text(CODE)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('nor may this')\n")
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield folder
    _forget()


def _forget() -> None:
    for cached in (registry._outside, provenance.source_hash):
        cached.cache_clear()


NAME = "mine=theirs.sub.mine:Mine"


def test_the_class_says_what_a_registry_line_says_and_is_not_run(package: Path) -> None:
    entry = registry.info(NAME)
    assert (entry.name, entry.path) == ("mine", "theirs.sub.mine:Mine")
    assert (entry.cost, entry.citation) == ("n log n", "Me 2026")
    assert entry.learned_positions
    assert (entry.kind, entry.group, entry.trained) == ("model", "own", True)
    assert entry.position == outside.DEFAULTS["position"]  # computed: only plain values are read
    assert "theirs" not in sys.modules


def test_its_own_package_is_part_of_its_sources(package: Path) -> None:
    files = {path.name for path in provenance.model_files(NAME)}
    assert files == {"mine.py", "__init__.py", "helper.py", "common.py"}
    before = provenance.source_hash(NAME, "copy", "copy")
    (package.parent / "common.py").write_text("value = 2\n")
    _forget()
    assert provenance.source_hash(NAME, "copy", "copy") != before


def test_a_row_names_the_model_its_path_and_the_hash_of_its_file(package: Path) -> None:
    cell = Cell.of("copy", NAME, distance=64)
    known = provenance.identity(cell)
    assert (known["model"], known["model_path"]) == ("mine", "theirs.sub.mine:Mine")
    assert known["model_hash"] == content_hash([package / "mine.py"])
    command = f"pointer-bench run --experiment copy --model {NAME} --lr 0.001 --distance 64"
    assert known["command"] == command
    assert from_dict(cell.to_dict()) == cell
    assert cell.path.startswith("results/runs/copy/mine/d64-s0-")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine=theirs.sub.mine:Mien", "'Mien' is unknown. Did you mean 'Mine'"),
        ("mine=theirs.sub.mien:Mine", r"module of model mine is 'theirs.sub.mien'; .*PYTHONPATH"),
        ("mine=theirs.sub.mine", 'accepted: "package.module:Class"'),
        ("mine=sys:Mine", "PYTHONPATH"),
        ("=theirs.sub.mine:Mine", "name of model  is ''"),
        ("../up=theirs.sub.mine:Mine", "name of model ../up is '../up'"),
        ("pointer=theirs.sub.mine:Mine", "other than those of the suite"),
        ("paper=theirs.sub.mine:Mine", "words of the config"),
    ],
)
def test_a_mistake_is_named(package: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        registry.info(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Mine:\n    cost = 'cheap'\n", "cost of model mine 'cheap' is unknown"),
        ("class Mine(:\n", "cannot be read as Python"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_named(package: Path, text: str, words: str) -> None:
    (package / "mine.py").write_text(text)
    with pytest.raises(InputError, match=words):
        registry.info(NAME)


def cells(**added: Any) -> list[config.Cell]:
    """The cells of the default tier with additions, one experiment."""
    off = dict.fromkeys(("complexity", "efficiency", "interpretability"))
    return config.cells(config.tier("default", {"distances": [512], "experiments": off, **added}))


@pytest.mark.parametrize("key", ["models", "own_models"])
def test_a_model_that_the_config_declares_joins_the_group_own(package: Path, key: str) -> None:
    before = {cell.model for cell in cells()}
    after = {cell.model for cell in cells(**{key: {"mine": "theirs.sub.mine:Mine"}})}
    assert after - before == {NAME}
    assert before < after


def test_a_declared_model_can_be_chosen_restricted_and_set_by_name(package: Path) -> None:
    declared = {
        "own_models": {"mine": "theirs.sub.mine:Mine"},
        "models": ["mine"],
        "controls": "none",
        "mixer": {"mine": {"k": 3}},
        "experiments": {"copy": {"restrict": {"n log n": {"distances": [512]}}}},
        "distances": [256, 512],
        "seeds": [0],
    }
    found = config.cells(config.tier("default", declared))
    copies = [cell for cell in found if cell.experiment == "copy"]
    assert [(cell.model, cell.x, cell.mixer) for cell in copies] == [(NAME, 512, {"k": 3})]


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"models": {"mine": 3}}, "own_models.mine is 3; accepted: a valid string"),
        ({"models": {"mine": "theirs.sub.mine:Mien"}}, "Did you mean 'Mine'"),
        (
            {"models": {"mine": "theirs.sub.mine:Mine"}, "mixer": {"mien": {}}},
            "'mien' is unknown. Did you mean 'mine'",
        ),
        ({"experiments": {"copy": {"models": {"mine": "a:B"}}}}, "experiments.copy.models"),
    ],
)
def test_a_mistake_in_the_config_is_named(package: Path, added: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config.tier("default", added)


@pytest.mark.slow
def test_a_row_of_a_model_outside_is_measured_as_any_other(tmp_path: Path) -> None:
    argv = ["run", "--experiment=complexity", "--model=mine=planted:Honest", "--length=32"]
    argv += ["--threads=1", "--out"]
    command = [sys.executable, "-m", "workflow.bench", *argv, str(tmp_path / "row.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT)])}
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("complexity mine n32-s0: ok")
