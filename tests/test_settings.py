"""Settings: stated once, refused when bad, hashed by what matters."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench import cli, settings
from workflow.bench.settings import Settings

COPY = {"experiment": "copy", "model": "pointer"}


def test_argv_and_back_is_the_same_cell() -> None:
    cell = settings.from_dict(
        {
            **COPY,
            "distance": 777,
            "lr": 3e-4,
            "dtype": "bfloat16",
            "seed": 3,
            "mixer": {"k": 64, "on": True, "name": "a b"},
        }
    )
    assert settings.from_namespace(cli.parse(["run", *cell.to_argv()])) == cell


@given(
    distance=st.integers(1, 10_000),
    tokens=st.integers(10**6, 10**9),
    lr=st.floats(0, 10),
    seed=st.integers(0, 2**31 - 1),
    overrides=st.dictionaries(
        st.from_regex(r"[a-z]{1,9}", fullmatch=True),
        st.integers(-(2**63) + 1, 2**63 - 1)
        | st.booleans()
        | st.text(st.characters(exclude_categories=settings.UNWRITABLE), max_size=settings.LONGEST_TEXT),
        max_size=3,
    ),
)
def test_any_cell_survives_its_command_line(
    distance: int, tokens: int, lr: float, seed: int, overrides: dict[str, int | bool | str]
) -> None:
    cell = settings.from_dict(
        {**COPY, "distance": distance, "tokens": tokens, "lr": lr, "seed": seed, "mixer": overrides}
    )
    assert settings.from_namespace(cli.parse(["run", *cell.to_argv()])) == cell


def test_argv_says_only_what_differs_from_the_defaults() -> None:
    assert Settings("copy", "pointer").to_argv() == ["--experiment", "copy", "--model", "pointer"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("experiment", "coppy", "Did you mean 'copy'"),
        ("model", "pointr", "Did you mean 'pointer'"),
        ("device", "gpu", "cpu, cuda, mps"),
        ("dtype", "float16", "Did you mean 'float32'|Did you mean 'bfloat16'"),
        ("length", -1, "a whole number from 0"),
        ("length", 1.5, "a whole number"),
        ("length", "256", "a whole number"),
        ("length", 100, "more than the distance, 512"),
        ("distance", 0, "from 1"),
        ("distance", True, "a whole number"),
        ("tokens", 100, "one step of batch x N"),
        ("lr", math.nan, "a number from 0.0 to 10.0"),
        ("lr", math.inf, "a number"),
        ("lr", False, "a number"),
        ("symbols", 1, "from 2"),
        ("task", "bytes", "copy in copy"),
        ("task", "byte", "Did you mean 'bytes'"),
        ("seed", -1, "from 0"),
        ("stop_accuracy", 1.1, "to 1.0"),
        ("machine", 3, "text"),
        ("mixer", {"k": math.nan}, "finite"),
        ("mixer", {"k": [1]}, "mixer setting k"),
        ("mixer", 3, "key=value"),
        ("lenght", 256, "Did you mean 'length'"),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        settings.from_dict({**COPY, name: value})
    assert repr(value) in str(caught.value) or name == "mixer" or name in str(caught.value)


@pytest.mark.parametrize("missing", ["experiment", "model"])
def test_a_cell_needs_an_experiment_and_a_model(missing: str) -> None:
    with pytest.raises(InputError, match=missing):
        settings.from_dict({key: value for key, value in COPY.items() if key != missing})


@pytest.mark.parametrize("text", ["k", "=3", "a-b=3", ""])
def test_overrides_are_key_value_pairs(text: str) -> None:
    with pytest.raises(InputError, match="key=value"):
        settings.parse_override(text)


@pytest.mark.parametrize(
    ("text", "value"), [("k=3", 3), ("k=true", True), ("k=0.5", 0.5), ("k=fft", "fft"), ("k=[1]", "[1]"), ("k=", "")]
)
def test_an_override_is_a_scalar_or_text(text: str, value: object) -> None:
    assert settings.parse_override(text) == ("k", value)


def test_the_key_ignores_what_does_not_matter_to_the_experiment() -> None:
    efficiency = Settings("efficiency", "pointer")
    assert efficiency.key() == dataclasses.replace(efficiency, tokens=5, lr=0.1, distance=9, timeout_s=3).key()
    assert efficiency.key() != dataclasses.replace(efficiency, timed_steps=9).key()
    assert Settings("copy", "pointer").key() == Settings("copy", "pointer", timed_steps=9).key()


@pytest.mark.parametrize(
    "change", [{"tokens": 5}, {"seed": 1}, {"mixer": {"k": 1}}, {"dtype": "bfloat16"}, {"machine": "x"}, {"threads": 1}]
)
def test_the_key_changes_with_what_matters(change: dict[str, object]) -> None:
    assert Settings("copy", "pointer").key() != Settings("copy", "pointer", **change).key()  # type: ignore[arg-type]


def test_sizes_left_open_are_filled_in() -> None:
    copy = Settings("copy", "pointer", distance=2048).resolved()
    assert (copy.length, copy.batch) == (2816, 1)
    timed = Settings("efficiency", "pointer", length=256).resolved()
    assert (timed.length, timed.batch, timed.threads) == (256, 16, settings.affinity())


def test_equal_sizes_are_the_same_row_however_they_are_said() -> None:
    assert (
        Settings("efficiency", "pointer", length=256).key()
        == Settings("efficiency", "pointer", length=256, batch=16).key()
    )


@pytest.mark.parametrize(
    ("experiment", "given", "length", "symbols"),
    [
        ("mqar", {"pairs": 64}, 1024, 256),
        ("mqar", {"pairs": 64, "length": 512, "symbols": 200}, 512, 200),
        ("selective-copy", {}, 256, 16),
        ("induction", {"length": 1024}, 1024, 16),
        ("khop", {"hops": 3}, 128, 5),
        ("string-copy", {"letters": 20}, 42, 29),
        ("listops", {"symbols": 99}, 2000, 16),
        ("bytes", {"symbols": 20}, 1024, 256),
        ("copy", {}, 1280, 20),
        ("complexity", {}, 2048, 20),
    ],
)
def test_each_task_has_sizes_of_its_own(experiment: str, given: dict[str, int], length: int, symbols: int) -> None:
    cell = settings.from_dict({"experiment": experiment, "model": "pointer", **given}).resolved()
    assert (cell.length, cell.symbols) == (length, symbols)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"experiment": "mqar", "pairs": 17, "length": 64}, "pairs is 17; accepted: 1 to 16 at length 64"),
        ({"experiment": "mqar", "pairs": 128}, "pairs is 128; accepted: 1 to 127 with 256 symbols"),
        ({"experiment": "selective-copy", "items": 129}, "items is 129; accepted: 1 to 128 at length 256"),
        ({"experiment": "string-copy", "length": 50}, "letters is 50; accepted: 1 to 24"),
        ({"experiment": "mqar", "task": "bytes"}, "task is 'bytes'; accepted: mqar in mqar"),
    ],
)
def test_sizes_that_a_task_cannot_have_are_refused_before_a_job_starts(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings.from_dict({"model": "pointer", **given})


def test_a_setting_of_another_task_is_no_part_of_the_key() -> None:
    copy = Settings("copy", "pointer")
    assert copy.key() == dataclasses.replace(copy, pairs=4, hops=2, items=3, letters=5, data="x", task="bytes").key()
    mqar = Settings("mqar", "pointer")
    assert mqar.key() == dataclasses.replace(mqar, distance=9, hops=2).key() != dataclasses.replace(mqar, pairs=8).key()
    traced = Settings("interpretability", "pointer", task="bytes")
    assert traced.key() != Settings("interpretability", "pointer").key()
    assert traced.key() != dataclasses.replace(traced, data="enwik8").key()


def test_keys_of_rows_from_before_there_were_other_tasks_stay() -> None:
    """Rows are found again by their key, so a new setting must not move the old ones."""
    known = {"copy": "a0a0b96466c96062", "interpretability": "b359ef42136e89a1", "complexity": "0b815a91b1229044"}
    assert {name: Settings(name, "pointer", threads=1).key() for name in known} == known


def test_threads_never_exceed_the_affinity() -> None:
    assert settings.threads(10_000) == settings.affinity()
    assert settings.threads(1) == 1
