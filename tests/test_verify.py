"""`pointer-bench verify`: clean rows pass, and each planted fault is named, with what to measure again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.bench import cli, config, plan, provenance
from workflow.bench.plan import Cell
from workflow.bench.rows import Row, digest, write_row
from workflow.bench.store import attachment, file_hash

TIER = {
    "tier": "tiny",
    "devices": ["cpu"],
    "lengths": [128, 256],
    "distances": [64],
    "seeds": [0, 1],
    "experiments": {
        "complexity": None,
        "interpretability": {"models": ["pointer"], "controls": "none", "seeds": [0], "tasks": ["copy", "bytes"]},
        "copy": {"models": ["pointer"], "controls": ["chance"], "restrict": {"control": {"distances": [64]}}},
        "efficiency": {"models": ["pointer", "transformer"], "controls": "none", "seeds": [0], "repeats": 2},
    },
}
BEGIN = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
Change = Callable[[Row], dict[str, Any]]


def cells(tier: dict[str, Any] = TIER) -> list[Cell]:
    return plan.cells(config.tiers(tier)[1]["tiny"])


def measured(cell: Cell, place: int) -> Row:
    """A plausible row, ten seconds after the one before it."""
    settings = cell.resolved()
    row = {**provenance.identity(cell), "status": "ok", "git_dirty": False}
    row |= {"seed_data": 10 + settings.seed, "seed_init": 20 + settings.seed, "seed_order": 30 + settings.seed}
    if cell.timing:
        rate = settings.batch * settings.length / 0.1
        row |= {"step_ms": 99.0, "step_ms_q20": 95.0, "step_ms_q80": 104.0, "step_ms_mean": 100.0, "steps": 5}
        row |= {"tokens_per_s": rate}
    else:
        row |= {"correct_by_sequence": [8, 10], "accuracy": 0.9, "n_evaluated": 20}
        row |= {"accuracy_low": 0.7, "accuracy_high": 0.97, "tokens_used": 100, "train_seconds": 4.0}
    return row | times(place)


def times(place: float, seconds: float = 8.0) -> dict[str, str]:
    start = BEGIN + timedelta(seconds=10 * place)
    return {"started": start.isoformat(), "ended": (start + timedelta(seconds=seconds)).isoformat()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished results folder: rows, a trace, a manifest, a file of benchmarks, another row in the store."""
    planned = cells()
    for place, cell in enumerate(planned):
        path = tmp_path / cell.path
        row = measured(cell, place)
        if cell.experiment == "interpretability":
            attachment(path, "trace.json").parent.mkdir(parents=True, exist_ok=True)
            attachment(path, "trace.json").write_text('{"targets": []}')
            hashes = {"trace": file_hash(attachment(path, "trace.json"))}
            row |= {"files": {"trace": "trace.json"}, "files_sha256": hashes}
        write_row(path, row)
    folder = tmp_path / "results"
    (folder / "manifest.txt").write_text("".join(f"{cell.path}\n" for cell in planned))
    (folder / "benchmarks.json").write_text("{}")
    (folder / ".store").mkdir()
    write_row(folder / ".store" / "old.json", measured(planned[0], 0))
    return folder


def path_of(results: Path, **wanted: Any) -> Path:
    """The file of the first cell with these settings."""
    return next(
        results.parent / cell.path
        for cell in cells()
        if all(getattr(cell, key) == value for key, value in wanted.items())
    )


def change(path: Path, **values: Any) -> None:
    """Changes a row and seals it anew, as somebody would who knows how."""
    write_row(path, json.loads(path.read_text()) | values)


def found(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, list[str], dict[str, Any]]:
    """Exit code, the checks that failed, and all of the JSON."""
    code = cli.main(["verify", *map(str, argv), "--json"])
    said = json.loads(capsys.readouterr().out)
    return code, [problem["check"] for problem in said["problems"]], said


def test_rows_without_a_fault_are_clean(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(results)]) == 0
    assert capsys.readouterr().out == f"{len(cells())} rows: clean\n"
    code, checks, said = found(capsys, results)
    assert (code, checks, said["rows"], said["notes"]) == (0, [], len(cells()), [])


def test_two_timings_at_once_are_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="efficiency", model="transformer", length=128, repeat=0)
    before = json.loads(path_of(results, experiment="efficiency", model="pointer", length=128, repeat=0).read_text())
    change(path, started=before["started"], ended=before["ended"])
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["overlap"])
    assert "ran for 8 s while" in said["problems"][0]["what"]
    assert len(said["problems"][0]["files"]) == len(said["problems"][0]["rerun"]) == 2


