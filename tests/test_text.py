"""Is the text real, split by file, predicted one step ahead, and named by a hash?"""

from __future__ import annotations

import math
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from pointer.errors import InputError
from workflow.bench.tasks.base import Seeds, generator
from workflow.bench.tasks.text import (
    Bytes,
    Corpus,
    corpus,
    library_files,
    split_by_file,
    split_by_place,
)

ROOT = Path(sysconfig.get_paths()["stdlib"])


def task(data: str = "", length: int = 64) -> Bytes:
    return Bytes(data=data).at(2, length, symbols=256, seeds=Seeds.of(0))


def test_the_librarys_sources_are_found_without_tests_and_installed_packages() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in library_files(ROOT)}
    assert {"json/decoder.py", "argparse.py"} <= names
    assert not any(
        "site-packages" in name or "/test/" in name or "_sysconfigdata" in name for name in names
    )


def test_whole_files_go_to_one_split_and_equal_ones_to_the_same() -> None:
    contents = [f"file {i}\n".encode() * 50 for i in range(200)]
    splits = {name: part.tobytes() for name, part in split_by_file([*contents, *contents]).items()}
    for content in contents:
        assert sorted(part.count(content) for part in splits.values()) == [0, 0, 2]
    assert 0.65 < len(splits["train"]) / sum(map(len, splits.values())) < 0.95
    assert all(len(part) for part in splits.values())


def test_a_single_file_is_cut_at_90_and_95_percent() -> None:
    parts = split_by_place(bytes(range(100)))
    assert [part.tolist() for part in parts.values()] == [
        list(range(90)),
        list(range(90, 95)),
        list(range(95, 100)),
    ]


def test_streams_read_their_own_split(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"a" * 900 + b"b" * 50 + b"c" * 50)
    read = {
        stream: set(
            np.unique(task(str(text), 20).sequences(generator(stream, 0, 0), 50, stream)[0])
        )
        for stream in ("train", "timing", "check", "trace", "evaluate")
    }
    assert read == {"train": {97}, "timing": {97}, "check": {98}, "trace": {98}, "evaluate": {99}}


def test_bits_a_byte_are_the_loss_in_bits_beside_those_of_guessing(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"aabc" * 500)
    facts = task(str(text)).facts(loss=math.log(4))
    assert facts["bits_per_byte"] == pytest.approx(2.0)
    assert facts["bits_per_byte_guessing"] == pytest.approx(1.5, abs=0.01)
    assert task(str(text)).chance == pytest.approx(0.5, abs=0.01)


def test_another_text_has_another_hash(tmp_path: Path) -> None:
    hashes = []
    for name, content in (("a", b"x" * 1000), ("b", b"y" * 1000), ("c", b"x" * 1000)):
        (tmp_path / name).write_bytes(content)
        hashes.append(corpus(str(tmp_path / name)).data_hash)
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_text_that_cannot_be_read_or_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data is '.*none'; accepted: a file that can be read"):
        task(str(tmp_path / "none")).sequences(generator("train", 0, 0), 1, "train")
    (tmp_path / "short").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="a text with more than 64 bytes for check, not 5"):
        task(str(tmp_path / "short")).sequences(generator("check", 0, 0), 1, "check")


def test_the_library_is_a_text_of_megabytes_in_three_parts() -> None:
    found: Corpus = corpus("")
    assert all(len(part) > 200_000 for part in found.splits.values())
    assert found is corpus("")
