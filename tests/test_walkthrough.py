"""The README's walk-through, typed as it stands there, in a copy of the repository with a tiny default tier.

A new mixer reaches every table and figure with no other edit; one that then leaks reaches none with a number.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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
  efficiency: {models: [transformer, own], controls: none, batch: 1, warmup_steps: 1, timed_steps: 1}
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
FIGURES = ("time", "throughput", "speedup", "memory", "operations", "copy_accuracy", "loss_curves", "mqar", "trade_off")
LEAK = ("mean), carry", "mean.roll(-1, dims=1)), carry")


def walkthrough(root: Path) -> list[list[str]]:
    """The commands of the chapter's first block."""
    chapter = (
        (root / "README.md").read_text(encoding="utf-8").partition("\n## Adding a baseline\n")[2].partition("\n## ")[0]
    )
    block = re.search(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    assert block
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    """A copy of the repository; its default tier and its micro-benchmarks are tiny, `pointer-bench` is its own."""
    for part in FOLDERS:
        shutil.copytree(root / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in FILES:
        shutil.copyfile(root / part, tmp_path / part)
    (tmp_path / "config" / "default.yaml").write_text(TIER, encoding="utf-8")
    suite = tmp_path / "benchmarks" / "test_mixers.py"
    text, changes = re.subn(r"^(LENGTHS|MODELS) = .*", _smaller, suite.read_text("utf-8"), flags=re.MULTILINE)
    assert changes == 2
    suite.write_text(text, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "pointer-bench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workflow.bench "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return tmp_path


def _smaller(line: re.Match[str]) -> str:
    if line[1] == "LENGTHS":
        return "LENGTHS = (32,)"
    return 'MODELS = [name for name in ("transformer", "my_mixer") if name in registry.names()]'


def typed(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it in the folder, with its programs on the PATH."""
    search = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": search, "PYTHONPATH": str(folder)}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=560, check=False)


def rows(folder: Path) -> list[Row]:
    return [read_row(path) for path in (folder / "results" / "runs").glob("*/my_mixer/*.json")]


@pytest.mark.slow
def test_the_walkthrough_of_the_readme(checkout: Path, root: Path) -> None:
    before = {
        path: path.read_bytes() for path in checkout.rglob("*") if path.is_file() and path.name != "registry.yaml"
    }
    told = ""
    commands = walkthrough(root)
    for argv in [commands[-1], *commands]:  # the mixer joins results that are there already
        done = typed(checkout, *argv)
        assert done.returncode == 0, f"{shlex.join(argv)}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        told += done.stdout + done.stderr
    assert "my_mixer keeps its contract" in told
    assert "copy my_mixer D=64 cpu: ok" in told
    assert {(row["experiment"], row["status"]) for row in rows(checkout)} == {
        (name, "ok") for name in ("complexity", "copy", "efficiency", "mqar")
    }
    results = checkout / "results"
    assert [name for name in TABLES if "my_mixer" not in (results / "tables" / f"{name}.csv").read_text()] == []
    assert [name for name in FIGURES if "my_mixer" not in (results / "figures" / f"{name}.svg").read_text()] == []
    assert {path: path.read_bytes() for path in before} == before  # nothing else was edited

    mixer = checkout / "baselines" / "my_mixer.py"
    text = mixer.read_text(encoding="utf-8")
    assert LEAK[0] in text
    mixer.write_text(text.replace(*LEAK), encoding="utf-8")
    checked = typed(checkout, "pointer-bench", "check", "my_mixer")
    assert checked.returncode == 1
    assert re.search(
        r"^FAIL  causal: output 0 differs by .* when tokens from 1 on change: it sees", checked.stdout, re.MULTILINE
    )
    again = typed(checkout, "snakemake", "--cores", "4", "tables")
    assert again.returncode == 0, again.stderr[-5000:]
    assert {row["status"] for row in rows(checkout)} == {"error"}
    assert all("causal: output 0 differs by" in row["reason"] for row in rows(checkout))
    assert [row["step_ms"] or row["accuracy"] or row["flops_step"] for row in rows(checkout)] == [None] * 4
    assert "breaks its contract" in (results / "tables" / "training_time.md").read_text()
    assert "my_mixer" not in (results / "tables" / "mixers.csv").read_text()
