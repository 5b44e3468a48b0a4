"""Timing sessions of models: in turn, whole periods, a row a model, failures apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, models, session, timing
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import keys
from workflow.bench.sessions import with_twin

CPU = torch.device("cpu")
ROUNDS = session.LEAST_ROUNDS


def cell(model: str = "identity", length: int = 32, **more: Any) -> Cell:
    sizes = {"length": length, "batch": 2, "threads": 1, "layers": 1, "width": 32, "heads": 2}
    return Cell.of("efficiency", model, session_seconds=0, **sizes, **more)


def timed(*cells: Cell) -> list[Any]:
    return timing.efficiency(cells, lambda done, **values: None, lambda at: None)


def clock(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> list[str]:
    """Let every step take these seconds; return the kinds of steps, as they are taken."""
    steps: list[str] = []

    def take(device: torch.device, work: Callable[[], object]) -> float:
        steps.append("inference" if work.__name__ == "forward" else "training")
        work()
        return seconds()

    monkeypatch.setattr(devices, "seconds", take)
    return steps


def test_a_row_holds_every_round_and_what_follows_from_them() -> None:
    row, twin = timed(*with_twin([cell()]))
    for made in (row, twin):
        assert set(made) <= set(keys())
        for time, prefix in (("step", ""), ("inference", "inference_")):
            rounds = made[f"{prefix}rounds_ms"]
            assert len(rounds) == len(made[f"{prefix}rounds_processor_ms"]) == ROUNDS
            assert min(rounds) <= made[f"{time}_ms"] <= max(rounds)
            assert made[f"{time}_ms_mean"] == pytest.approx(fmean(rounds))
            rate = 1000 * 64 / made[f"{time}_ms_mean"]
            assert made[f"{prefix}tokens_per_s"] == pytest.approx(rate)


def test_a_dear_step_in_a_period_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    steps = clock(monkeypatch, lambda: 0.02 if next(count) % 4 == 3 else 0.0)
    monkeypatch.setattr(models, "is_trained", lambda model: True)
    monkeypatch.setattr(timing.flops, "period", lambda model: 4)
    one = timing.Timed(cell().resolved(), CPU, timing.batches(cell().resolved(), CPU), list)
    session.run([one.phases["training"]], 0.0, 0)
    assert one.phases["training"].wall_ms == [pytest.approx(20)] * ROUNDS
    assert len(steps) == 4 * (1 + ROUNDS)


def test_an_untrained_control_has_inference_only() -> None:
    (row,) = timed(cell("chance"))
    assert len(row["inference_rounds_ms"]) == ROUNDS
    assert "step_ms" not in row


def test_a_model_without_memory_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: `uniform` runs out of memory in the third round, `chance` cannot be built."""
    build, begun = models.build, list[int | None]()
    steps = itertools.count()

    def planted(of: Cell, device: torch.device) -> torch.nn.Module:
        if of.model == "chance":
            raise MemoryError("no room to build")
        model = build(of, device)
        if of.model == "uniform":
            model.register_forward_hook(fail)
        return model

    def fail(*_: Any) -> None:
        if next(steps) == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(models, "build", planted)
    cells = [cell(), cell("uniform"), cell("chance"), cell("pointer")]
    alone, gone, unbuilt, after = timing.efficiency(cells, lambda done: None, begun.append)
    assert len(alone["rounds_ms"]) == len(after["rounds_ms"]) == ROUNDS
    assert isinstance(gone, RuntimeError)
    assert isinstance(unbuilt, MemoryError)
    assert begun == [0, 1, 2, 3, None]


@pytest.mark.parametrize(("slower", "marked"), [(1.0, False), (1.5, True)])
def test_a_twin_that_differs_marks_every_row(
    monkeypatch: pytest.MonkeyPatch, slower: float, marked: bool
) -> None:
    monkeypatch.setattr(session, "_busy_seconds", lambda: None)  # its load is not known

    def seconds(self: timing.Timed, stepper: Any) -> float:
        return slower if self.cell.twin else 1.0

    monkeypatch.setattr(timing.Timed, "training", seconds)
    rows = timed(*with_twin([cell(), cell("chance")]))
    for row in rows:
        assert [w.startswith(DISTURBED) for w in row["warnings"]] == [False] + [True] * marked
        assert row["others_share"] is None


def test_batches_have_the_cells_shape_down_to_one_token() -> None:
    for length in (1, 2, 33):
        for tokens, targets in timing.batches(cell(length=length).resolved(), CPU):
            assert tokens.shape == targets.shape == (2, length)
            assert bool((targets >= 0).any())
