"""The plan: the same cells each time, and an edit changes only what it names."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from workflow.bench import config
from workflow.bench.cell import Cell

SMALL: dict[str, Any] = {
    "tier": "t",
    "devices": ["cpu"],
    "lengths": [128, 256],
    "distances": [64],
    "models": ["pointer", "transformer"],
    "experiments": {"efficiency": {"repeats": 2}, "copy": {"controls": ["all"]}},
}


def paths(cells: list[Cell]) -> list[str]:
    return [cell.path for cell in cells]


def edited(**changes: Any) -> list[Cell]:
    return config.cells({**SMALL, **changes})


@pytest.mark.parametrize("name", config.tier_names())
def test_no_two_cells_share_a_row(name: str) -> None:
    cells = config.cells(config.tier(name))
    assert len({cell.path.lower() for cell in cells}) == len(cells)
    assert len({cell.key() for cell in cells}) == len(cells)


def test_adding_a_length_adds_only_its_cells() -> None:
    before, after = set(paths(config.cells(SMALL))), set(paths(edited(lengths=[128, 256, 512])))
    assert before < after
    assert all("/n512-" in path for path in after - before)


def test_a_setting_of_one_task_at_the_top_of_a_tier_reaches_only_its_cells() -> None:
    cells = edited(items=4, models=["transformer"], experiments={"copy": {}, "selective-copy": {}})
    given = {cell.experiment: "--items" in cell.argv() for cell in cells}
    assert given == {"copy": False, "selective-copy": True}


def test_the_order_of_a_list_of_models_changes_nothing() -> None:
    assert paths(edited(models=["transformer", "pointer"])) == paths(config.cells(SMALL))


def test_timed_models_take_turns_within_a_repeat() -> None:
    timed = [cell for cell in config.cells(SMALL) if cell.timing]
    members = ("pointer", "pointer twin", "transformer")
    assert [(s.repeat, s.length, s.model + " twin" * s.twin) for s in timed] == list(
        itertools.product((0, 1), (128, 256), members)
    )
