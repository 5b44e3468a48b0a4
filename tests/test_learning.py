"""Do rows of every task come out of the one training code, complete, and with what only their task
has?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workflow.bench.cell import Cell
from workflow.bench.measure import learning, pointers
from workflow.bench.outcomes import Unsupported
from workflow.bench.rows import keys, provenance

TINY: dict[str, dict[str, Any]] = {
    "mqar": {"pairs": 2},
    "selective-copy": {"length": 16, "items": 3},
    "induction": {"length": 16},
    "khop": {"length": 16, "hops": 2},
    "string-copy": {"letters": 4},
    "listops": {"length": 24},
    "bytes": {"length": 16},
}


def cell(experiment: str, model: str = "identity", **given: Any) -> Cell:
    sizes = {"tokens": 256, "batch": 2, "evaluate_symbols": 20, "threads": 1, "model": model}
    return Cell.of(**{"experiment": experiment, **sizes, **TINY.get(experiment, {}), **given})


def ignore(done: float, **values: float) -> None:
    """A report that nobody reads."""


@pytest.mark.parametrize("experiment", TINY)
def test_every_task_makes_a_row(experiment: str, tmp_path: Path) -> None:
    settings = cell(experiment)
    row = provenance.identity(settings) | learning.run(settings, ignore, tmp_path)
    assert set(row) <= set(keys())
    assert row["task"]["name"] == experiment
    assert 0 < row["tokens_used"] <= 256
    assert row["n_evaluated"] >= 20
    assert 0 < row["chance"] < 1
    assert (
        row["task"].items()
        >= {key: value for key, value in TINY[experiment].items() if key != "length"}.items()
    )


def test_text_rows_have_bits_and_a_hash_and_strings_have_further_sizes(tmp_path: Path) -> None:
    text = learning.run(cell("bytes"), ignore, tmp_path)
    assert text["bits_per_byte"] == pytest.approx(text["loss"] / 0.6931471805599453)
    assert 3 < text["bits_per_byte_guessing"] < 6
    assert len(text["data_hash"]) == 16
    strings = learning.run(cell("string-copy"), ignore, tmp_path)
    assert [size for size, _, _ in strings["accuracy_by_size"]] == [8, 16]
    assert all(n >= 20 and 0 <= accuracy <= 1 for _, accuracy, n in strings["accuracy_by_size"])


def test_a_model_that_is_told_a_copy_distance_takes_part_in_copy_only(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="told a copy distance, and mqar has none"):
        learning.run(cell("mqar", "oracle-copy"), ignore, tmp_path)


def test_hops_of_a_model_trained_on_text_are_over_all_positions(tmp_path: Path) -> None:
    settings = cell("interpretability", "pointer", task="bytes", length=32)
    row = provenance.identity(settings) | pointers.interpretability(settings, ignore, tmp_path)
    assert (row["task"]["name"], row["axis"]) == ("bytes", "length")
    assert row["bits_per_byte"] > 0
    assert len(row["hops_mean"]) == len(row["hops_max"]) == 6
    assert all(
        0 <= mean <= top < 32 for mean, top in zip(row["hops_mean"], row["hops_max"], strict=True)
    )