def test_training_beside_a_timing_is_refused_but_not_beside_training(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = [path_of(results, experiment="copy", model="pointer", seed=seed) for seed in (0, 1)]
    for path in trained:
        change(path, **times(100))
    assert found(capsys, results)[:2] == (0, [])
    change(path_of(results, experiment="efficiency"), **times(100.7))
    assert found(capsys, results)[:2] == (1, ["overlap", "overlap"])
    change(path_of(results, experiment="efficiency"), **times(100.7), machine="another box")
    assert "overlap" not in found(capsys, results)[1]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_row_edited_by_hand_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer")
    edit(path, '"accuracy": 0.9', '"accuracy": 0.99')
    code, checks, said = found(capsys, results)
    assert (code, checks, said["problems"][0]["files"]) == (1, ["altered"], [str(path)])


def test_an_edit_that_is_sealed_anew_contradicts_its_own_numbers(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(path_of(results, experiment="copy", model="pointer"), accuracy=0.99, accuracy_high=1.0)
    change(path_of(results, experiment="efficiency"), tokens_per_s=10**6)
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["numbers", "numbers"])
    assert {problem["what"].partition(": ")[2] for problem in said["problems"]} == {
        "accuracy does not follow from correct_by_sequence",
        "tokens_per_s does not follow from step_ms_mean",
    }


def test_a_truncated_file_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="chance")
    path.write_bytes(path.read_bytes()[:-50])
    assert found(capsys, results)[:2] == (1, ["unreadable"])


def test_an_unknown_key_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="chance")
    row = json.loads(path.read_text()) | {"acuracy": 1.0}
    path.write_text(json.dumps(row | {"digest": digest(row)}))
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["schema"])
    assert "acuracy" in said["problems"][0]["what"]


def test_a_missing_cell_is_named_with_its_command(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer", seed=1)
    path.unlink()
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["missing"])
    (command,) = said["problems"][0]["rerun"]
    folder, name = shlex.quote(f"{results.parent}/"), shlex.quote(str(path.relative_to(results.parent)))
    assert command == f"cd {folder} && snakemake --cores 4 -- {name}"


def test_a_cell_of_a_tier_is_missed_wherever_rows_lie(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "mine.yaml").write_text(yaml.safe_dump(TIER))
    asked = [results / "runs" / "copy", "--configfile", results / "mine.yaml"]
    code, checks, said = found(capsys, *asked)
    others = [cell.path for cell in cells() if cell.experiment != "copy"]
    assert (code, checks) == (1, ["missing"] * len(others))
    assert [problem["files"] for problem in said["problems"]] == [[path] for path in others]
    assert found(capsys, results, *asked[1:])[:2] == (0, [])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shared_hash": "0" * 16}, "task, recipe, trunk or clock"),
        ({"source_hash": "0" * 16}, "other sources"),
        ({"versions": {"torch": "1.0"}}, "other packages"),
    ],
)
def test_rows_of_other_sources_do_not_compare(
    results: Path, capsys: pytest.CaptureFixture[str], values: dict[str, Any], words: str
) -> None:
    path = path_of(results, experiment="efficiency", model="pointer")
    change(path, **values)
    code, checks, said = found(capsys, results)
    assert (code, checks, said["problems"][0]["files"]) == (1, ["sources"], [str(path)])
    assert words in said["problems"][0]["what"]


def test_rows_that_no_report_sets_side_by_side_may_differ(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(path_of(results, experiment="efficiency", model="pointer"), source_hash="0" * 16)
    lines = (results / "manifest.txt").read_text().splitlines()
    (results / "manifest.txt").write_text("\n".join(line for line in lines if "/efficiency/pointer/" not in line))
    assert found(capsys, results)[:2] == (0, [])


def test_tasks_of_one_experiment_have_sources_of_their_own(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, copied = (path_of(results, experiment="interpretability", task_name=task) for task in ("bytes", "copy"))
    hashes = [json.loads(path.read_text())["shared_hash"] for path in (text, copied)]
    assert hashes[0] != hashes[1]
    assert found(capsys, results)[:2] == (0, [])
    change(text, task="copy")
    assert set(found(capsys, results)[1]) == {"sources"}


def test_a_model_from_outside_is_named_by_its_path(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer")
    settings = json.loads(path.read_text())["settings"] | {"model": "mine=package.module:Mixer"}
    change(path, settings=settings, model="mine")
    assert found(capsys, results)[1] == []
    change(path, settings=settings, model="theirs")
    assert found(capsys, results)[1] == ["numbers"]


def test_a_copied_row_and_a_copied_seed_are_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer", seed=1)
    other = path.with_name("other-machine.json")
    other.write_bytes(path.read_bytes())
    code, checks, said = found(capsys, results / "runs")
    assert (code, checks) == (1, ["duplicate"])
    assert "is there twice" in said["problems"][0]["what"]
    other.unlink()
    change(path, seed_data=10, seed_init=20, seed_order=30)
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["duplicate"])
    assert "seeds 0 and 1 draw the same numbers" in said["problems"][0]["what"]


def test_two_budgets_of_one_cell_are_no_repeats(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer", seed=1)
    row = json.loads(path.read_text())
    settings = row["settings"] | {"tokens": 500_000}
    write_row(path.with_name("longer.json"), row | {"settings": settings, "tokens_budget": 500_000} | times(200))
    assert found(capsys, results)[:2] == (0, [])  # another tier's
    code, checks, said = found(capsys, results / "runs")
    assert (code, checks) == (1, ["duplicate"])
    assert "with different tokens" in said["problems"][0]["what"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ended": "2025-12-31T00:00:00+00:00"}, "before it started"),
        ({"ended": "2999-01-01T00:00:00+00:00"}, "in the future"),
        ({"started": "2026-01-01T00:00:00"}, "without a time zone"),
        ({"started": "yesterday"}, "is no time"),
        ({"train_seconds": 60.0}, "60 s of measured work"),
    ],
)
def test_times_that_no_clock_gave_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str], values: dict[str, Any], words: str
) -> None:
    change(path_of(results, experiment="copy", model="pointer"), **values)
    code, checks, said = found(capsys, results)
    assert code == 1
    assert "clock" in checks
    assert words in next(problem["what"] for problem in said["problems"] if problem["check"] == "clock")


