"""Estimates: longer for more work, measured rows before guesses."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workflow.bench import config
from workflow.bench.cell import Cell, affinity, threads
from workflow.bench.rows import estimate, provenance, write_row
from workflow.bench.sessions import by_file


def put(root: Path, cell: Cell, seconds: int, status: str = "ok") -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    end = start + timedelta(seconds=seconds)
    times = {"started": start.isoformat(), "ended": end.isoformat()}
    known = provenance.identity(cell)
    write_row(root / cell.path, {**known, **times, "status": status, "reason": "x"})


def test_more_work_takes_longer() -> None:
    names = ("identity", "transformer", "transformer-unfused")
    seconds = [estimate.counted_seconds(Cell.of("efficiency", name)) for name in names]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    chance, pointer = (Cell.of("copy", name) for name in ("chance", "pointer"))
    assert estimate.counted_seconds(chance) < estimate.counted_seconds(pointer)


def test_a_measured_row_replaces_the_guess(tmp_path: Path) -> None:
    cell = Cell.of("copy", "pointer", threads=1)
    share = threads(cell.threads) / affinity()
    put(tmp_path, cell, 777, status="timeout")  # measured again, but it tells how long it takes
    found = estimate.wall_seconds(cell.path, [cell], tmp_path)
    assert found == pytest.approx((777 + estimate.START_S) * share)
    put(tmp_path, cell, 777)
    assert estimate.wall_seconds(cell.path, [cell], tmp_path) == estimate.KEPT_S


def test_the_summary_has_a_line_an_experiment_and_a_total(tmp_path: Path) -> None:
    cells = [Cell.of("copy", "chance"), Cell.of("complexity", "pointer")]
    put(tmp_path, cells[0], 10)
    lines = [line.split() for line in estimate.summary(cells, estimate.seconds(cells, tmp_path))]
    assert [line[:4] for line in lines] == [
        ["copy", "0", "of", "1"],
        ["complexity", "1", "of", "1"],
        ["all", "1", "of", "2"],
    ]


def test_the_default_tier_is_within_three_quarters_of_an_hour_and_a_new_mixer_a_quarter_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(provenance, "devices", lambda: ["cpu"])
    tier = config.tier("default")
    # As a line in the registry: group own, linear.
    own = {"own_models": {"mine": "baselines.local:LocalAttention"}}
    blocks = tier["experiments"].items()  # of which the deadline may cut some
    tier["experiments"] = {name: block for name, block in blocks if not block.get("optional")}
    before, after = (
        [estimate.wall_seconds(*file, tmp_path) for file in by_file(config.cells(cells)).items()]
        for cells in (tier, {**tier, **own})
    )
    assert sum(before) < 45 * 60  # the guess is crude
    assert len(after) > len(before)
    assert sum(after) - sum(before) < 15 * 60
