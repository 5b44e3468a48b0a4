"""Estimates: longer for more work, measured rows before guesses, and a time left that ends at nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pointer.errors import InputError
from workflow.bench import config, estimate, pipeline, plan, provenance, store
from workflow.bench.settings import Settings
from workflow.bench.store import Store


def put(kept: Store, settings: Settings, seconds: int, status: str = "ok") -> None:
    times = {
        "started": "2026-01-01T00:00:00.000000+00:00",
        "ended": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.000000+00:00",
    }
    store.save(
        {**provenance.identity(settings), **times, "status": status, "files": None}, kept.folder, kept.path(settings)
    )


def test_more_work_takes_longer() -> None:
    seconds = [
        estimate.counted_seconds(Settings.of("efficiency", "identity", length=2048)),
        estimate.counted_seconds(Settings.of("efficiency", "transformer", length=2048)),
        estimate.counted_seconds(Settings.of("efficiency", "transformer-unfused", length=2048)),
    ]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert estimate.counted_seconds(Settings.of("copy", "chance")) < estimate.counted_seconds(
        Settings.of("copy", "pointer")
    )


def test_a_measured_row_replaces_the_guess(tmp_path: Path) -> None:
    kept, cell = Store(tmp_path), Settings.of("copy", "pointer")
    put(kept, cell, 777, status="timeout")  # not reused, but it tells how long such a cell takes
    assert estimate.wall_seconds(cell, kept) == pytest.approx(777 + estimate.START_S, abs=1)
    assert estimate.estimate([cell], kept).left == 1


def test_what_the_store_has_costs_nothing(tmp_path: Path) -> None:
    kept, cell = Store(tmp_path), Settings.of("copy", "pointer")
    put(kept, cell, 777)
    found = estimate.estimate([cell], kept)
    assert (found.cells, found.left, found.disk_bytes) == (1, 0, 0)
    assert found.seconds <= estimate.STORED_S


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert estimate.duration(seconds) == words


def test_the_summary_has_a_line_an_experiment_and_a_total(tmp_path: Path) -> None:
    lines = estimate.summary([Settings.of("copy", "chance"), Settings.of("complexity", "pointer")], Store(tmp_path))
    assert [line.split()[0] for line in lines] == ["copy", "complexity", "all"]


def test_the_default_tier_is_half_an_hour_on_two_cores_and_a_new_mixer_a_quarter_more_at_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(plan, "devices", lambda _: ["cpu"])
    tier, kept = config.tier("default"), Store(tmp_path)
    own = {"own_models": {"mine": "baselines.local:LocalAttention"}}  # as a line in the registry: group own, linear
    before, after = (estimate.estimate(plan.cells(cells), kept) for cells in (tier, {**tier, **own}))
    assert before.seconds < 1.1 * 30 * 60  # the guess is crude
    assert after.left > before.left
    assert after.seconds - before.seconds < 15 * 60


def test_time_left_follows_the_pace_of_what_is_done(tmp_path: Path) -> None:
    file = tmp_path / "results" / ".pipeline"
    file.parent.mkdir()
    now = time.time()
    file.write_text(
        json.dumps(
            {"pid": 1, "host": "h", "started": now - 100, "rows": {"results/a.json": 50.0, "results/b.json": 150.0}}
        )
    )
    assert pipeline.progress(file, now) == "0 of 2 rows, about 3 min left"
    (tmp_path / "results" / "a.json").touch()
    assert pipeline.progress(file, now) == "1 of 2 rows, about 5 min left"
    (tmp_path / "results" / "b.json").touch()
    assert pipeline.progress(file, now) == "2 of 2 rows"
    os.utime(tmp_path / "results" / "b.json", (0, 0))  # a row of an earlier pipeline, to be made again
    assert pipeline.progress(file, now).startswith("1 of 2")


def test_a_second_pipeline_is_told_of_the_first(tmp_path: Path) -> None:
    file, kept = tmp_path / "results" / ".pipeline", Store(tmp_path / "store")
    first = pipeline.Pipeline.begin(file, [Settings.of("copy", "chance")], kept)
    with pytest.raises(pipeline.PipelineBusyError, match=f"process {os.getpid()} on .*since"):
        pipeline.Pipeline.begin(file, [], kept)
    os.close(first.descriptor)  # what the kernel does when a process dies
    os.close(pipeline.Pipeline.begin(file, [], kept).descriptor)
    assert pipeline.read(file)["rows"] == {}


def test_a_missing_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file of a running pipeline"):
        pipeline.read(tmp_path / "none")
