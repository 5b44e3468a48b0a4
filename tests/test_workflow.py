"""The workflow, real and tiny: from rows to figures, after a kill, in a hostile folder."""

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pipelines
import pytest

from workflow.bench import config, sources
from workflow.bench.grid import PARTS, REPORT, Grid
from workflow.bench.rows import read_row
from workflow.report import figures, tables

TINY = """
{tier: tiny, extends: default, devices: [cpu], threads: 1, lengths: [32], distances: [8, 16],
experiments: {
  complexity: {models: [transformer], controls: none},
  copy: {models: [chance], controls: none, tokens: 4000, evaluate_symbols: 100,
         restrict: {control: {distances: [8, 16]}}},
  efficiency: {models: [transformer], controls: none, batch: 1, repeats: 1, session_seconds: 0}}}
"""
ROWS = 5  # two of the session: a twin
RULES = sources.ROOT / "workflow" / "rules"


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["all", "--configfile", str(tmp_path / "tiny.yaml")]


@pytest.mark.slow
def test_a_tier_from_nothing_to_figures_through_a_kill(tmp_path, tiny, undisturbed):
    # The contract of transformer is known, that of chance is not.
    shutil.copytree(undisturbed / pipelines.CONTRACTS, tmp_path / pipelines.CONTRACTS)
    first = pipelines.start(tmp_path, *tiny)
    runs = tmp_path / "results" / "runs"
    rows = ("*/[!.]*/[!.]*.json", "*/[!.]*.jsonl")  # of a cell, of a session
    finished = pipelines.eventually(lambda: [p for name in rows for p in runs.glob(name)], 120)[0]
    code, second = pipelines.snakemake(tmp_path, *tiny)
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=60)
    assert code != 0
    assert f"/results: process {first.pid} on " in second
    assert f"{ROWS} of    {ROWS} rows to measure" in pipelines.output(tmp_path)
    measured = finished.stat().st_mtime_ns

    code, again = pipelines.snakemake(tmp_path, *tiny, "--verbose")
    assert code == 0, again
    assert 0 < again.count("Ready jobs") < 30  # asked when a job ends, and not every second
    assert finished.stat().st_mtime_ns == measured  # kept, not measured again
    rows = pipelines.rows(tmp_path).values()  # of a session that others disturb the last
    assert [row["status"] for row in rows] == ["ok"] * ROWS
    assert re.search(r"^\[\d+ of \d+, .* left\] \w+ .*", again, re.M)
    assert "verdicts, invalid: controls off: no finished copy row of oracle-copy" in again
    made = tmp_path / "results" / "tiny"
    assert (made / "rows.parquet").exists()
    assert (made / "estimates.csv").exists()
    written = {"tables": (tables.NAMES, "csv md tex html"), "figures": (figures.FIGURES, "png svg")}
    for kind, (names, formats) in written.items():
        wanted = {f"{name}.{ending}" for name in (*names, "claims") for ending in formats.split()}
        assert {path.name for path in (made / kind).iterdir()} == wanted

    assert "Nothing to be done" in pipelines.snakemake(tmp_path, *tiny)[1]
    added = [*tiny, "--config", "lengths=[32,64]", "--dry-run", "--quiet", "host"]
    _, output = pipelines.snakemake(tmp_path, *added)
    assert pipelines.planned(output) == {"run_shared": 1, "run_exclusive": 1}, output

    row = next((tmp_path / "results" / "runs" / "copy").glob("*/[!.]*.json"))
    row.unlink()
    row.with_name(f".{row.stem}.work").touch()  # in the way of a folder
    for file in ("manifest.txt", "report/index.html"):
        (made / file).unlink()
    code, partly = pipelines.snakemake(tmp_path, *tiny)
    assert code != 0
    assert f"results/tiny: {ROWS - 1} of {ROWS} rows are kept" in partly
    assert (made / "report" / "index.html").exists(), partly


def test_a_timing_row_claims_every_core_and_no_rule_of_a_baseline(tmp_path, tiny):
    dry = ["--dry-run", "--quiet", "host", "--resources", "gpu=1", "--cores", "3"]
    _, output = pipelines.snakemake(tmp_path, *tiny, *dry)
    claimed = [block for block in output.split("\n\n") if "rule run_exclusive" in block]
    assert any("threads: 3" in block for block in claimed), output
    assert pipelines.planned(output) == {"run_shared": 3, "run_exclusive": 1}
    assert "--exclusive" not in output  # only Slurm is asked for a node


