"""The command line: exit codes, one line for bad input, and a row for everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workflow.bench import cli, commands, registry, supervisor, verdicts
from workflow.bench.measure import contract
from workflow.bench.rows import complete, read_row
from workflow.bench.run import STORE, verdict_folder
from workflow.bench.settings import FIELDS, Settings, option

RUN = ["run", "--experiment", "copy", "--model", "chance"]
TIMES = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Cells that were measured, by a stand-in for the supervisor."""
    cells: list[Settings] = []

    def run(settings: Settings, folder: Path) -> dict[str, Any]:
        cells.append(settings)
        (folder / "weights.safetensors").write_bytes(b"w")
        known = supervisor.provenance.identity(settings)
        return complete(
            {**known, **TIMES, "status": "oom", "reason": "too big", "files": {"weights": "weights.safetensors"}}
        )

    monkeypatch.setattr(supervisor, "run", run)
    monkeypatch.setattr(verdicts, "of", lambda *_: verdicts.Verdict("ok"))
    return cells


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["rnu"], "Did you mean 'run'"),
        (["run"], "experiment is None"),
        (["run", "--experiment", "copy"], "model is None"),
        ([*RUN, "--experimnt", "copy"], "Did you mean '--experiment'"),
        ([*RUN, "--lenght=5"], "Did you mean '--length'"),
        ([*RUN, "extra"], "'extra' is unknown"),
        ([*RUN, "--distance"], "expected one argument"),
        ([*RUN, "--distance", "far"], "distance is 'far'; accepted: a whole number"),
        ([*RUN, "--distance", "1e3"], "distance is '1e3'"),
        ([*RUN, "--lr", "nan"], "lr is nan"),
        ([*RUN, "--device", "gpu"], "'gpu' is unknown"),
        ([*RUN, "--model", "pointr"], "Did you mean 'pointer'"),
        ([*RUN, "--experiment", "coppy"], "Did you mean 'copy'"),
        ([*RUN, "--pairs", "7"], "--pairs 7 does nothing in copy; accepted: with mqar"),
        (["run", "--experiment", "efficiency", "--model", "chance", "--hops", "1"], "--hops 1 does nothing in eff"),
        ([*RUN, "--set", "k"], "key=value"),
        ([*RUN, "--out", "."], "a file, not a folder"),
        (["check"], "MODEL"),
        (["check", "pointr"], "Did you mean 'pointer'"),
        (["estimate", "--configfile", "nowhere.yaml"], "cannot be read"),
        (["estimate", "--config", "lengths=3"], "a JSON object"),
        (["plan", "--config", '{"lenghts": [3]}'], "Did you mean 'lengths'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_every_setting_is_an_option() -> None:
    parser = commands.Parser()
    commands.COMMANDS["run"].options(parser)
    known = {text for action in parser._actions for text in action.option_strings}
    assert {option(name) for name in FIELDS} <= known


def test_a_row_is_written_and_told_in_a_line(
    tmp_path: Path, measured: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new folder" / "row.json"
    assert cli.main([*RUN, "--distance", "64", "--out", str(out)]) == 0
    assert read_row(out)["distance"] == 64
    assert (out.parent / "row.weights.safetensors").exists()
    assert capsys.readouterr().out == "copy chance D=64 cpu: oom (too big)\n"


def test_without_out_the_row_is_printed(measured: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(RUN) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "chance"


def test_the_store_answers_the_second_time(tmp_path: Path, measured: list[Settings]) -> None:
    for name in ("a", "b"):
        assert cli.main([*RUN, "--store", str(tmp_path / "store"), "--out", str(tmp_path / f"{name}.json")]) == 0
    assert len(measured) == 1
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert cli.main([*RUN, "--seed", "1", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "c.json")]) == 0
    assert len(measured) == 2


def test_rows_made_by_hand_share_the_pipelines_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    assert verdict_folder(None, own) == own
    Path(STORE).mkdir(parents=True)
    assert verdict_folder(None, own) == Path(STORE)
    assert verdict_folder(own, own) == own


def test_the_command_of_a_row_makes_it_again(tmp_path: Path, measured: list[Settings]) -> None:
    argv = [*RUN, "--distance", "77", "--machine", "my box", "--set", "a=1"]
    cli.main([*argv, "--out", str(tmp_path / "row.json")])
    import shlex

    again = shlex.split(read_row(tmp_path / "row.json")["command"])
    assert again[0] == "pointer-bench"
    cli.main([*again[1:], "--out", str(tmp_path / "again.json")])
    assert measured[0] == measured[1]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_exit_code_1(
    tmp_path: Path, measured: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert cli.main([*RUN, "--out", str(tmp_path / "row.json")]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_file_in_the_way_is_exit_code_1(
    tmp_path: Path, measured: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main([*RUN, "--out", str(tmp_path / "file" / "row.json")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_list_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in listed["models"]] == registry.names()
    assert all(model["name"] in text for model in listed["models"])
    assert {e["name"] for e in listed["experiments"]} >= {"efficiency", "copy", "interpretability", "complexity"}
    assert listed["devices"][0] == "cpu"


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_check_tells_each_result_and_the_verdict(
    passed: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        contract, "check", lambda *_: [("shapes", True, ""), ("causality", passed, "position 3 sees 4")]
    )
    assert cli.main(["check", "pointer"]) == code
    told = capsys.readouterr().out
    assert ("FAIL  causality: position 3 sees 4" in told) == (not passed)
    assert ("pointer breaks 1 of 2 checks: no number of it is published" in told) == (not passed)
    assert ("pointer keeps its contract" in told) == passed


def test_estimate_and_plan_take_a_tier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["estimate", "--configfile", "config/smoke.yaml", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("tier smoke\n")
    assert cli.main(["plan", "--config", '{"tier": "mine", "models": ["pointer"], "experiments": {"copy": null}}']) == 0
    assert all(
        line.startswith("results/runs/") and "/copy/" not in line for line in capsys.readouterr().out.splitlines()
    )


def test_the_module_runs_without_snakemake() -> None:
    code = "import sys; sys.modules['snakemake'] = None; from workflow.bench.cli import main; sys.exit(main(['list']))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
