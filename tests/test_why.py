"""`pointer-bench why`: a number, the rows that it rests on, and the commands that make them
again."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import synthetic
from synthetic import copied, timed

from workflow.bench.cli import main
from workflow.report import commands
from workflow.report.__main__ import main as report
from workflow.report.estimates import KEY

STEPS_MS = {"pointer": 100.0, "transformer": 250.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a reference, with nothing computed from them yet."""
    out = tmp_path_factory.mktemp("why")
    rows = []
    machines = ("first machine", "second machine")
    for model, machine, repeat in itertools.product(STEPS_MS, machines, range(3)):
        at = {"machine": machine, "repeat": repeat, "command": f"run {model} {machine} {repeat}"}
        rows.append(timed(model, 2048, STEPS_MS[model], **at))
    for distance, tokens in itertools.product((512, 1024), (5, 6)):
        rows.append(copied("pointer", distance, 0.99, tokens_budget=tokens))
    synthetic.store(rows, out / "reference")
    return out


def ask(folder: Path, *arguments: str) -> int:
    places = ["--results", str(folder / "results"), "--reference", str(folder / "reference")]
    return main(["why", *arguments, *places])


SPEEDUP = ("speedup", "--model", "pointer", "--against", "transformer", "--length", "2048")


def test_a_number_is_shown_with_interval_rows_and_commands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, *SPEEDUP, "--machine", "first") == 0
    text = capsys.readouterr().out
    assert text.startswith("speedup: 2.500 ratio\n")
    assert "interval 2.500 to 2.500; runs from 2.500 to 2.500; 3 of 3 finished runs have it" in text
    assert "machine=first machine" in text
    assert text.count(".json") == 6
    assert "      run transformer first machine 2\n" in text
    assert "second machine" not in text
    assert text.rstrip().endswith(f"From {folder / 'reference'}.")


def test_every_machine_is_shown_where_none_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, *SPEEDUP) == 0
    assert capsys.readouterr().out.count("speedup: 2.500 ratio") == 2


def test_the_estimates_of_a_results_folder_come_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"pointer": 100.0, "transformer": 300.0}
    rows = [timed(model, 512, step, machine="m") for model, step in times.items()]
    manifest = synthetic.store(rows, tmp_path / "rows")
    results = tmp_path / "results"
    assert report(["collect", "--manifest", str(manifest), "--out", str(results)]) == 0
    assert (
        report(["estimates", "--rows", str(results / "rows.parquet"), "--out", str(results)]) == 0
    )
    capsys.readouterr()
    assert ask(tmp_path, "speedup", "--model", "pointer") == 0
    text = capsys.readouterr().out
    assert text.startswith("speedup: 3.000 ratio\n")
    assert text.rstrip().endswith("estimates.parquet.")


def test_candidates_are_listed_where_more_than_the_place_is_open(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "accuracy", "--distance", "512") == 0
    text = capsys.readouterr().out
    assert text.startswith("2 estimates match; say more by --tokens:")
    assert ask(folder, "accuracy", "--distance", "512", "--tokens", "5") == 0
    assert capsys.readouterr().out.startswith("accuracy: 0.990")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("speedups",), "Did you mean 'speedup'?"),
        (("speedup", "--model", "pointr"), "Did you mean 'pointer'?"),
        (("speedup", "--length", "4096"), "accepted: 2048"),
        (("speedup", "--length", "many"), "accepted: 2048"),
        (("accuracy", "--pairs", "4"), "Known: distance"),
        (("speedup", "--layer", "4"), "none: it does not apply"),
    ],
)
def test_no_match_says_what_is_nearest(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], hint: str
) -> None:
    assert ask(folder, *arguments) == 2
    assert hint in capsys.readouterr().err


def test_every_key_column_is_an_option() -> None:
    assert {name.replace("-", "_") for name in commands.COLUMNS} == {*KEY} - {"quantity"}
    assert commands.AXES == ["distance", "hops", "letters", "pairs"]
