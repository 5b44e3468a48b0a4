"""Is the copy task the one that the paper describes, and does evaluation never see training
data?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench.tasks.base import IGNORED, Seeds, generator
from workflow.bench.tasks.copy import Copy, copy_batch


def task(seeds: Seeds, batch: int = 3) -> Copy:
    return Copy(distance=7).at(batch, length=24, symbols=5, seeds=seeds)


TASK = task(Seeds.of(0))


@given(length=st.integers(2, 40), data=st.data())
def test_every_supervised_target_lies_distance_back(length: int, data: st.DataObject) -> None:
    distance = data.draw(st.integers(1, length - 1))
    tokens, targets = copy_batch(generator("train", 1, 0), 2, length, distance, symbols=6)
    assert tokens.dtype == targets.dtype == np.int64
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < 6
    assert bool((targets[:, :distance] == IGNORED).all())
    assert all(int(targets[1, t]) == int(tokens[1, t - distance]) for t in range(distance, length))


@pytest.mark.parametrize("distance", [0, -1, 24, 100])
def test_a_distance_outside_the_sequence_is_refused(distance: int) -> None:
    with pytest.raises(InputError, match=r"distance is .*accepted: 1 to 23 at length 24"):
        copy_batch(generator("train", 0, 0), 1, 24, distance, 5)


def test_symbols_are_uniform() -> None:
    tokens, _ = copy_batch(generator("evaluate", 0, 0), 100, 1000, 1, 20)
    counts = np.bincount(tokens.flatten(), minlength=20)
    # Chi-squared, 19 degrees of freedom, 0.1%.
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 43.8


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    again, other = task(Seeds.of(0)), task(Seeds.of(1))
    assert all(torch.equal(TASK.training_batch(i)[0], again.training_batch(i)[0]) for i in range(5))
    assert not torch.equal(TASK.training_batch(0)[0], other.training_batch(0)[0])


def test_seeds_of_data_initialisation_and_order_are_apart() -> None:
    drawn: list[int] = []
    for seed in map(Seeds.of, range(200)):
        drawn += (seed.data, seed.init, seed.order)
    assert len(set(drawn)) == len(drawn)


def test_the_order_seed_permutes_the_data_seeds_batches() -> None:
    taken = []
    for order in (1, 2):
        one = task(Seeds(data=5, init=0, order=order), batch=1)
        taken.append([tuple(one.training_batch(i)[0][0].tolist()) for i in range(1024)])
    assert taken[0] != taken[1]
    assert sorted(taken[0]) == sorted(taken[1])


def test_a_budget_is_never_exceeded_and_must_hold_a_step() -> None:
    assert TASK.tokens_a_step == 72
    assert [TASK.steps(budget) for budget in (72, 143, 144)] == [1, 1, 2]
    with pytest.raises(InputError, match=r"tokens is 71; accepted: at least 72, one step"):
        TASK.steps(71)
