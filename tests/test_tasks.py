"""Tasks ask for what their papers ask, and the text is real, cut in order, hashed."""

import math
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench.cell import Cell
from workflow.bench.tasks import khop
from workflow.bench.tasks.base import IGNORED, Seeds, generator
from workflow.bench.tasks.copy import Copy, copy_batch
from workflow.bench.tasks.induction import Induction
from workflow.bench.tasks.khop import Khop
from workflow.bench.tasks.listops import END, FILLER, MAX, MED, MIN, SM, ListOps
from workflow.bench.tasks.mqar import Mqar, query_places
from workflow.bench.tasks.selective_copy import SelectiveCopy
from workflow.bench.tasks.string_copy import StringCopy
from workflow.bench.tasks.text import Bytes, corpus
from workflow.report.notes import CAVEATS

ANY = Seeds.of(0)
TASKS = [
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
    """A generator whose next draws are given, whatever its arguments."""

    def __init__(self, *draws):
        super().__init__(np.random.Philox(0))
        self.draws = iter(draws)

    def _next(self, *args, **kwargs):
        return np.array(next(self.draws))

    integers = random = gumbel = _next


def made(task, *draws, stream="evaluate"):
    """The one sequence that the draws make, and its targets with . for IGNORED."""
    tokens, targets = task.sequences(Drawn(*draws), 1, stream)
    (wanted,) = targets.tolist()
    return tokens.tolist(), [["." if target == IGNORED else target for target in wanted]]


def drawn(task, stream, index, count):
    """What `batch_of` gives, without torch."""
    return task.sequences(generator(stream, task.seeds.data, index), count, stream)


def test_selective_copying_wants_the_data_in_order_at_the_markers():
    task = SelectiveCopy(items=3).at(1, length=10, symbols=8, seeds=ANY)
    tokens, targets = made(task, [[5, 3, 5]], [[0.5, 0.1, 0.6, 0.7, 0.2, 0.8, 0.3]])
    assert tokens == [[0, 5, 0, 0, 3, 0, 5, 7, 7, 7]]
    assert targets == [[".", ".", ".", ".", ".", ".", ".", 5, 3, 5]]


def test_induction_wants_what_followed_the_special_symbol():
    task = Induction().at(1, length=8, symbols=10, seeds=ANY)
    tokens, targets = made(task, [[4, 0, 3, 6, 6, 2, 1, 5]], [2])
    assert tokens == [[4, 0, 9, 6, 6, 2, 1, 9]]
    assert targets == [[".", ".", ".", ".", ".", ".", ".", 6]]


@pytest.mark.parametrize(("hops", "percent"), [(1, 32), (2, 48), (3, 27), (4, 31)])
def test_what_the_symbol_at_hand_tells_is_what_khop_says_it_does(hops, percent):
    task = Khop(hops=hops).at(1, length=128, symbols=5, seeds=ANY)
    tokens, targets = drawn(task, "evaluate", 0, 5000)
    counts = np.zeros((4, 5), dtype=int)
    np.add.at(counts, (tokens.ravel(), targets.ravel()), 1)
    assert round(100 * counts.max(axis=1).sum() / tokens.size) == percent
    assert f"{percent}% (" in (khop.__doc__ or "")
    assert f"{percent}%" in CAVEATS["khop"]


def test_a_string_is_wanted_again_and_its_end_in_training_alone():
    task = StringCopy(letters=3).at(1, length=10, symbols=13, seeds=ANY)
    for stream, draws, end in (("train", [[3], [7, 2, 9]], 12), ("evaluate", [[7, 2, 9]], ".")):
        tokens, targets = made(task, *draws, stream=stream)
        assert tokens == [[10, 7, 2, 9, 11, 7, 2, 9, 12, 12]]
        assert targets == [[".", ".", ".", ".", 7, 2, 9, end, ".", "."]]


@pytest.mark.parametrize(("ahead", "wanted"), [(1, b"or i in"), (0, b"for i i")])
def test_of_a_text_the_next_byte_is_wanted_everywhere(ahead, wanted, tmp_path):
    """Ahead by none, as in the public code, targets are the inputs."""
    (tmp_path / "text").write_bytes(b"for i in range(10):\n" * 40)
    task = Bytes(data=str(tmp_path / "text"), ahead=ahead)
    tokens, targets = made(task.at(1, length=7, symbols=256, seeds=ANY), [0])
    assert (bytes(tokens[0]), bytes(targets[0])) == (b"for i i", wanted)


def test_training_strings_are_of_every_length_and_scored_ones_of_the_longest():
    task = StringCopy(letters=5).at(1, length=12, symbols=29, seeds=ANY)
    wanted = (drawn(task, stream, 0, 300)[1] for stream in ("train", "evaluate"))
    trained, scored = ((targets != IGNORED).sum(1) for targets in wanted)
    assert set(trained) == {2, 3, 4, 5, 6}  # the end among them
    assert set(scored) == {5}


@given(data=st.data(), pairs=st.integers(1, 12), seed=st.integers(0, 1000))
def test_mqar_is_solved_by_a_dictionary(data, pairs, seed):
    length = data.draw(st.integers(4 * pairs, 64))
    symbols = data.draw(st.integers(2 * pairs + 2, 64))
    task = Mqar(pairs=pairs).at(1, length=length, symbols=symbols, seeds=ANY)
    sequences = task.sequences(generator("train", seed, 0), 1, "train")
    tokens, targets = (array[0].tolist() for array in sequences)
    pairs_of = dict(zip(tokens[0 : 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
    asked = [pair for pair in zip(tokens, targets, strict=True) if pair[1] != IGNORED]
    assert sorted(asked) == sorted(pairs_of.items())
    assert len(asked) == pairs
    assert all(0 < key < symbols // 2 <= value < symbols for key, value in asked)
    assert set(tokens[2 * pairs :]) <= {0, *pairs_of}


def test_queries_come_early_as_zoologys_power_law_says():
    first = query_places(generator("train", 0, 0), 20_000, 8, 1)[:, 0]
    weights = np.arange(1, 9) ** (0.01 - 1.0)
    expected = 20_000 * weights / weights.sum()
    counts = np.bincount(first, minlength=8)
    assert float(((counts - expected) ** 2 / expected).sum()) < 24.3  # chi-squared, 7, 0.1%


@given(
    length=st.integers(4, 60),
    symbols=st.integers(3, 9),
    hops=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_khop_equals_the_definition_read_aloud(length, symbols, hops, seed):
    """No symbol is repeated at once: it would be its own target for every k."""
    task = Khop(hops=hops).at(1, length=length, symbols=symbols, seeds=Seeds.of(seed))
    line, targets = (array[0].tolist() for array in drawn(task, "train", 0, 1))
    assert all(one != other for one, other in pairwise(line))

    def last(i):
        return max((j for j in range(1, i + 1) if line[j - 1] == line[i]), default=-1)

    places = list(range(length))
    for _ in range(hops):
        places = [last(i) if i >= 0 else -1 for i in places]
    assert targets == [line[i] if i >= 0 else symbols - 1 for i in places]


@every_task
def test_streams_never_share_a_sequence(task):
    streams = ("train", "check", "evaluate", "trace")
    drawings = [drawn(task, name, i, 2)[0] for name in streams for i in range(25)]
    seen = {line.tobytes() for tokens in drawings for line in tokens}
    assert len(seen) == 50 * len(streams)


@every_task
def test_a_task_keeps_its_word(task):
    """Symbols in the vocabulary, as many supervised as it says, the same of the same seed."""
    tokens, targets = drawn(task, "evaluate", 3, 5)
    assert tokens.dtype == targets.dtype == np.int64
    assert tokens.shape == targets.shape == (5, task.length)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < task.symbols
    assert ((targets != IGNORED).sum(1) == task.supervised).all()
    assert int(targets.max()) < task.symbols
    assert np.array_equal(drawn(task, "evaluate", 3, 5)[0], tokens)
    assert task.longest >= task.length


@every_task
def test_chance_is_what_the_best_constant_guess_scores(task):
    """Within five standard deviations."""
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
        (SelectiveCopy(items=11), 20, 16, "items is 11; accepted: 1 to 10"),
        (Induction(), 2, 16, "length is 2; accepted: 3 to"),
        (Khop(hops=21), 20, 5, "hops is 21; accepted: 1 to 20"),
        (StringCopy(letters=10), 20, 29, "letters is 10; accepted: 1 to 9 at length 20"),
        (ListOps(), 8, 16, "length is 8; accepted: 9 to"),
        (Copy(distance=24), 24, 5, "distance is 24; accepted: 1 to 23 at length 24"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(task, length, symbols, words):
    with pytest.raises(InputError, match=words):
        task.at(1, length, symbols, ANY)


OPERATORS = {MIN: min, MAX: max, MED: lambda of: int(statistics.median(of))}
OPERATORS[SM] = lambda of: sum(of) % 10


def parse(tokens, place=0):
    """Value, end and depth of the expression at `place`."""
    if tokens[place] < 10:
        return tokens[place], place + 1, 0
    arguments, depth, end = [], 0, place + 1
    while tokens[end] != END:
        value, end, inner = parse(tokens, end)
        arguments.append(value)
        depth = max(depth, inner)
    assert 2 <= len(arguments) <= 10
    return OPERATORS[tokens[place]](arguments), end + 1, depth + 1


def test_every_answer_is_that_of_the_other_evaluator_and_every_tree_is_bounded():
    task = ListOps().at(1, length=200, symbols=16, seeds=Seeds.of(0))
    tokens, targets = task.sequences(generator("train", 0, 0), 60, "train")
    for line, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        answer, used, depth = parse(line)
        assert 50 < used <= 200
        assert depth <= 9
        assert set(line[used:]) <= {FILLER}
        assert wanted[used - 1] == answer
        assert [t for t in wanted if t != IGNORED] == [answer]


def text_task(data="", length=64):
    return Bytes(data=data).at(2, length, symbols=256, seeds=Seeds.of(0))


def test_streams_read_their_own_split(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"a" * 900 + b"b" * 50 + b"c" * 50)
    split = {"train": b"a", "timing": b"a", "check": b"b", "trace": b"b", "evaluate": b"c"}
    for stream, letter in split.items():
        tokens, _ = text_task(str(text), 20).sequences(generator(stream, 0, 0), 50, stream)
        assert set(np.unique(tokens)) == {*letter}


def test_bits_a_byte_are_the_loss_in_bits_beside_those_of_guessing(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"aabc" * 500)
    facts = text_task(str(text)).facts(loss=math.log(4))
    assert facts["bits_per_byte"] == pytest.approx(2.0)
    assert facts["bits_per_byte_guessing"] == pytest.approx(1.5, abs=0.01)
    assert text_task(str(text)).chance == pytest.approx(0.5, abs=0.01)


def test_a_text_that_cannot_be_read_or_is_too_short_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data is '.*none'; accepted: a file that can be read"):
        Cell.of("bytes", "chance", data=str(tmp_path / "none")).key()
    (tmp_path / "short").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="a text with more than 64 bytes for check, not 5"):
        text_task(str(tmp_path / "short")).sequences(generator("check", 0, 0), 1, "check")


def test_a_cell_is_known_by_its_text_and_finds_it_from_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("here", b"x"), ("copied", b"x"), ("edited", b"y")):
        Path(name).write_bytes(content * 1000)
    names = ("here", "copied", "edited")
    here, copied, edited = (Cell.of("bytes", "chance", data=name) for name in names)
    assert here.task.data == str(tmp_path / "here")
    assert here.key() == copied.key() != edited.key()
    assert edited.key(corpus("here").data_hash) == here.key()  # as a row says


def test_the_suites_own_text_is_the_same_everywhere():
    text = corpus("")
    assert sum(len(part) for part in text.splits.values()) == 1_115_394
    assert text.data_hash == "86c4e6aa9db7c042"
    assert text is corpus("")


@given(length=st.integers(2, 40), data=st.data())
def test_every_supervised_target_lies_distance_back(length, data):
    distance = data.draw(st.integers(1, length - 1))
    tokens, targets = copy_batch(generator("train", 1, 0), 2, length, distance, symbols=6)
    assert tokens.dtype == targets.dtype == np.int64
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < 6
    assert bool((targets[:, :distance] == IGNORED).all())
    assert all(int(targets[1, t]) == int(tokens[1, t - distance]) for t in range(distance, length))


def test_the_order_seed_permutes_the_data_seeds_batches():
    taken = []
    for order in (1, 2):
        seeds = Seeds(data=5, init=0, order=order)
        one = Copy(distance=7).at(1, length=24, symbols=5, seeds=seeds)
        taken.append([tuple(one.training_batch(i)[0][0].tolist()) for i in range(1024)])
    assert taken[0] != taken[1]
    assert sorted(taken[0]) == sorted(taken[1])
