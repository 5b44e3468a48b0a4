"""A pipeline of three rows that takes seconds, and what the fault tests do to it: start, kill,
finish, compare."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from workflow.bench import config, experiments, sources
from workflow.bench.rows import names_row, read_row

Rows = dict[str, dict[str, Any]]
TIER: dict[str, Any] = {
    "tier": "faulty",
    "devices": ["cpu"],
    "threads": 1,
    "lengths": [32],
    "distances": [8],
    "controls": "none",
    "experiments": {
        **dict.fromkeys(experiments.EXPERIMENTS),  # none but these
        "copy": {
            "models": ["pointer"],
            "batch": 1,
            "tokens": 4000,
            "evaluate_symbols": 100,
            "seeds": [0, 1],
        },
        "efficiency": {"models": ["transformer"], "batch": 1, "warmup_steps": 1, "timed_steps": 1},
    },
}
# What two runs of one copy cell may differ in: when, how long, the command, and the seal over it.
FREE = ("started", "ended", "train_seconds", "seconds_to_95", "command", "digest")
LONGEST_S = 900  # the smoke tier and every model's contract, beside other work of the machine
MEASURED = (
    "step_ms",
    "step_ms_q20",
    "step_ms_q80",
    "tokens_per_s",
    "inference_ms",
    "peak_memory_bytes",
)


def command(folder: Path, target: list[str] | None = None) -> list[str]:
    """Snakemake for the rows of TIER, or for a target, in `folder`."""
    (folder / "faulty.yaml").write_text(json.dumps(TIER))
    rows = [cell.path for cell in config.cells(config.from_files([str(folder / "faulty.yaml")]))]
    own = ["--workflow-profile", str(sources.ROOT / "profiles" / "default")]
    tier = ["--configfile", str(folder / "faulty.yaml")] if target is None else []
    fixed = [
        "--cores",
        "2",
        "--snakefile",
        str(sources.ROOT / "Snakefile"),
        "--directory",
        str(folder),
    ]
    return [sys.executable, "-m", "snakemake", *(target or rows), *fixed, *own, *tier]


def start(folder: Path, target: list[str] | None = None) -> subprocess.Popen[str]:
    """A running pipeline; what it says goes to a file, for its jobs may outlive it and hold a pipe
    open."""
    with (folder / "said.txt").open("w", encoding="utf-8") as said:
        return subprocess.Popen(
            command(folder, target), cwd=folder, stdout=said, stderr=subprocess.STDOUT, text=True
        )


def said(folder: Path) -> str:
    """What the latest pipeline of a folder said."""
    return (folder / "said.txt").read_text(encoding="utf-8")


def finish(folder: Path, target: list[str] | None = None) -> str:
    """Runs the pipeline to its end, which must be a good one; returns what it said."""
    code = start(folder, target).wait(timeout=LONGEST_S)
    assert code == 0, said(folder)
    return said(folder)


def rows(folder: Path) -> Rows:
    """Every row that a pipeline has put out; traces lie beside them. Raises RowError for half a
    row."""
    paths = (folder / "results" / "runs").glob("*/*/[!.]*.json")
    return {path.name: read_row(path) for path in paths if names_row(path)}


def kill(running: subprocess.Popen[str], who: str, draw: random.Random) -> str:
    """SIGKILL for the pipeline or for one process of one of its jobs; returns what was hit, ""
    where all was over."""
    with contextlib.suppress(psutil.NoSuchProcess):
        pipeline = psutil.Process(running.pid)
        jobs = [
            child
            for child in pipeline.children(recursive=True)
            if "workflow.bench" in " ".join(child.cmdline())
        ]
        victim = draw.choice(jobs) if who == "job" and jobs else pipeline
        name = "pipeline" if victim is pipeline else " ".join(victim.cmdline()[:4])
        victim.kill()
        return name
    return ""


def descendants(running: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a pipeline's jobs: they outlive a killed pipeline."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = psutil.Process(running.pid).children(recursive=True)
        return found
    return []


def wait(seconds: float, running: subprocess.Popen[str]) -> None:
    """Waits, but not past the pipeline's end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)


def compare(found: Rows, undisturbed: Rows) -> None:
    """Copy rows equal in all but FREE; timing rows complete."""
    assert found.keys() == undisturbed.keys()
    for name, row in found.items():
        assert row["status"] == "ok", row["reason"]
        if row["experiment"] == "copy":
            assert {k: v for k, v in row.items() if k not in FREE} == {
                k: v for k, v in undisturbed[name].items() if k not in FREE
            }
        elif row["experiment"] == "efficiency":
            assert all(row[key] > 0 for key in MEASURED)
