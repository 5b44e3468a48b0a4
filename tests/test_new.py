"""`pointer-bench new`: one file and one line, whole or not at all, and a sentence for a name that
cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointer.errors import InputError
from workflow.bench import cli, new, registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of baselines with a registry of two lines."""
    monkeypatch.setattr(registry, "FILE", tmp_path / "registry.yaml")
    registry.FILE.write_text(
        "# above\nlinear-attention: {path: a.b:C}\nother: {path: a.b:C}\n", encoding="utf-8"
    )
    (tmp_path / "chunks.py").touch()
    monkeypatch.setattr(registry, "names", lambda: ["linear-attention", "other"])
    return tmp_path


def test_a_file_and_a_line_are_written_and_nothing_else_changes(folder: Path) -> None:
    before = registry.FILE.read_text(encoding="utf-8")
    told = new.make(
        "my_mixer", cost="n log n", position="rotary", citation='Me 2026, "It: works", arXiv 1'
    )
    added = registry.FILE.read_text(encoding="utf-8").removeprefix(before)
    assert added.startswith("\nmy_mixer:\n  path: ")
    entry = registry._entries.__wrapped__  # what reads the file, without its cache
    registry.FILE.write_text(added, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "ROOT", folder)
        found = entry()["my_mixer"]
    assert (found.cost, found.position) == ("n log n", "rotary")
    assert found.citation == 'Me 2026, "It: works", arXiv 1'
    assert (found.path, found.group, found.kind) == ("baselines.my_mixer:MyMixer", "own", "model")
    made = sorted(path.name for path in folder.iterdir())
    assert made == ["chunks.py", "my_mixer.py", "registry.yaml"]
    assert any("pointer-bench check my_mixer" in line for line in told)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-mixer", "such as my_mixer"),
        ("../evil", "such as evil"),
        ("", "starts with a letter"),
        ("x" * 41, "at most 40"),
        ("mïxer", "lower-case letters"),
        ("lambda", "no keyword of Python"),
        ("true", "no keyword of Python"),
        ("null", "YAML reads as text"),
        ("paper", "words of the config"),
        ("chunks", "not taken"),
        ("linear_attention", "not taken"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(
    folder: Path, name: str, words: str
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=words) as caught:
        new.make(name)
    assert f" is {name!r}" in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("option", "value"), [("cost", "cheap"), ("position", ""), ("citation", "a\nb")]
)
def test_a_bad_value_is_refused_and_nothing_is_written(
    folder: Path, option: str, value: str
) -> None:
    with pytest.raises(InputError, match=f"{option} of model my_mixer"):
        new.make("my_mixer", **{option: value})
    assert not (folder / "my_mixer.py").exists()


def test_a_registry_that_cannot_be_written_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(new, "write_atomically", full)
    with pytest.raises(OSError, match="no space"):
        new.make("my_mixer")
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.py", "registry.yaml"]


def test_the_command_tells_what_it_wrote(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "my_mixer"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(f"wrote {folder.name}/my_mixer.py")
    assert cli.main(["new", "my_mixer"]) == 2
    assert "not taken" in capsys.readouterr().err
