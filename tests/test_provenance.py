"""Provenance: a row's origin, and a source hash that changes with what makes the number and with
nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.bench import registry, rows, sources
from workflow.bench.cell import Cell
from workflow.bench.rows import provenance


def test_identity_holds_known_keys_only() -> None:
    known = provenance.identity(Cell.of("efficiency", "pointer", length=256))
    assert set(known) <= set(rows.keys())
    assert known["length"] == 256
    assert {known[key] for key in ("task", "tokens_budget", "chance")} == {None}


def test_a_gpu_is_hidden_where_the_user_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    provenance.gpus.cache_clear()
    assert "cuda" not in provenance.devices()
    provenance.gpus.cache_clear()


def test_a_users_git_variables_name_no_other_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    ours = provenance.git_state.__wrapped__()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert provenance.git_state.__wrapped__() == ours


def test_every_model_has_its_own_sources() -> None:
    hashes = {name: provenance.source_hash(name, "copy", "copy") for name in registry.names()}
    assert len(set(hashes.values())) == len(hashes)
    assert provenance.identity(Cell.of("copy", "chance"))["source_hash"] == hashes["chance"]


def test_the_source_hash_changes_with_what_makes_a_number_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "copy"
    for folder in ("pointer", "baselines", "workflow"):
        shutil.copytree(
            sources.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
        )

    def hashes() -> dict[str, str]:
        code = (
            "import json; from workflow.bench.rows.provenance import shared_hash, source_hash;"
            "copy = 'copy', 'copy';"
            "print(json.dumps([shared_hash(*copy), *(source_hash(name, *copy) for name in"
            " ('local', 'gla', 'pointer')), shared_hash('efficiency', '')]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        return dict(
            zip(
                ("shared", "local", "gla", "pointer", "timed"), json.loads(done.stdout), strict=True
            )
        )

    def changed(file: str) -> set[str]:
        path = root / file
        path.write_text(path.read_text() + "\n# changed\n")
        before.append(hashes())
        return {name for name, value in before[-1].items() if value != before[-2][name]}

    before = [hashes()]

    copying = {"shared", "local", "gla", "pointer"}
    assert changed("pointer/trunk.py") == {*copying, "timed"}
    assert changed("pointer/content.py") == {"pointer"}
    assert changed("pointer/select_fused.py") == {"pointer"}  # imported where it is needed
    assert changed("workflow/bench/measure/learning.py") == copying
    assert changed("workflow/bench/measure/timing.py") == {"timed"}
    assert changed("workflow/bench/measure/pointers.py") == set()  # of other experiments
    assert changed("workflow/bench/tasks/mqar.py") == set()
    assert changed("workflow/bench/measure/contract.py") == set()  # only verdicts
    assert changed("workflow/bench/tasks/copy.py") == {*copying, "timed"}
    assert changed("baselines/local.py") == {"local"}
    assert changed("baselines/longformer.py") == {"local"}  # which local imports
    assert changed("workflow/report/__main__.py") == set()
    assert changed("workflow/bench/rows/run.py") == set()


def test_planning_and_supervising_load_no_torch() -> None:
    modules = "workflow.bench.cli, workflow.bench.grid, workflow.bench.rows.run"
    code = f"import sys, {modules}, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert {"torch", "snakemake", "pandas", "matplotlib"}.isdisjoint(loaded)
