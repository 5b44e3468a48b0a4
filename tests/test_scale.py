"""Ten thousand cells: planned, and asked about by Snakemake, with work in proportion to their
number."""

from __future__ import annotations

from typing import Any

import pytest

from workflow.bench import grid
from workflow.bench.cell import Cell

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
    "extends": "default",
    "experiments": {
        "efficiency": {"repeats": MANY // len(LENGTHS) // len(MODELS), "variants": {"pointer": []}}
    },
}


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
