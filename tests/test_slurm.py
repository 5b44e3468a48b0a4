"""The same rows from a real Slurm of one node as from this machine, and what the profiles ask of
their engines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.bench import config, experiments, sources
from workflow.bench.rows import provenance, read_row

TIER: dict[str, Any] = {
    "tier": "tiny",
    "devices": ["cpu"],
    "threads": 1,
    "lengths": [32],
    "distances": [8],
    "controls": "none",
    "experiments": {
        **dict.fromkeys(experiments.EXPERIMENTS),  # none but these
        "copy": {"models": ["pointer"], "batch": 1, "tokens": 4000, "evaluate_symbols": 100},
        "efficiency": {"models": ["transformer"], "batch": 1, "warmup_steps": 1, "timed_steps": 1},
    },
}
# What two runs of one cell may differ in: when, how long, where to, and the seal over it.
FREE = {"started", "ended", "train_seconds", "seconds_to_95", "command", "machine", "digest"}
SCRIPT = sources.ROOT / ".ci" / "slurm"


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs or plans the rows of TIER in `folder`."""
    (folder / "tiny.yaml").write_text(json.dumps(TIER))
    rows = [cell.path for cell in config.cells(config.from_files([str(folder / "tiny.yaml")]))]
    fixed = ["--snakefile", str(sources.ROOT / "Snakefile"), "--directory", str(folder)]
    own = [
        "--workflow-profile",
        str(sources.ROOT / "profiles" / "default"),
        "--configfile",
        str(folder / "tiny.yaml"),
    ]
    command = [sys.executable, "-m", "snakemake", *rows, *arguments, *fixed, *own]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a folder by experiment: TIER has one each."""
    return {
        path.parts[-3]: read_row(path) for path in (folder / "results" / "runs").glob("*/*/*.json")
    }


@pytest.fixture
def slurm() -> Iterator[None]:
    """A running Slurm, stopped again afterwards."""
    started = subprocess.run(
        ["bash", SCRIPT, "start"], capture_output=True, text=True, timeout=60, check=False
    )
    try:
        assert started.returncode == 0, started.stderr
        yield
    finally:
        subprocess.run(["bash", SCRIPT, "stop"], check=True, timeout=60)


@pytest.mark.slurm
@pytest.mark.slow
def test_slurm_makes_the_rows_that_this_machine_makes(tmp_path: Path, slurm: None) -> None:
    if " " in sys.executable:
        pytest.skip(
            "the Slurm plugin passes Python's path unquoted, and a space breaks it: "
            f"{sys.executable}"
        )
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    local = snakemake(here, "--cores", "2")
    assert local.returncode == 0, local.stdout + local.stderr
    small = ["--default-resources", "mem_mb=2000", "runtime=10", "--latency-wait", "5"]
    remote = snakemake(there, "--profile", str(sources.ROOT / "profiles" / "slurm"), *small)
    assert remote.returncode == 0, remote.stdout + remote.stderr

    ours, theirs = rows(here), rows(there)
    assert theirs.keys() == ours.keys() == {"copy", "efficiency"}
    ended = [
        (made[name]["status"], made[name]["reason"]) for made in (ours, theirs) for name in made
    ]
    assert ended == [("ok", None)] * 4
    kept = [key for key in ours["copy"] if key not in FREE]
    assert {key: theirs["copy"][key] for key in kept} == {key: ours["copy"][key] for key in kept}
    assert theirs["efficiency"]["step_ms"] > 0
    for experiment in ours:
        assert theirs[experiment]["machine"] == f"localhost: {ours[experiment]['machine']}"

    jobs = subprocess.run(
        ["scontrol", "-o", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    shared = {
        rule: line
        for line in jobs.splitlines()
        for rule in ("run_shared", "run_exclusive")
        if rule in line
    }
    assert " OverSubscribe=NO " in shared["run_exclusive"], jobs  # a node of its own
    assert " OverSubscribe=OK " in shared["run_shared"], jobs


def test_a_job_names_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    here = provenance.machine_label("cpu")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert provenance.machine_label("cpu") == f"node7: {here}"
    assert provenance.machine_label("cpu", "my cluster") == "node7: my cluster"


def test_the_profile_plans_the_same_rows(tmp_path: Path) -> None:
    profile = sources.ROOT / "profiles" / "slurm"
    settings = yaml.safe_load((profile / "config.yaml").read_text())
    assert settings["executor"] == "slurm"
    assert settings["default-resources"]["mem_mb"] >= 4000
    done = snakemake(tmp_path, "--profile", str(profile), "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = dict(re.findall(r"^(run_\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert planned == {"run_shared": "1", "run_exclusive": "1"}


def test_only_slurm_is_asked_for_a_node_of_its_own(tmp_path: Path) -> None:
    assert any(experiment.timing for experiment in experiments.EXPERIMENTS.values())
    done = snakemake(tmp_path, "--cores", "2", "--dry-run", "--quiet", "host")
    assert "--exclusive" not in done.stdout + done.stderr
