"""A cell, stated once and hashed by what matters; the command line, which makes a row of it."""

import io
import json
import math
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench import cell as cells
from workflow.bench import cli, experiments, registry, tasks
from workflow.bench.cell import Cell
from workflow.bench.rows import child, read_row
from workflow.bench.rows import run as rows_run
from workflow.bench.sources import ROOT
from workflow.bench.validation import LONGEST_TEXT

RUN = ["run", "--experiment", "copy", "--model", "chance"]
QUICK_S = 0.6 * 2  # processor seconds; twice as many where the machine is busy


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "Missing command"),
        (["rnu"], "Did you mean 'run'"),
        (["run"], "experiment None is unknown"),
        ([*RUN, "--experimnt", "copy"], "one of: '--experiment'"),
        ([*RUN, "extra"], "unexpected extra argument"),
        ([*RUN, "--pairs", "7"], "--pairs 7 does nothing in copy; accepted: with mqar"),
        ([*RUN, "--set", "k"], "key=value"),
        ([*RUN, "-distance", "7"], "No such option"),
        ([*RUN, "--out", "."], "is a directory"),
        (["check", "pointr"], "Did you mean 'pointer'"),
        (["estimate", "--configfile", "nowhere.yaml"], "cannot be read"),
        (["estimate", "--config", "lengths=3"], "a JSON object"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words, capsys):
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_a_row_is_written_and_told_in_a_line(tmp_path, measured, capsys):
    out = tmp_path / "new folder" / "row.json"
    assert cli.main([*RUN, "--distance", "64", "--out", str(out)]) == 0
    assert (read_row(out)["axis"], read_row(out)["x"]) == ("distance", 64)
    assert (out.parent / "row.weights.safetensors").exists()
    assert capsys.readouterr().out == "copy chance d64-s0: oom (too big)\n"


