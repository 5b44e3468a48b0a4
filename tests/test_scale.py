"""Ten thousand cells: planned, asked about by Snakemake and collected with work in proportion to
their number.

Bounds count work, not seconds; only under --full, processor time and memory of the real thing are
held to their limits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from synthetic import copied, timed

from workflow.bench import experiments, grid
from workflow.bench.cell import Cell
from workflow.bench.rows import complete, digest
from workflow.report import estimates, frame

MANY = 10_000  # cells, without twins
LENGTHS = [64, 128, 256, 512, 1024]
MODELS = ["pointer", "pointer-dense", "transformer", "longformer"]
SESSIONS = MANY // len(MODELS)
TIER: dict[str, Any] = {
    "tier": "large",
    "devices": ["cpu"],
    "threads": 1,
    "models": MODELS,
    "controls": "none",
    "lengths": LENGTHS,
    "experiments": {
        **dict.fromkeys(experiments.EXPERIMENTS),  # none but this
        "efficiency": {"repeats": MANY // len(LENGTHS) // len(MODELS), "variants": {"pointer": []}},
    },
}
COLLECT_SECONDS = 30


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a cell's hash was computed: the dearest step of planning, so a measure of all of
    it."""
    real, count = Cell.key, [0]

    def counted(self: Cell) -> str:
        count[0] += 1
        return real(self)

    monkeypatch.setattr(Cell, "key", counted)
    return count


@pytest.mark.slow
def test_a_large_grid_is_planned_once(hashes: list[int]) -> None:
    made = grid.Grid(TIER)
    paths = made.rows("results/large")
    assert len(set(paths)) == SESSIONS
    assert hashes[0] == 2 * (MANY + SESSIONS)  # to leave out equal cells, and for their paths
    for path in paths:  # what Snakemake asks of every job
        made.job(path), made.threads(path, 2)
    assert made.job(paths[0]).priority == SESSIONS
    assert hashes[0] == 2 * (MANY + SESSIONS)


def written(folder: Path, count: int) -> Path:
    """`count` sealed rows, half timing and half copy, and their manifest."""
    paths = []
    for number in range(count):
        row = complete(
            timed("pointer", 256, 400.0, repeat=number)
            if number % 2
            else copied("pointer", 512, 0.9, seed=number)
        )
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(row | {"digest": digest(row)}), encoding="utf-8")
    manifest = folder / "manifest.txt"
    manifest.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    return manifest


@pytest.mark.slow
def test_ten_thousand_rows_become_a_frame_and_a_table(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from workflow.report import tables

    full = request.config.getoption("--full")
    count = MANY if full else MANY // 10
    manifest = written(tmp_path, count)
    before = sum(os.times()[:2])
    made = frame.collect(manifest, tmp_path / "out")
    tables.write(estimates.build(made), tmp_path / "tables", "large")
    seconds = sum(os.times()[:2]) - before
    assert len(made) == count
    assert (tmp_path / "tables" / "training_time.csv").is_file()
    if full:
        assert seconds < COLLECT_SECONDS
