"""The copy task is the one that the paper describes, and the text is real, cut in order, hashed."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench.cell import Cell
from workflow.bench.tasks.base import IGNORED, Seeds, generator
from workflow.bench.tasks.copy import Copy, copy_batch
from workflow.bench.tasks.text import Bytes, corpus


def task(data="", length=64):
    return Bytes(data=data).at(2, length, symbols=256, seeds=Seeds.of(0))


def test_streams_read_their_own_split(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"a" * 900 + b"b" * 50 + b"c" * 50)
    split = {"train": b"a", "timing": b"a", "check": b"b", "trace": b"b", "evaluate": b"c"}
    for stream, letter in split.items():
        tokens, _ = task(str(text), 20).sequences(generator(stream, 0, 0), 50, stream)
        assert set(np.unique(tokens)) == {*letter}


def test_the_public_codes_targets_are_its_inputs():
    same = Bytes(ahead=0).at(2, 64, symbols=256, seeds=Seeds.of(0))
    tokens, targets = same.sequences(generator("train", 0, 0), 2, "train")
    assert (tokens == targets).all()


def test_bits_a_byte_are_the_loss_in_bits_beside_those_of_guessing(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"aabc" * 500)
    facts = task(str(text)).facts(loss=math.log(4))
    assert facts["bits_per_byte"] == pytest.approx(2.0)
    assert facts["bits_per_byte_guessing"] == pytest.approx(1.5, abs=0.01)
    assert task(str(text)).chance == pytest.approx(0.5, abs=0.01)


def test_a_text_that_cannot_be_read_or_is_too_short_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data is '.*none'; accepted: a file that can be read"):
        Cell.of("bytes", "chance", data=str(tmp_path / "none")).key()
    (tmp_path / "short").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="a text with more than 64 bytes for check, not 5"):
        task(str(tmp_path / "short")).sequences(generator("check", 0, 0), 1, "check")


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


def copying(seeds, batch=3):
    return Copy(distance=7).at(batch, length=24, symbols=5, seeds=seeds)


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
        one = copying(Seeds(data=5, init=0, order=order), batch=1)
        taken.append([tuple(one.training_batch(i)[0][0].tolist()) for i in range(1024)])
    assert taken[0] != taken[1]
    assert sorted(taken[0]) == sorted(taken[1])
