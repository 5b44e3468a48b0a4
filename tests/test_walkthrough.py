"""The README's walk-through, typed as it stands there, in a copy of the repository with a tiny
default tier.

A new mixer reaches every table and figure with no other edit; one that then leaks reaches none with
a number. A new task is one file and one line. Under --full the default tier is the real one, and a
quarter of an hour later the new mixer is in all of them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pipelines
import pytest

from workflow.bench.rows import read_row, read_rows

TIER = """
tier: default
devices: [cpu]
threads: 1
lengths: [32]
distances: [8]
experiments:
  complexity: {models: [own], controls: none}
  copy: {models: [own], controls: none, tokens: 4000, evaluate_symbols: 100}
  efficiency:
    {models: [transformer, own], controls: none, batch: 1, repeats: 1, session_seconds: 0}
  memory: {models: [own], controls: none, batch: 1}
  mqar: {models: [own], controls: none, pairs: [2], tokens: 4000, evaluate_symbols: 100}
"""
TABLES = "training_time throughput speedup memory copy_accuracy operations parameters recall"
FIGURES = "time throughput speedup memory operations copy_accuracy loss_curves mqar trade_off"
TASK = '''"""Name the symbol that stood `gap` positions back, at the last position only."""

from typing import Literal

import numpy as np
from pydantic import Field

from workflow.bench.tasks.base import Task, blank, require
from workflow.bench.validation import Whole


class Echo(Task):
    question = "is the symbol of some positions back named?"
    axis, axis_key, sign = "gap", "gaps", "g"
    own_length = 16
    own_symbols = 8
    evaluate_symbols = 20

    name: Literal["echo"] = "echo"
    gap: Whole = Field(default=1, ge=1, le=100, description="how far back")

    def check(self):
        require("gap", self.gap, 1, self.length - 1)

    @property
    def supervised(self):
        return 1

    @property
    def chance(self):
        return 1 / self.symbols

    def sequences(self, rng, count, stream):
        tokens = rng.integers(self.symbols, size=(count, self.length), dtype=np.int64)
        targets = blank(tokens)
        targets[:, -1] = tokens[:, -1 - self.gap]
        return tokens, targets
'''
TASK_LINE = '    "echo": "workflow.bench.tasks.echo:Echo",\n'
TASK_TIER = """
tier: mine
extends: default
devices: [cpu]
threads: 1
experiments:
  echo: {models: [transformer], controls: none, gaps: [2, 5], batch: 4, tokens: 4000}
"""
QUARTER_HOUR, HOURS = 15 * 60, 3 * 60 * 60  # seconds
LEAK = ("mean), carry", "mean.roll(-1, dims=1)), carry")


@pytest.fixture
def checkout(tmp_path):
    pipelines.copy_suite(tmp_path, [*pipelines.SUITE, "benchmarks", "pyproject.toml"])
    command = tmp_path / "bin" / "pointer-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workflow.bench "$@"\n')
    command.chmod(0o755)
    return tmp_path


def walkthrough(root):
    chapter = (root / "README.md").read_text().partition("\n## Add a baseline\n")[2]
    block = re.search(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    assert block
    return block[1].splitlines()


def typed(folder, command, limit=560):
    programs = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(programs), "PYTHONPATH": str(folder)}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    settings |= {"cwd": folder, "env": environment, "timeout": limit, "check": False}
    done = subprocess.run(shlex.split(command, comments=True), **settings)
    return done.returncode, done.stdout


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
def test_the_walkthrough_of_the_readme(checkout, root, undisturbed):
    (checkout / "config" / "default.yaml").write_text(TIER)
    shutil.copytree(undisturbed / pipelines.CONTRACTS, checkout / pipelines.CONTRACTS)
    files = [path for path in checkout.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name != "registry.yaml"}
    output = succeed(checkout, *walkthrough(root))
    assert "my_mixer keeps the contract" in output
    assert "copy my_mixer d64-s0: ok" in output
    made = {(row["experiment"], row["status"]) for row in rows(checkout)}
    assert made == {(name, "ok") for name in ("complexity", "copy", "efficiency", "memory", "mqar")}
    # The template guesses, and models that guess are one grey band.
    guessed = {"copy_accuracy.svg", "mqar.svg"}
    assert {path.name for path in without(checkout)} == guessed
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
def test_on_the_default_tier_a_new_mixer_is_everywhere_within_a_quarter_of_an_hour(checkout, root):
    for part in ("runs", "contracts"):  # what `make all` has left is not measured again
        if (root / "results" / part).is_dir():
            new = shutil.ignore_patterns("my_mixer*")
            shutil.copytree(root / "results" / part, checkout / "results" / part, ignore=new)
    commands = walkthrough(root)
    succeed(checkout, commands[-1], limit=HOURS)  # a user who has run the suite before
    assert len(without(checkout)) == len(TABLES.split()) + len(FIGURES.split())
    start = time.monotonic()
    succeed(checkout, *commands, limit=HOURS)
    seconds = time.monotonic() - start
    print(f"the walk-through: {seconds:.0f} s, {len(rows(checkout))} rows of the new mixer")
    assert {row["status"] for row in rows(checkout)} == {"ok"}
    # The template guesses, and models that guess are one grey band.
    guessed = {"copy_accuracy.svg", "mqar.svg"}
    assert {path.name for path in without(checkout)} == guessed
    assert seconds < QUARTER_HOUR
