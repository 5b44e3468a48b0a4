"""The workflow, for real and tiny: rows, tables and figures in a temporary folder, after a kill,
beside another."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.bench import config, sources
from workflow.bench.rows import read_row
from workflow.report import figures, tables

TINY = """
tier: tiny
devices: [cpu]
threads: 1
lengths: [32]
distances: [8, 16]
experiments:
  complexity: {models: [transformer], controls: none}
  copy:
    {models: [chance], controls: none, tokens: 4000, evaluate_symbols: 100,
     restrict: {control: {distances: [8, 16]}}}
  efficiency: {models: [transformer], controls: none, batch: 1, warmup_steps: 1, timed_steps: 1}
  interpretability: null
  mqar: null
"""
ROWS = 4


def command(folder: Path, *arguments: str) -> list[str]:
    fixed = [
        "--cores",
        "4",
        "--snakefile",
        str(sources.ROOT / "Snakefile"),
        "--directory",
        str(folder),
    ]
    profile = ["--workflow-profile", str(sources.ROOT / "profiles" / "default")]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed, *profile]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments),
        cwd=sources.ROOT,
        env={key: value for key, value in os.environ.items() if key != "MAKELEVEL"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def text(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """`all` of a tier of four rows."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["all", "--configfile", str(tmp_path / "tiny.yaml")]


def rows(folder: Path) -> dict[str, dict[str, object]]:
    return {
        path.name: read_row(path) for path in (folder / "results" / "runs").glob("*/*/[!.]*.json")
    }