def test_a_rule_of_one_baseline_makes_its_rows_and_no_others(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    chosen = {"experiments": {"copy": {"models": ["chance", "my_mixer"]}}}
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"own_models": {"my_mixer": "planted:Honest"}, **chosen}))
    _, output = pipelines.snakemake(tmp_path, *tiny, str(own), "--dry-run", "--quiet", "host")
    wanted = {"run_shared": 3, "run_my_mixer": 6, "run_exclusive": 1}
    assert pipelines.planned(output) == wanted, output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["all", "--config", "lenghts=[5]"], "Did you mean 'lengths'"),
        (["results/runs/copy/pointer/d7-s0-00000000.json"], "pointer-bench plan"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path, arguments, words):
    code, output = pipelines.snakemake(tmp_path, *arguments, "--dry-run")
    assert code != 0
    assert words in output


def test_every_target_can_be_planned(tmp_path):
    parts = ["all", "collect", "tables", "figures", "report", "benchmarks"]
    code, output = pipelines.snakemake(tmp_path, *parts, *config.tier_names(), "--dry-run")
    assert code == 0, output
    results = tmp_path / "results"
    assert not results.exists() or not os.listdir(results)


def test_every_table_and_figure_has_a_caption():
    captions = {path.stem for path in (RULES.parent / "report" / "captions").glob("*.rst")}
    assert captions == {*tables.NAMES, *figures.FIGURES, "claims"}


MACHINE = "$(touch pwned) `touch pwned` 'a\" && touch pwned #"
FOLDER = "it's a $(touch pwned) & `touch pwned`; folder"
TIER = {"tier": "mine", "extends": "default", "devices": "cpu", "threads": 1, "lengths": [16]}
TIER |= {"models": ["chance"], "controls": "none", "experiments": {"complexity": {}}}


@pytest.mark.slow
def test_a_hostile_machine_and_folder_end_in_a_row_and_become_no_command(tmp_path):
    folder = tmp_path / FOLDER
    pipelines.copy_suite(folder, pipelines.SUITE)
    (folder / "mine.yaml").write_text(json.dumps(TIER | {"machine": MACHINE}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "collect"]
    command += ["--configfile", "mine.yaml"]
    done = pipelines.ran(*command, folder=folder, limit=240, PYTHONPATH="")
    assert [str(path) for path in tmp_path.rglob("pwned*")] == []
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "results" / "runs").glob("*/*/*.json")
    row = read_row(path)
    assert (row["status"], row["machine"]) == ("ok", MACHINE)


def test_no_part_of_the_report_reads_a_file_that_would_not_remake_it():
    owner = {file: part for part, names in PARTS.items() for n in names for file in REPORT.glob(n)}
    follows = {"page": {"tables", "figures", "claims"}, "none": set(PARTS)}
    for file in REPORT.rglob("*.py"):
        text, part = file.read_text(encoding="utf-8"), owner.get(file, "shared")
        for read, other in owner.items():
            module = ".".join(read.relative_to(sources.ROOT).with_suffix("").parts)
            named = module in text or re.search(
                rf"from {module.rpartition('.')[0]} import [^)]*?\b{read.stem}\b", text
            )
            allowed = {part, "estimates"} | follows.get(part, set())
            if named and read.suffix == ".py" and file.name != "__main__.py":
                assert other in allowed, f"{file.name} of {part} reads {read.name} of {other}"


def test_a_change_remakes_one_part_of_the_report(monkeypatch):
    grid = Grid({})
    for part, names in PARTS.items():
        assert all(list(REPORT.glob(name)) for name in names), part
    before = {part: grid.report_code(part) for part in PARTS}
    read, changed = Path.read_bytes, set()

    def edited(path):
        return b"edited" if path.name in changed else read(path)

    monkeypatch.setattr(Path, "read_bytes", edited)
    for name, parts in (("figures.py", {"figures"}), ("layout.py", set(PARTS))):
        changed = {name}
        after = {part: grid.report_code(part) for part in PARTS}
        assert {part for part in PARTS if after[part] != before[part]} == parts