def test_a_trace_that_is_gone_or_changed_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = attachment(path_of(results, experiment="interpretability"), "trace.json")
    trace.write_text('{"targets": [[[0]]]}')
    assert found(capsys, results)[:2] == (1, ["attachment"])
    trace.unlink()
    assert found(capsys, results)[:2] == (1, ["attachment"])


def test_rows_to_commit_may_lack_their_weights(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="interpretability")
    kept = results / "reference" / "box" / path.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    code, checks, said = found(capsys, results)
    assert (code, checks, [note["check"] for note in said["notes"]]) == (0, [], ["attachment"])


def test_repeats_out_of_turn_and_doubtful_rows_are_notes(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = path_of(results, experiment="efficiency", model="pointer", length=128, repeat=0)
    change(late, **times(300), warnings=["training step varies"], git_dirty=True, source_hash="0" * 16)
    change(path_of(results, experiment="efficiency", model="pointer", length=256, repeat=0), source_hash="0" * 16)
    for length, repeat in ((128, 1), (256, 1)):
        path = path_of(results, experiment="efficiency", model="pointer", length=length, repeat=repeat)
        change(path, source_hash="0" * 16)
    change(path_of(results, experiment="copy", model="pointer"), status="diverged", reason="the loss became nan")
    code, checks, said = found(capsys, results)
    notes = {note["check"]: note["what"] for note in said["notes"]}
    assert (code, checks) == (0, [])
    assert set(notes) == {"turns", "warning", "uncommitted", "status", "outdated"}
    assert "repeat 0 were still timed after repeat 1 began" in notes["turns"]
    assert notes["outdated"].startswith("4 rows")


def test_a_row_of_the_pipeline_leaves_the_store_too(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="pointer")
    change(path, train_seconds=1000.0)
    row = json.loads(path.read_text())
    (command,) = found(capsys, results, "--configfile", _written(results))[2]["problems"][0]["rerun"]
    key = next(cell.key() for cell in cells() if str(path).endswith(cell.path))
    assert f"/results/.store/{key}-{row['source_hash']}.json" in command
    assert f"--configfile {results / 'mine.yaml'} -- results/runs/copy/pointer/" in command
    alone = results.parent / "alone.json"
    alone.write_bytes(path.read_bytes())
    (command,) = found(capsys, alone)[2]["problems"][0]["rerun"]
    assert command == f"{row['command']} --out {alone}"


def _written(results: Path) -> Path:
    path = results / "mine.yaml"
    path.write_text(yaml.safe_dump(TIER))
    return path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], "a file or a folder that exists"),
        (["."], "row files, or folders of them"),
        ([".", "--manifest", "nowhere.txt"], "one row path a line"),
        ([], "PATH"),
    ],
)
def test_bad_input_is_exit_code_2(
    tmp_path: Path, argv: Iterable[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--manifest" in argv:
        write_row(tmp_path / "row.json", measured(cells()[0], 0))
    assert cli.main(["verify", *argv]) == 2
    assert words in capsys.readouterr().err


def test_lines_for_people_tell_what_to_type(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(results, experiment="copy", model="chance")
    path.write_text("{")
    assert cli.main(["verify", str(results)]) == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"unreadable: {path}: not a readable row")
    assert second.startswith(f"    again: rm -f {path} && cd ")
    assert last == f"{len(cells()) - 1} rows: 1 problem"