@pytest.mark.parametrize("options", [[], ["--out", "b\xfcro.json"]])
def test_a_terminal_without_umlauts_stops_no_row(options, tmp_path, measured, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert cli.main([*RUN, "--machine", "B\xfcro", *options]) == 0
    sys.stdout.seek(0)
    printed = sys.stdout.read()
    row = read_row(tmp_path / options[1]) if options else json.loads(printed)
    assert row["machine"] == "B\xfcro"


@pytest.mark.parametrize("out", ["file/row.json", "x" * 300 + ".json"])
def test_a_file_that_cannot_be_written_is_noticed_before_measuring(out, tmp_path, measured, capsys):
    (tmp_path / "file").touch()
    assert cli.main([*RUN, "--out", str(tmp_path / out)]) == 1
    assert (measured, len(capsys.readouterr().err.splitlines())) == ([], 1)


@pytest.mark.slow
def test_a_row_needs_no_stderr(tmp_path):
    out = tmp_path / "row.json"
    command = shlex.join([sys.executable, "-m", "workflow.bench", *RUN, "--out", str(out)])
    done = subprocess.run(["sh", "-c", f"{command} 2>&-"], cwd=ROOT, timeout=300, check=False)
    assert (done.returncode, read_row(out)["status"]) == (0, "ok")


def test_a_finished_row_is_measured_again_unless_it_is_to_be_kept(tmp_path, measured, capsys):
    argv = [*RUN, "--out", str(tmp_path / "row.json")]
    other = ["--seed", "1"]
    for options, count in (([], 1), (["--keep"], 1), (["--keep", *other], 2), (other, 3)):
        before = len(measured)
        assert cli.main([*argv, *options]) == 0
        assert len(measured) == count
        assert ("measured before, kept" in capsys.readouterr().out) == (count == before)


def test_the_command_of_a_row_makes_it_again(tmp_path, measured):
    argv = [*RUN, "--distance", "77", "--machine", "my box", "--set", "a=1"]
    cli.main([*argv, "--out", str(tmp_path / "row.json")])
    again = shlex.split(read_row(tmp_path / "row.json")["command"])
    assert again[0] == "pointer-bench"
    cli.main([*again[1:], "--out", str(tmp_path / "again.json")])
    assert measured[0] == measured[1]


@pytest.mark.parametrize("what", list(cli.SCHEMAS))
def test_schemas_are_printed(what, capsys):
    assert cli.main(["schema", what]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False


@pytest.mark.parametrize(
    ("signal_number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_is_an_exit_code_and_one_line(
    signal_number, code, tmp_path, measured, monkeypatch, capsys
):
    monkeypatch.setattr(rows_run, "run", lambda *_: os.kill(os.getpid(), signal_number))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cli.main(RUN) == code
    assert capsys.readouterr().err == "pointer-bench: interrupted; no result was written\n"
    assert not [*tmp_path.iterdir()]  # no folder is left behind


@pytest.mark.parametrize(
    ("word", "named"),
    [("list", {*registry.names(), *experiments.EXPERIMENTS, "cpu"}), ("--help", {"run", "check"})],
)
def test_list_and_help_are_quick_and_name_what_there_is(word, named):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "workflow.bench", word]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < QUICK_S
    assert named <= {line.split()[0] for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_check_tells_the_verdict_and_checks_again_only_when_asked(
    passed, code, tmp_path, monkeypatch, capsys
):
    checks = [("shapes", True, ""), ("causality", passed, "position 3 sees 4")]
    endings = [child.Ending(0, {"kind": "ok", "checks": checks})] * 2
    monkeypatch.setattr(child, "execute", lambda *_, **__: endings.pop())
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    words = "keeps the contract" if passed else "fails 1 of 2 checks: no number of it is published"
    again = " (checked before, no source has changed; --fresh checks again)"
    failed = "" if passed else "FAIL  causality: position 3 sees 4\n"
    for argv, said in (([], f"{words}\n"), ([], f"{words}{again}\n"), (["--fresh"], f"{words}\n")):
        assert cli.main(["check", "pointer", *argv]) == code
        assert capsys.readouterr().out == (failed if again in said else "") + f"pointer {said}"
    assert cli.main(["check", "pointer", "--out", "results/contracts/pointer.json"]) == 0
    written = json.loads(Path("results/contracts/pointer.json").read_text())
    assert written["status"] == ("ok" if passed else "error")


def test_estimate_and_plan_take_a_tier(capsys):
    assert cli.main(["estimate", "--configfile", "config/smoke.yaml"]) == 0
    assert capsys.readouterr().out.startswith("tier smoke\n")
    added = {"tier": "mine", "models": ["pointer"], "experiments": {"copy": None}}
    assert cli.main(["plan", "--config", json.dumps(added)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("results/runs/") for line in lines)
    assert not any("/copy/" in line for line in lines)


COPY = {"experiment": "copy", "model": "pointer"}
CFS = "cpu/cpu.cfs_"
PERIOD = {CFS + "period_us": "100000"}


def typed(argv):
    options = cli.run.make_context("run", argv).params
    return cli.cell_of(options | dict.fromkeys(("out", "keep", "optional")))


NAMES = st.from_regex(r"[a-z]{1,9}", fullmatch=True)
TEXTS = st.text(max_size=LONGEST_TEXT).filter(str.isprintable)
VALUES = st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans() | TEXTS


@given(
    distance=st.integers(1, 10_000),
    tokens=st.integers(10**6, 10**9),
    lr=st.floats(0, 10),
    seed=st.integers(0, 2**31 - 1),
    layers=st.integers(1, 9),
    mixer=st.dictionaries(NAMES, VALUES, max_size=3),
)
def test_any_cell_survives_its_command_line_and_its_json(**settings):
    cell = Cell.of(**COPY, **settings)
    assert typed(cell.argv()) == cell
    assert cells.from_dict(cell.to_dict()) == cell


def test_every_task_and_every_parameter_has_a_name_of_its_own():
    assert not set(tasks.parameters()) & {*Cell.model_fields, *cells.Trunk.model_fields}
    assert set(tasks.TASKS) <= set(experiments.EXPERIMENTS)
    for name in tasks.TASKS:
        kind = tasks.info(name)
        assert kind().name == name
        assert kind.axis == "length" or kind.axis in kind.model_fields
        assert kind.question


def test_sizes_left_open_are_filled_in():
    copy = Cell.of(**COPY, distance=2048).resolved()
    assert (copy.length, copy.batch, copy.axis, copy.x) == (2176, 1, "distance", 2048)
    timed = Cell.of("efficiency", "pointer", length=256).resolved()
    assert (timed.length, timed.batch, timed.threads) == (256, 16, cells.affinity())
    assert (timed.axis, timed.x) == ("length", 256)


@pytest.mark.parametrize(
    ("experiment", "given", "length", "symbols"),
    [
        ("mqar", {"pairs": 64}, 1024, 256),
        ("mqar", {"pairs": 64, "length": 512, "symbols": 200}, 512, 200),
        ("selective-copy", {}, 256, 16),
        ("induction", {"length": 1024}, 1024, 16),
        ("khop", {"hops": 3}, 128, 5),
        ("string-copy", {"letters": 20}, 42, 29),
        ("listops", {"symbols": 99}, 2000, 16),
        ("bytes", {"symbols": 20}, 1024, 256),
        ("copy", {}, 640, 20),
        ("complexity", {}, 2048, 20),
    ],
)
def test_each_task_has_sizes_of_its_own(experiment, given, length, symbols):
    cell = Cell.of(experiment, "pointer", **given).resolved()
    assert (cell.length, cell.symbols) == (length, symbols)


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/slurm/job/step", {"slurm/job/cpu.max": "300000 100000"}, 3),
        ("3:memory:/\n2:cpu,cpuacct:/docker/ab", {CFS + "quota_us": "200000", **PERIOD}, 2),
        ("2:cpu:/", {CFS + "quota_us": "-1", **PERIOD}, 8),
    ],
)
def test_a_containers_quota_limits_the_threads(group, files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "group").write_text(f"{group}\n")
    monkeypatch.setattr(cells, "CGROUP", tmp_path / "group")
    monkeypatch.setattr(cells, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cells.threads(0) == cores


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"experiment": "coppy"}, "Did you mean 'copy'"),
        ({"device": "gpu"}, "cpu, cuda, mps"),
        ({"length": -1}, "length is -1; accepted: greater than or equal to 0"),
        ({"length": "0512"}, "a valid integer"),
        ({"length": 100}, "distance is 512; accepted: 1 to 99 at length 100"),
        ({"tokens": 100}, "one step of batch x N"),
        ({"lr": math.inf}, "less than or equal to 10"),
        ({"experiment": "mqar", "task": "bytes"}, "task is 'bytes'; accepted: mqar in mqar"),
        ({"experiment": "efficiency", "task": "bytes"}, "accepted: none in efficiency"),
        ({"machine": "a\nb"}, "printable characters"),
        ({"mixer": {"k": math.nan}}, "finite"),
        ({"heads": 3}, "width is 256; accepted: a multiple of heads, 3"),
    ],
)
def test_bad_values_are_refused_by_name(setting, words):
    with pytest.raises(InputError, match=words) as caught:
        Cell.of(**{**COPY, **setting})
    assert "accepted: " in str(caught.value) or "Known: " in str(caught.value)


