"""The README's walk-through and the docs' new task, typed as they stand there, in a copy of the
repository.

A new mixer reaches every table and figure with no other edit; one that then leaks reaches none with
a number. The default tier is tiny; under --full it is the real one, in a quarter of an hour."""

import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import pipelines
import pytest

from workflow.bench.rows import read_row, read_rows
from workflow.bench.sources import ROOT

TIER = """
tier: default
devices: [cpu]
threads: 1
lengths: [32]
distances: [8]
experiments:
  complexity: {models: [own], controls: none}
  copy: {models: [own], controls: none, tokens: 4000, evaluate_symbols: 100}
  efficiency: {models: [transformer, own], controls: none, batch: 1, repeats: 1, session_seconds: 0}
  memory: {models: [own], controls: none, batch: 1}
  mqar: {models: [own], controls: none, pairs: [2], tokens: 4000, evaluate_symbols: 100}
"""
TABLES = "training_time throughput speedup memory copy_accuracy operations parameters recall"
FIGURES = "time throughput speedup memory operations copy_accuracy loss_curves mqar trade_off"
ADDING = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
TASK = ADDING.partition("```python\n")[2].partition("```")[0]
TASK_LINE = '    "echo": "workflow.bench.tasks.echo:Echo",\n'
TASK_TIER = """
{tier: mine, extends: default, devices: [cpu], threads: 1, experiments: {
  echo: {models: [transformer], controls: none, gaps: [2, 5], batch: 4, tokens: 4000}}}
"""
QUARTER_HOUR, HOURS = 15 * 60, 3 * 60 * 60  # seconds
LEAK = ("mean), carry", "mean.roll(-1, dims=1)), carry")
GUESSED = {"copy_accuracy.svg", "mqar.svg"}  # the template guesses: one grey band of models


@pytest.fixture
def checkout(tmp_path):
    pipelines.copy_suite(tmp_path, [*pipelines.SUITE, "benchmarks", "pyproject.toml"])
    command = tmp_path / "bin" / "pointer-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workflow.bench "$@"\n')
    command.chmod(0o755)
    return tmp_path


