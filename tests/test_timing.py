"""Efficiency rows: only the step is timed, in whole periods, and their numbers fit together;
complexity rows."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, timing
from workflow.bench.measure.timing import Timing, clock
from workflow.bench.rows import keys

CPU = torch.device("cpu")


def cell(**more: Any) -> Cell:
    values = {"experiment": "efficiency", "model": "identity", "length": 32, "batch": 2}
    values |= {"timed_steps": 3, "threads": 1}
    return Cell.of(**values | more).resolved()


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(devices, "MATMUL_SECONDS", 0.0)


def test_steps_are_warmed_up_and_then_timed_in_whole_periods() -> None:
    calls: list[int] = []
    measured = clock(lambda: calls.append(1), cell(warmup_steps=3, timed_steps=5), CPU, period=4)
    assert measured.steps == 8
    assert len(calls) == 4 + 8


def test_a_dear_step_in_a_period_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(1000))
    monkeypatch.setattr(
        devices, "seconds", lambda device, step: 0.02 if next(count) % 4 == 3 else 0.0
    )
    row = clock(lambda: None, cell(timed_steps=8), CPU, period=4).row("step")
    assert row["step_ms"] == row["step_ms_mean"] == pytest.approx(5)


def test_a_slow_step_ends_early_but_not_before_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_SECONDS", 0.01)
    assert clock(lambda: time.sleep(0.02), cell(timed_steps=50), CPU, period=1).steps == 3


def test_a_fast_step_is_repeated_for_the_least_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.05)
    assert clock(lambda: time.sleep(0.001), cell(timed_steps=1), CPU, period=1).steps > 10


def test_the_garbage_collector_rests_while_the_clock_runs() -> None:
    seen: list[bool] = []
    clock(lambda: seen.append(gc.isenabled()), cell(warmup_steps=1, timed_steps=2), CPU, period=1)
    assert seen == [True, False, False]
    assert gc.isenabled()


def test_percentiles_are_20_50_80() -> None:
    row = Timing([float(i) for i in range(11)], period=1).row("inference")
    assert list(row.values()) == [5, 2, 8, 5]
    assert list(row) == ["inference_ms", *(f"inference_ms_{end}" for end in ("q20", "q80", "mean"))]


def test_a_row_holds_times_rates_memory_and_counted_work(tmp_path: Path) -> None:
    row = timing.efficiency(cell(), lambda done, **values: None, tmp_path)
    assert set(row) <= set(keys())
    assert row["step_ms_q20"] <= row["step_ms"] <= row["step_ms_q80"]
    assert row["tokens_per_s"] == pytest.approx(1000 * 64 / row["step_ms_mean"])
    assert row["inference_tokens_per_s"] == pytest.approx(1000 * 64 / row["inference_ms_mean"])
    assert row["inference_ms"] < row["step_ms"]
    assert row["forward_ms"] < row["step_ms"]
    assert row["flops_forward"] < row["flops_step"] < 4 * row["flops_forward"]
    weights = 4 * row["n_params"]
    assert row["peak_memory_bytes"] is None or 3 * weights < row["peak_memory_bytes"] < 10 * weights
    assert row["saved_bytes"] > 0


def test_units_that_disagree_put_a_warning_into_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, named in (([0.01] * 6, []), ([0.01, 0.03] * 3, ["inference", "training step"])):
        measured = iter(seconds * 4)
        monkeypatch.setattr(devices, "seconds", lambda *_, measured=measured: next(measured))
        row = timing.efficiency(cell(timed_steps=6), lambda done, **values: None, tmp_path)
        assert [warning.partition(" varies")[0] for warning in row["warnings"]] == named


def test_an_untrained_control_has_inference_only(tmp_path: Path) -> None:
    row = timing.efficiency(cell(model="chance"), lambda done, **values: None, tmp_path)
    assert row["inference_ms"] > 0
    assert "step_ms" not in row
    assert row["flops_step"] is None


def test_batches_have_the_cells_shape_down_to_one_token() -> None:
    for length in (1, 2, 33):
        for tokens, targets in timing.batches(cell(length=length), CPU):
            assert tokens.shape == targets.shape == (2, length)
            assert bool((targets >= 0).any())


def counted(model: str, length: int, tmp_path: Path) -> dict[str, Any]:
    return timing.complexity(
        Cell.of("complexity", model, length=length), lambda done, **values: None, tmp_path
    )


@pytest.mark.parametrize(
    ("model", "low", "high"), [("transformer", 3.0, 4.0), ("longformer", 1.98, 2.02)]
)
def test_growth_from_8192_to_16384(model: str, low: float, high: float, tmp_path: Path) -> None:
    half, whole = counted(model, 8192, tmp_path), counted(model, 16384, tmp_path)
    assert low <= whole["flops_forward"] / half["flops_forward"] <= high
    assert low <= whole["flops_step"] / half["flops_step"] <= high
    assert set(whole) <= set(keys())


def test_one_sequence_a_batch_so_that_lengths_compare(tmp_path: Path) -> None:
    assert counted("identity", 256, tmp_path)["batch"] == 1
