"""Do the recall tasks ask for what their papers ask, and nothing else? Expected sequences are
written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench.tasks import khop, listops
from workflow.bench.tasks.base import IGNORED, Seeds, Symbols, Task, generator
from workflow.bench.tasks.copy import Copy
from workflow.bench.tasks.induction import Induction
from workflow.bench.tasks.khop import Khop, find, hop
from workflow.bench.tasks.listops import END, FILLER, MAX, MIN, ListOps
from workflow.bench.tasks.mqar import Mqar, query_places
from workflow.bench.tasks.selective_copy import SelectiveCopy
from workflow.bench.tasks.string_copy import StringCopy
from workflow.bench.tasks.text import Bytes
from workflow.report.notes import CAVEATS

ANY = Seeds.of(0)
TASKS: list[Task] = [
    Copy(distance=7).at(2, length=24, symbols=5, seeds=ANY),
    Mqar(pairs=8).at(2, length=64, symbols=64, seeds=ANY),
    SelectiveCopy(items=12).at(2, length=48, symbols=16, seeds=ANY),
    Induction().at(2, length=32, symbols=16, seeds=ANY),
    Khop(hops=2).at(2, length=128, symbols=5, seeds=ANY),
    StringCopy(letters=30).at(2, length=62, symbols=29, seeds=ANY),
    ListOps().at(2, length=60, symbols=16, seeds=ANY),
    Bytes(data="").at(2, length=64, symbols=256, seeds=ANY),
]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)


class Drawn(np.random.Generator):
    """A generator whose next draws are given; each is what one call returns, whatever its
    arguments."""

    def __init__(self, *draws: Any) -> None:
        super().__init__(np.random.Philox(0))
        self.draws: Iterator[Any] = iter(draws)

    def _next(self, *args: Any, **kwargs: Any) -> Any:
        return np.array(next(self.draws))

    integers = random = gumbel = _next  # type: ignore[assignment]


def made(
    task: Task, *draws: Any, stream: str = "evaluate"
) -> tuple[list[list[int]], list[list[int]]]:
    """The one sequence that the draws make, and its targets with . for IGNORED."""
    tokens, targets = task.sequences(Drawn(*draws), 1, stream)
    return tokens.tolist(), [
        ["." if t == IGNORED else t for t in line] for line in targets.tolist()
    ]


def drawn(task: Task, stream: str, index: int, count: int) -> tuple[Symbols, Symbols]:
    """What `batch_of` gives, without torch."""
    return task.sequences(generator(stream, task.seeds.data, index), count, stream)


def test_mqar_asks_for_the_value_of_each_key() -> None:
    task = Mqar(pairs=2).at(1, length=12, symbols=12, seeds=ANY)
    keys, values = (
        [[0.9, 0.1, 0.8, 0.2, 0.7]],
        [[0.8, 0.2, 0.1, 0.7, 0.6, 0.9]],
    )  # the smallest come first
    tokens, targets = made(task, keys, values, [[0.0, 50.0, 40.0, 0.0]])  # places 1 and 2 of 4
    assert tokens == [[2, 8, 4, 7, 0, 0, 2, 0, 4, 0, 0, 0]]
    assert targets == [[".", ".", ".", ".", ".", ".", 8, ".", 7, ".", ".", "."]]


def test_selective_copying_wants_the_data_in_order_at_the_markers() -> None:
    task = SelectiveCopy(items=3).at(1, length=10, symbols=8, seeds=ANY)
    tokens, targets = made(task, [[5, 3, 5]], [[0.5, 0.1, 0.6, 0.7, 0.2, 0.8, 0.3]])
    assert tokens == [[0, 5, 0, 0, 3, 0, 5, 7, 7, 7]]
    assert targets == [[".", ".", ".", ".", ".", ".", ".", 5, 3, 5]]


def test_induction_wants_what_followed_the_special_symbol() -> None:
    task = Induction().at(1, length=8, symbols=10, seeds=ANY)
    tokens, targets = made(task, [[4, 0, 3, 6, 6, 2, 1, 5]], [2])
    assert tokens == [[4, 0, 9, 6, 6, 2, 1, 9]]
    assert targets == [[".", ".", ".", ".", ".", ".", ".", 6]]


@pytest.mark.parametrize(
    ("hops", "expected"),
    [(1, [4, 4, 4, 1, 4, 2, 0]), (2, [4, 4, 4, 4, 4, 4, 1]), (3, [4, 4, 4, 4, 4, 4, 4])],
)
def test_khop_follows_the_last_occurrence(hops: int, expected: list[int]) -> None:
    task = Khop(hops=hops).at(1, length=7, symbols=5, seeds=ANY)
    steps = [
        [9, 1, 1, 2, 3, 2, 1]
    ]  # from each symbol to the next, of 4 in a ring; the first is drawn by itself
    assert made(task, steps, [[0]]) == ([[0, 1, 2, 0, 3, 1, 2]], [expected])


def test_khop_never_repeats_a_symbol_at_once_and_draws_the_others_alike() -> None:
    """A repeated symbol would be its own target for every k."""
    tokens = drawn(Khop(hops=2).at(1, length=128, symbols=5, seeds=ANY), "train", 0, 500)[0]
    pairs = np.zeros((4, 4), dtype=int)
    np.add.at(pairs, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    assert np.array_equal(pairs.diagonal(), np.zeros(4))
    expected = pairs.sum() / 12
    others = pairs[~np.eye(4, dtype=bool)]
    assert float(((others - expected) ** 2 / expected).sum()) < 31.3  # chi-squared, 11, 0.1%


@pytest.mark.parametrize(("hops", "percent"), [(1, 32), (2, 48), (3, 27), (4, 31)])
def test_what_the_symbol_at_hand_tells_is_what_khop_says_it_does(hops: int, percent: int) -> None:
    tokens, targets = drawn(
        Khop(hops=hops).at(1, length=128, symbols=5, seeds=ANY), "evaluate", 0, 5000
    )
    counts = np.zeros((4, 5), dtype=int)
    np.add.at(counts, (tokens.ravel(), targets.ravel()), 1)
    assert round(100 * counts.max(axis=1).sum() / tokens.size) == percent
    assert f"{percent}% (" in (khop.__doc__ or "")
    assert f"{percent}%" in CAVEATS["khop"]


def test_what_the_first_operator_tells_is_what_listops_says_it_does() -> None:
    """Within five standard deviations."""
    task, percent = ListOps().at(1, length=2000, symbols=16, seeds=ANY), 36
    tokens, targets = drawn(task, "evaluate", 0, 3000)
    counts = np.zeros((16, 10), dtype=int)
    np.add.at(counts, (tokens[:, 0], targets.max(axis=1)), 1)
    assert counts.max(axis=1).sum() / len(tokens) == pytest.approx(
        percent / 100, abs=5 * (0.36 * 0.64 / 3000) ** 0.5
    )
    assert f"is right for {percent}% at N = 2000" in (listops.__doc__ or "")
    assert f"{percent}% of the answers" in CAVEATS["listops"]


def test_a_string_is_wanted_again_and_its_end_in_training_alone() -> None:
    task = StringCopy(letters=3).at(1, length=10, symbols=13, seeds=ANY)
    for stream, draws, end in (("train", [[3], [7, 2, 9]], 12), ("evaluate", [[7, 2, 9]], ".")):
        tokens, targets = made(task, *draws, stream=stream)
        assert tokens == [[10, 7, 2, 9, 11, 7, 2, 9, 12, 12]]
        assert targets == [[".", ".", ".", ".", 7, 2, 9, end, ".", "."]]


def test_listops_wants_the_value_at_the_end_of_the_expression() -> None:
    task = ListOps().at(1, length=10, symbols=16, seeds=ANY)
    outer = [
        MAX - MIN,
        4,
        [0.9, 0.9, 0.1, 0.9],
        [2, 9, 5, 0],
    ]  # operator, arguments, which are nested, their digits
    inner = [0, 2, [0.9, 0.9], [4, 7]]
    tokens, targets = made(task, *outer, *inner)
    assert tokens == [[MAX, 2, 9, MIN, 4, 7, END, 0, END, FILLER]]
    assert targets == [[".", ".", ".", ".", ".", ".", ".", ".", 9, "."]]


def test_of_a_text_the_next_byte_is_wanted_everywhere(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"for i in range(10):\n" * 40)
    task = Bytes(data=str(tmp_path / "text")).at(1, length=7, symbols=256, seeds=ANY)
    tokens, targets = made(task, [0])
    assert bytes(tokens[0]) == b"for i i"
    assert bytes(targets[0]) == b"or i in"


def test_training_strings_are_of_every_length_and_scored_ones_of_the_longest() -> None:
    task = StringCopy(letters=5).at(1, length=12, symbols=29, seeds=ANY)
    lengths = {
        stream: (task.sequences(generator(stream, 0, 0), 300, stream)[1] != IGNORED).sum(1) - ends
        for stream, ends in (("train", 1), ("evaluate", 0))
    }
    assert set(lengths["train"]) == {1, 2, 3, 4, 5}
    assert set(lengths["evaluate"]) == {5}


def test_longer_strings_than_training_had_are_scored_as_well() -> None:
    task = StringCopy(letters=5).at(1, length=12, symbols=29, seeds=ANY)
    further = task.further()
    assert {size: one.length for size, one in further.items()} == {10: 22, 20: 42}
    assert task.longest == 42
    assert all(drawn(one, "evaluate", 0, 1)[0].shape == (1, one.length) for one in further.values())


@given(data=st.data(), pairs=st.integers(1, 12), seed=st.integers(0, 1000))
def test_mqar_is_solved_by_a_dictionary(data: st.DataObject, pairs: int, seed: int) -> None:
    length, symbols = (
        data.draw(st.integers(4 * pairs, 64)),
        data.draw(st.integers(2 * pairs + 2, 64)),
    )
    task = Mqar(pairs=pairs).at(1, length=length, symbols=symbols, seeds=ANY)
    tokens, targets = (
        a[0].tolist() for a in task.sequences(generator("train", seed, 0), 1, "train")
    )
    pairs_of = dict(zip(tokens[0 : 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
    asked = [
        (token, wanted) for token, wanted in zip(tokens, targets, strict=True) if wanted != IGNORED
    ]
    assert sorted(asked) == sorted(pairs_of.items())
    assert len(asked) == pairs
    assert all(0 < key < symbols // 2 <= value < symbols for key, value in asked)
    assert set(tokens[2 * pairs :]) <= {0, *pairs_of}


def test_queries_come_early_as_zoologys_power_law_says() -> None:
    first = query_places(generator("train", 0, 0), 20_000, 8, 1)[:, 0]
    weights = np.arange(1, 9) ** (0.01 - 1.0)
    expected = 20_000 * weights / weights.sum()
    assert (
        float(((np.bincount(first, minlength=8) - expected) ** 2 / expected).sum()) < 24.3
    )  # chi-squared, 7, 0.1%


@given(
    length=st.integers(1, 60),
    symbols=st.integers(3, 9),
    hops=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_khop_equals_the_definition_read_aloud(
    length: int, symbols: int, hops: int, seed: int
) -> None:
    tokens = generator("train", seed, 0).integers(symbols - 1, size=(1, length), dtype=np.int64)
    line = tokens[0].tolist()

    def last(i: int) -> int:
        return max((j for j in range(1, i + 1) if line[j - 1] == line[i]), default=-1)

    expected = list(range(length))
    for _ in range(hops):
        expected = [last(i) if i >= 0 else -1 for i in expected]
    assert hop(find(tokens), hops)[0].tolist() == expected


@every_task
def test_streams_never_share_a_sequence(task: Task) -> None:
    streams = ("train", "check", "evaluate", "trace")
    seen = {
        name: {line.tobytes() for i in range(25) for line in drawn(task, name, i, 2)[0]}
        for name in streams
    }
    assert sum(map(len, seen.values())) == len(set().union(*seen.values())) == 50 * len(streams)


@every_task
def test_a_task_keeps_its_word(task: Task) -> None:
    """Symbols within the vocabulary, as many supervised ones as it says, and the same again from
    the same seed."""
    tokens, targets = drawn(task, "evaluate", 3, 5)
    assert tokens.dtype == targets.dtype == np.int64
    assert tokens.shape == targets.shape == (5, task.length)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < task.symbols
    assert ((targets != IGNORED).sum(1) == task.supervised).all()
    assert int(targets.max()) < task.symbols
    assert np.array_equal(drawn(task, "evaluate", 3, 5)[0], tokens)
    assert task.longest >= task.length


@every_task
def test_chance_is_what_the_best_constant_guess_scores(task: Task) -> None:
    """Within five standard deviations: what is wanted most often is wanted about as often as
    `chance` says."""
    wanted = np.concatenate([drawn(task, "evaluate", i, 50)[1] for i in range(10)])
    wanted = wanted[wanted != IGNORED]
    best = np.bincount(wanted).max() / len(wanted)
    spread = 5 * (task.chance * (1 - task.chance) / min(len(wanted), 4000)) ** 0.5
    assert task.chance == pytest.approx(best, abs=max(spread, 0.02))


@pytest.mark.parametrize(
    ("task", "length", "symbols", "words"),
    [
        (Mqar(pairs=17), 64, 64, "pairs is 17; accepted: 1 to 16 at length 64"),
        (Mqar(pairs=8), 64, 16, "pairs is 8; accepted: 1 to 7 with 16 symbols"),
        (Mqar(pairs=1), 3, 64, "pairs is 1; accepted: none at length 3"),
        (SelectiveCopy(items=11), 20, 16, "items is 11; accepted: 1 to 10"),
        (SelectiveCopy(items=4), 20, 3, "symbols is 3; accepted: 4 to"),
        (Induction(), 2, 16, "length is 2; accepted: 3 to"),
        (Induction(), 20, 2, "symbols is 2; accepted: 3 to"),
        (Khop(hops=21), 20, 5, "hops is 21; accepted: 1 to 20"),
        (Khop(hops=1), 20, 2, "symbols is 2; accepted: 3 to"),
        (StringCopy(letters=10), 20, 29, "letters is 10; accepted: 1 to 9 at length 20"),
        (StringCopy(letters=4), 20, 3, "symbols is 3; accepted: 4 to"),
        (ListOps(), 8, 16, "length is 8; accepted: 9 to"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    task: Task, length: int, symbols: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        task.at(1, length, symbols, ANY)
