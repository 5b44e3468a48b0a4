"""Do complexity rows show who grows how, without a clock?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workflow.bench.cell import Cell
from workflow.bench.measure import timing
from workflow.bench.rows import keys


def row(model: str, length: int, tmp_path: Path) -> dict[str, Any]:
    return timing.complexity(Cell.of("complexity", model, length=length), lambda done, **values: None, tmp_path)


@pytest.mark.parametrize(("model", "low", "high"), [("transformer", 3.0, 4.0), ("longformer", 1.98, 2.02)])
def test_growth_from_8192_to_16384(model: str, low: float, high: float, tmp_path: Path) -> None:
    half, whole = row(model, 8192, tmp_path), row(model, 16384, tmp_path)
    assert low <= whole["flops_forward"] / half["flops_forward"] <= high
    assert low <= whole["flops_step"] / half["flops_step"] <= high
    assert set(whole) <= set(keys())


def test_one_sequence_a_batch_so_that_lengths_compare(tmp_path: Path) -> None:
    assert row("identity", 256, tmp_path)["batch"] == 1