def walkthrough():
    chapter = (ROOT / "README.md").read_text().partition("\n## Add a baseline\n")[2]
    block = re.search(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    assert block
    return block[1].splitlines()


def typed(folder, command, limit=560):
    programs = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    variables = {"PATH": os.pathsep.join(programs), "PYTHONPATH": str(folder)}
    words = shlex.split(command, comments=True)
    done = pipelines.ran(*words, folder=folder, limit=limit, **variables)
    return done.returncode, done.stdout + done.stderr


def succeed(folder, *commands, limit=560):
    outputs = []
    for command in commands:
        code, output = typed(folder, command, limit)
        assert code == 0, f"{command}\n{output[-8000:]}"
        outputs.append(output)
    return "".join(outputs)


def rows(folder):
    made = read_rows(folder / "results" / "runs")
    return [row for _, row in made if row["model"] == "my_mixer"]


def without(folder):
    """Return the tables and figures in which the new mixer does not stand."""
    results = folder / "results"
    files = [results / "tables" / f"{name}.csv" for name in TABLES.split()]
    files += [results / "figures" / f"{name}.svg" for name in FIGURES.split()]
    return [path for path in files if "my_mixer" not in path.read_text(encoding="utf-8")]


@pytest.mark.slow
def test_the_walkthrough_of_the_readme(checkout, undisturbed):
    (checkout / "config" / "default.yaml").write_text(TIER)
    shutil.copytree(undisturbed / pipelines.CONTRACTS, checkout / pipelines.CONTRACTS)
    files = [path for path in checkout.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name != "registry.yaml"}
    output = succeed(checkout, *walkthrough())
    assert "my_mixer keeps the contract" in output
    assert "copy my_mixer d64-s0: ok" in output
    made = {(row["experiment"], row["status"]) for row in rows(checkout)}
    assert made == {(name, "ok") for name in ("complexity", "copy", "efficiency", "memory", "mqar")}
    assert {path.name for path in without(checkout)} == GUESSED
    assert {path: path.read_bytes() for path in before} == before  # nothing else was edited

    mixer = checkout / "baselines" / "my_mixer.py"
    text = mixer.read_text()
    assert LEAK[0] in text
    mixer.write_text(text.replace(*LEAK))
    code, output = typed(checkout, "pointer-bench check my_mixer")
    assert code == 1
    refusal = r"^FAIL  causal: output 0 differs by .* when tokens from 1 on change: it sees"
    assert re.search(refusal, output, re.MULTILINE)
    succeed(checkout, "snakemake --cores 4 tables")
    assert {row["experiment"] for row in rows(checkout)} == {name for name, _ in made}
    for row in rows(checkout):
        assert row["status"] == "error"
        assert "causal: output 0 differs by" in row["reason"]
        assert row["step_ms"] is row["accuracy"] is row["flops_step"] is None
    tables = checkout / "results" / "tables"
    assert "fails the contract" in (tables / "training_time.md").read_text()


@pytest.mark.slow
def test_a_new_task_is_one_file_and_one_line(checkout, undisturbed):
    """With its own parameter, which no other file names, it is measured and stands in a table."""
    shutil.copytree(undisturbed / pipelines.CONTRACTS, checkout / pipelines.CONTRACTS)
    (checkout / "mine.yaml").write_text(TASK_TIER)
    tasks = checkout / "workflow" / "bench" / "tasks"
    (tasks / "echo.py").write_text(TASK)
    text = (tasks / "__init__.py").read_text()
    last = '    "bytes": "workflow.bench.tasks.text:Bytes",\n'
    assert last in text
    (tasks / "__init__.py").write_text(text.replace(last, last + TASK_LINE))
    assert "is the symbol of some positions back named?" in succeed(checkout, "pointer-bench list")
    one = "pointer-bench run --experiment echo --model chance --out row.json --gap "
    assert "echo chance g3-s0: ok, accuracy" in succeed(checkout, f"{one} 3")
    code, output = typed(checkout, f"{one} 16")
    assert (code, "gap is 16; accepted: 1 to 15" in output) == (2, True)

    succeed(checkout, "snakemake --cores 4 tables --configfile mine.yaml")
    made = sorted((checkout / "results" / "runs" / "echo").rglob("g*.json"))
    for row, gap in zip(map(read_row, made), (2, 5), strict=True):
        assert (row["task"], row["axis"], row["x"]) == ({"name": "echo", "gap": gap}, "gap", gap)
        assert row["status"] == "ok"
    table = pd.read_csv(checkout / "results" / "mine" / "tables" / "recall.csv")
    assert set(zip(table["task"], table["x"], strict=True)) == {("echo", 2), ("echo", 5)}


@pytest.mark.full
def test_on_the_default_tier_a_new_mixer_is_everywhere_within_a_quarter_of_an_hour(checkout):
    for part in ("runs", "contracts"):  # what `make all` has left is not measured again
        if (ROOT / "results" / part).is_dir():
            new = shutil.ignore_patterns("my_mixer*")
            shutil.copytree(ROOT / "results" / part, checkout / "results" / part, ignore=new)
    commands = walkthrough()
    succeed(checkout, commands[-1], limit=HOURS)  # a user who has run the suite before
    assert len(without(checkout)) == len(TABLES.split()) + len(FIGURES.split())
    start = time.monotonic()
    succeed(checkout, *commands, limit=HOURS)
    seconds = time.monotonic() - start
    print(f"the walk-through: {seconds:.0f} s, {len(rows(checkout))} rows of the new mixer")
    assert {row["status"] for row in rows(checkout)} == {"ok"}
    assert {path.name for path in without(checkout)} == GUESSED
    assert seconds < QUARTER_HOUR
