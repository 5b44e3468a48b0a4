"""Names and values never become commands: through the real Snakemake, from a folder whose own name
is hostile.

The machine's label and the folder try; a model of such a name is refused by the registry.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.bench import sources
from workflow.bench.rows import read_row

MACHINE = "$(touch pwned) `touch pwned` 'a\" && touch pwned #"
FOLDER = "it's a $(touch pwned) & `touch pwned`; folder"
TIER = {
    "tier": "mine",
    "devices": "cpu",
    "threads": 1,
    "lengths": [16],
    "models": ["pointer"],
    "controls": "none",
    "machine": MACHINE,
    "extends": "default",
    "experiments": {"complexity": {}},
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A copy of the suite with a tier that names the machine."""
    folder = tmp_path / FOLDER
    for name in ("workflow", "pointer", "baselines", "config", "profiles", "results/paper"):
        shutil.copytree(
            sources.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(sources.ROOT / name, folder)
    (folder / "mine.yaml").write_text(json.dumps(TIER))
    return folder


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake says of a run in `folder`; nothing it was told has become a command."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert [str(path) for path in folder.parent.rglob("pwned*")] == []
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_a_hostile_machine_and_folder_end_in_a_row(planted: Path) -> None:
    told = snakemake(planted, "collect", "--configfile", "mine.yaml")
    assert told.startswith("exit code 0"), told
    (path,) = (planted / "results" / "runs").glob("*/*/*.json")
    row = read_row(path)
    assert (row["status"], row["machine"]) == ("ok", MACHINE)