@pytest.mark.slow
def test_a_tier_from_nothing_to_figures_through_a_kill(tmp_path: Path, tiny: list[str]) -> None:
    first = subprocess.Popen(
        command(tmp_path, *tiny),
        cwd=sources.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    finished = _first_row(tmp_path / "results" / "runs", first)
    second = snakemake(tmp_path, *tiny)
    first.send_signal(signal.SIGKILL)
    told, _ = first.communicate(timeout=60)
    assert second.returncode != 0
    assert f"/results: process {first.pid} on " in text(second)
    assert f"{ROWS} of    {ROWS} rows to measure" in told
    measured = finished.stat().st_mtime_ns

    again = snakemake(tmp_path, *tiny)
    assert again.returncode == 0, text(again)
    assert finished.stat().st_mtime_ns == measured  # kept, not measured again
    found = rows(tmp_path)
    assert len(found) == ROWS
    assert {row["status"] for row in found.values()} == {"ok"}
    assert " (100%) done" in text(again)
    assert "claims, invalid: controls off: no finished copy row of oracle-copy" in again.stdout
    made = tmp_path / "results" / "tiny"
    assert (made / "rows.parquet").exists()
    assert (made / "estimates.csv").exists()
    assert {p.suffix for p in (made / "tables").iterdir()} == {".csv", ".md", ".tex", ".html"}
    assert {p.suffix for p in (made / "figures").iterdir()} == {".png", ".svg"}

    began = time.monotonic()
    assert "Nothing to be done" in text(snakemake(tmp_path, *tiny))
    assert time.monotonic() - began < 10
    added = snakemake(
        tmp_path, *tiny, "--config", "lengths=[32,64]", "--dry-run", "--quiet", "host"
    )
    assert dict(re.findall(r"^(run_\w+) +(\d+)$", added.stdout, re.MULTILINE)) == {
        "run_shared": "1",
        "run_exclusive": "1",
    }, text(added)


def _first_row(runs: Path, pipeline: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and pipeline.poll() is None:
        found = list(runs.glob("*/*/[!.]*.json"))
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("no row was ever finished")


TURNS = """
tier: turns
devices: [cpu]
threads: 1
lengths: [16, 32]
repeats: 2
experiments:
  complexity: null
  copy: null
  interpretability: null
  mqar: null
  efficiency:
    {models: [transformer, longformer], controls: none, batch: 1, warmup_steps: 1, timed_steps: 1}
"""


@pytest.mark.full
def test_timing_rows_run_one_at_a_time_in_the_order_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "turns.yaml").write_text(TURNS)
    done = snakemake(tmp_path, "collect", "--configfile", str(tmp_path / "turns.yaml"))
    assert done.returncode == 0, text(done)
    ran = sorted(rows(tmp_path).values(), key=lambda row: str(row["started"]))
    assert [(row["repeat"], row["length"], row["model"]) for row in ran] == list(
        itertools.product((0, 1), (16, 32), ("transformer", "longformer"))
    )
    # type: ignore[operator]
    assert all(before["ended"] < after["started"] for before, after in itertools.pairwise(ran))


@pytest.mark.parametrize("cores", ["1", "4"])
def test_a_timing_row_claims_every_core(tmp_path: Path, tiny: list[str], cores: str) -> None:
    done = snakemake(
        tmp_path, *tiny, "--dry-run", "--quiet", "host", "--resources", "gpu=1", "--cores", cores
    )
    claimed = [block for block in text(done).split("\n\n") if "rule run_exclusive" in block]
    wanted = f"threads: {cores}" if cores != "1" else "wildcards: experiment=efficiency"
    assert any(wanted in block for block in claimed), text(done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["all", "--config", "lenghts=[5]"], "Did you mean 'lengths'"),
        (["all", "--config", "models=pointr"], "Did you mean 'pointer'"),
        (["all", "--config", "tier=tables"], "a name other than"),
        (["smoke", "--config", "devices=tpu"], "auto, cpu, cuda, mps"),
        (["results/runs/copy/pointer/d7-s0-00000000.json"], "pointer-bench plan"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = snakemake(tmp_path, *arguments, "--dry-run")
    assert done.returncode != 0
    assert words in text(done)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tier: mine\nlengths: [1]\nlengths: [2]\n")
    assert "stands twice" in text(
        snakemake(tmp_path, "--configfile", str(tmp_path / "mine.yaml"), "--dry-run")
    )


@pytest.mark.parametrize(
    "target", ["all", *config.tier_names(), "collect", "tables", "figures", "report", "benchmarks"]
)
def test_every_target_can_be_planned(tmp_path: Path, target: str) -> None:
    done = snakemake(tmp_path, target, "--dry-run")
    assert done.returncode == 0, text(done)
    assert not (tmp_path / "results").exists() or not os.listdir(tmp_path / "results")


def test_a_rule_of_one_baseline_makes_its_rows_and_no_others(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    plain = snakemake(tmp_path, *tiny, "--dry-run", "--quiet", "host")
    chosen = {"experiments": {"copy": {"models": ["chance", "my_mixer"]}}}
    (tmp_path / "own.yaml").write_text(
        json.dumps({"models": {"my_mixer": "planted:Honest"}, **chosen})
    )
    done = snakemake(tmp_path, *tiny, str(tmp_path / "own.yaml"), "--dry-run", "--quiet", "host")
    assert "run_my_mixer" not in text(plain)
    assert dict(re.findall(r"^(run_\w*) +(\d+)$", done.stdout, re.MULTILINE)) == {
        "run_shared": "3",
        "run_my_mixer": "2",
        "run_exclusive": "1",
    }, text(done)


def test_rules_of_baselines_name_an_environment_that_is_there() -> None:
    files = sorted((sources.ROOT / "workflow" / "rules" / "baselines").glob("*.smk"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        named = re.findall(r'^    conda:\n        "(.+)"$', text, re.MULTILINE)
        assert len(named) == len(re.findall(r"^(?:use )?rule ", text, re.MULTILINE))
        assert all((file.parent / path).is_file() for path in named)


def test_the_rules_pass_the_linter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"],
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "good condition" in text(done), text(done)


@pytest.mark.parametrize(("kind", "made"), [("tables", tables.NAMES), ("figures", figures.FIGURES)])
def test_the_rules_name_every_table_and_figure(kind: str, made: dict[str, object]) -> None:
    rules = (sources.ROOT / "workflow" / "rules" / "report.smk").read_text()
    listed = re.findall(rf'"{{results}}/{kind}/(\w+)"', rules)
    assert sorted(listed) == sorted([*made, "claims"])
    captions = sources.ROOT / "workflow" / "report" / "captions"
    assert [name for name in listed if not (captions / f"{name}.rst").is_file()] == []
