"""The README's walk-through, typed as it stands there, in a copy of the repository with a tiny
default tier.

A new mixer reaches every table and figure with no other edit; one that then leaks reaches none with
a number. A new task is one file and one line. Under --full the default tier is the real one, and a
quarter of an hour later the new mixer is in all of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from workflow.bench.rows import Row, read_row

FOLDERS = ("pointer", "baselines", "workflow", "config", "profiles", "benchmarks", "results/paper")
FILES = ("Snakefile", "environment.yml", "pyproject.toml")
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
    {models: [transformer, own], controls: none, batch: 1, warmup_steps: 1, timed_steps: 1}
  mqar: {models: [own], controls: none, pairs: [2], tokens: 4000, evaluate_symbols: 100}
"""
TABLES = (
    "training_time",
    "throughput",
    "speedup",
    "memory",
    "copy_accuracy",
    "operations",
    "parameters",
    "mixers",
    "recall",
)
FIGURES = (
    "time",
    "throughput",
    "speedup",
    "memory",
    "operations",
    "copy_accuracy",
    "loss_curves",
    "mqar",
    "trade_off",
)
TASK = '''"""Name the symbol that stood `gap` positions back, at the last position only."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import Drawn, Task, blank, require
from workflow.bench.validation import Whole


class Echo(Task):
    """Name one symbol."""

    question = "is the symbol of some positions back named?"
    axis, axis_key, sign = "gap", "gaps", "g"
    own_length = 16
    own_symbols = 8
    evaluate_symbols = 20

    name: Literal["echo"] = "echo"
    gap: Whole = Field(default=1, ge=1, le=100, description="how far back")

    def check(self) -> None:
        """Require a symbol that far back."""
        require("gap", self.gap, 1, self.length - 1)

    @property
    def supervised(self) -> int:
        """The last position."""
        return 1

    @property
    def chance(self) -> float:
        """Symbols are uniform."""
        return 1 / self.symbols

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return uniform symbols."""
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


def walkthrough(root: Path) -> list[list[str]]:
    """The commands of the chapter's first block."""
    chapter = (
        (root / "README.md")
        .read_text(encoding="utf-8")
        .partition("\n## Add a baseline\n")[2]
        .partition("\n## ")[0]
    )
    block = re.search(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    assert block
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    """A copy of the repository; `pointer-bench` is its own."""
    for part in FOLDERS:
        shutil.copytree(root / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in FILES:
        shutil.copyfile(root / part, tmp_path / part)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "pointer-bench"
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m workflow.bench "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    return tmp_path


def shrink(checkout: Path) -> None:
    """Makes the default tier and the micro-benchmarks tiny."""
    (checkout / "config" / "default.yaml").write_text(TIER, encoding="utf-8")
    suite = checkout / "benchmarks" / "test_mixers.py"
    text, changes = re.subn(
        r"^(LENGTHS|MODELS) = .*", _smaller, suite.read_text("utf-8"), flags=re.MULTILINE
    )
    assert changes == 2
    suite.write_text(text, encoding="utf-8")


def _smaller(line: re.Match[str]) -> str:
    if line[1] == "LENGTHS":
        return "LENGTHS = (32,)"
    return 'MODELS = [name for name in ("transformer", "my_mixer") if name in registry.names()]'


def typed(folder: Path, *argv: str, limit: int = 560) -> subprocess.CompletedProcess[str]:
    """A command as a user types it in the folder, with its programs on the PATH; `limit` in
    seconds."""
    search = os.pathsep.join(
        [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    # pytest-xdist's own variables would switch the micro-benchmarks off.
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment = {**inherited, "PATH": search, "PYTHONPATH": str(folder)}
    return subprocess.run(
        argv,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def rows(folder: Path) -> list[Row]:
    return [read_row(path) for path in (folder / "results" / "runs").glob("*/my_mixer/*.json")]


def reuse(results: Path, copy: Path) -> None:
    """Rows that `make all` has left in the repository are not measured again, but those of the new
    mixer."""
    for part in ("runs", "contracts"):
        if (results / part).is_dir():
            shutil.copytree(results / part, copy / part, ignore=shutil.ignore_patterns("my_mixer*"))


def succeed(folder: Path, commands: list[list[str]], limit: int = 560) -> str:
    """Types the commands, each of which has to succeed within `limit` seconds; what they told."""
    told = ""
    for argv in commands:
        done = typed(folder, *argv, limit=limit)
        assert done.returncode == 0, (
            f"{shlex.join(argv)}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        )
        told += done.stdout + done.stderr
    return told


def without(folder: Path) -> list[Path]:
    """The tables and figures in which the new mixer does not stand."""
    results = folder / "results"
    files = [results / "tables" / f"{name}.csv" for name in TABLES]
    files += [results / "figures" / f"{name}.svg" for name in FIGURES]
    return [path for path in files if "my_mixer" not in path.read_text(encoding="utf-8")]


@pytest.mark.slow
def test_the_walkthrough_of_the_readme(checkout: Path, root: Path) -> None:
    shrink(checkout)
    before = {
        path: path.read_bytes()
        for path in checkout.rglob("*")
        if path.is_file() and path.name != "registry.yaml"
    }
    commands = walkthrough(root)
    told = succeed(checkout, commands[-1:]) + succeed(
        checkout, commands
    )  # the mixer joins results that are there
    assert "my_mixer keeps the contract" in told
    assert "copy my_mixer d64-s0: ok" in told
    assert {(row["experiment"], row["status"]) for row in rows(checkout)} == {
        (name, "ok") for name in ("complexity", "copy", "efficiency", "mqar")
    }
    assert without(checkout) == []
    assert {path: path.read_bytes() for path in before} == before  # nothing else was edited

    mixer = checkout / "baselines" / "my_mixer.py"
    text = mixer.read_text(encoding="utf-8")
    assert LEAK[0] in text
    mixer.write_text(text.replace(*LEAK), encoding="utf-8")
    checked = typed(checkout, "pointer-bench", "check", "my_mixer")
    assert checked.returncode == 1
    assert re.search(
        r"^FAIL  causal: output 0 differs by .* when tokens from 1 on change: it sees",
        checked.stdout,
        re.MULTILINE,
    )
    again = typed(checkout, "snakemake", "--cores", "4", "tables")
    assert again.returncode == 0, again.stderr[-5000:]
    assert {row["status"] for row in rows(checkout)} == {"error"}
    assert all("causal: output 0 differs by" in row["reason"] for row in rows(checkout))
    assert [row["step_ms"] or row["accuracy"] or row["flops_step"] for row in rows(checkout)] == [
        None
    ] * 4
    assert (
        "fails the contract" in (checkout / "results" / "tables" / "training_time.md").read_text()
    )
    assert "my_mixer" not in (checkout / "results" / "tables" / "mixers.csv").read_text()


@pytest.mark.slow
def test_a_new_task_is_one_file_and_one_line(checkout: Path) -> None:
    """With its own parameter, which no other file names, it is measured by the pipeline and stands
    in a table."""
    (checkout / "mine.yaml").write_text(TASK_TIER, encoding="utf-8")
    (checkout / "workflow" / "bench" / "tasks" / "echo.py").write_text(TASK, encoding="utf-8")
    listed = checkout / "workflow" / "bench" / "tasks" / "__init__.py"
    text = listed.read_text(encoding="utf-8")
    last = '    "bytes": "workflow.bench.tasks.text:Bytes",\n'
    assert last in text
    listed.write_text(text.replace(last, last + TASK_LINE), encoding="utf-8")
    assert "is the symbol of some positions back named?" in succeed(
        checkout, [["pointer-bench", "list"]]
    )
    one = "pointer-bench run --experiment echo --model chance --gap 3 --out row.json"
    assert "echo chance g3-s0: ok, accuracy" in succeed(checkout, [shlex.split(one)])
    refused = typed(checkout, *shlex.split(one.replace("3", "16")))
    assert (refused.returncode, "gap is 16; accepted: 1 to 15" in refused.stderr) == (2, True)

    succeed(checkout, [["snakemake", "--cores", "4", "tables", "--configfile", "mine.yaml"]])
    made = [
        read_row(path) for path in sorted((checkout / "results" / "runs" / "echo").rglob("g*.json"))
    ]
    assert [(row["task"], row["axis"], row["x"], row["status"]) for row in made] == [
        ({"name": "echo", "gap": gap}, "gap", gap, "ok") for gap in (2, 5)
    ]
    table = pd.read_csv(checkout / "results" / "mine" / "tables" / "recall.csv")
    assert {(task, x) for task, x in zip(table["task"], table["x"], strict=True)} == {
        ("echo", 2),
        ("echo", 5),
    }


@pytest.mark.full
def test_on_the_default_tier_a_new_mixer_is_everywhere_within_a_quarter_of_an_hour(
    checkout: Path, root: Path
) -> None:
    commands = walkthrough(root)
    reuse(root / "results", checkout / "results")
    succeed(
        checkout, commands[-1:], limit=HOURS
    )  # the results of a user who has run the suite before
    assert len(without(checkout)) == len(TABLES) + len(FIGURES)
    start = time.monotonic()
    succeed(checkout, commands, limit=HOURS)
    seconds = time.monotonic() - start
    print(
        f"the walk-through on the default tier: {seconds:.0f} s, {len(rows(checkout))} rows of "
        "the new mixer"
    )
    assert {row["status"] for row in rows(checkout)} == {"ok"}
    assert without(checkout) == []
    assert seconds < QUARTER_HOUR