def test_the_key_holds_what_matters_to_the_experiment_and_nothing_else():
    timed = Cell.of("efficiency", "pointer")
    assert timed.key() == Cell.of("efficiency", "pointer", tokens=10**6, lr=0.1, timeout_s=3).key()
    assert timed.key() == Cell.of("efficiency", "pointer", length=2048, batch=2).key()
    for changed in ({"session_seconds": 9}, {"session": "gla"}, {"twin": True}):
        assert timed.key() != Cell.of("efficiency", "pointer", **changed).key()
        assert Cell.of(**COPY).key() == Cell.of(**COPY, **changed).key()
    changes = [{"tokens": 5000}, {"mixer": {"k": 1}}, {"machine": "x"}]
    for change in (*changes, {"layers": 2}, {"distance": 9}):
        assert Cell.of(**COPY).key() != Cell.of(**COPY, **change).key()


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "n2048-r0"),
        ({"mixer": {"candidates": "offsets+content"}}, "n2048-candidates=offsets+content-r0"),
        ({"mixer": {"k": 8, "on": False}, "width": 64}, "n2048-k=8,on=false,trunk=6x64x8-r0"),
        ({"mixer": {"k": "../../x"}}, "n2048-k=....x-r0"),
        ({"mixer": {"k": "x" * 200}}, "n2048-k=xxx"),
    ],
)
def test_a_path_says_the_variant_in_words(settings, label):
    path = Cell.of("efficiency", "pointer", **settings).path
    assert path.startswith(f"results/runs/efficiency/pointer/{label}")
    assert len(path) < 200
