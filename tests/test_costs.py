"""Peak memory and counted work: of a training step, in rows of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow.bench.cell import Cell
from workflow.bench.measure import costs
from workflow.bench.rows import keys


def row(measure: Any, experiment: str, model: str, length: int, **more: Any) -> dict[str, Any]:
    cell = Cell.of(experiment, model, length=length, **more)
    made: dict[str, Any] = measure(cell, lambda done, **values: None, Path())
    assert set(made) <= set(keys())
    return made


def counted(model: str, length: int) -> dict[str, Any]:
    return row(costs.complexity, "complexity", model, length)


def test_one_sequence_a_batch_so_that_lengths_compare() -> None:
    made = counted("identity", 256)
    assert made["batch"] == 1
    assert made["flops_forward"] < made["flops_step"] < 4 * made["flops_forward"]
    assert made["saved_bytes"] > 0


def test_the_peak_holds_weights_gradients_and_the_optimisers_state() -> None:
    made = row(costs.peak_memory, "memory", "identity", 32, batch=2, threads=1)
    weights = 4 * made["n_params"]
    assert 3 * weights < made["peak_memory_bytes"] < 10 * weights
    assert made["memory_method"]


def test_an_untrained_control_has_no_training_step() -> None:
    assert "peak_memory_bytes" not in row(costs.peak_memory, "memory", "chance", 32, batch=2)
    assert counted("chance", 32)["flops_step"] is None
