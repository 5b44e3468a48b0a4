"""`pointer-bench compare`: ratios, accuracies and counted work of two machines agree, differ, or
stay undecided."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from synthetic import LAPTOP, SERVER, Row, copied, counted, store, timed

from workflow.bench import cli
from workflow.report import estimates, frame

Compared = Callable[[list[Row], list[Row]], tuple[int, dict[str, Any]]]


def machine(
    name: str, factor: float = 1.0, ratio: float = 2.0, repeats: int = 3, **values: Any
) -> list[Row]:
    """Timings of two models on a machine `factor` times as slow, where the pointer is `ratio` times
    as fast."""
    rows = []
    for repeat in range(repeats):
        noise = 1 + 0.01 * repeat
        at = {"length": 512, "repeat": repeat, "machine": name, **values}
        rows.append(timed("transformer", step_ms=100 * factor, **at))
        rows.append(timed("pointer", step_ms=100 * factor * noise / ratio, **at))
    return rows


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> Compared:
    """Return a function: two lists of rows -> exit code and JSON of comparing them."""

    def compare(a: Iterable[Row], b: Iterable[Row]) -> tuple[int, dict[str, Any]]:
        for folder, rows in zip(folders, (a, b), strict=True):
            store(rows, folder)
        code = cli.main(["compare", *map(str, folders), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return compare


def agreements(found: dict[str, Any]) -> dict[str, str]:
    names = ("quantity", "phase", "experiment", "against", "model", "x")
    return {
        ", ".join(str(cell[name]) for name in names if cell[name]): cell["agreement"]
        for cell in found["cells"]
    }


def test_a_slower_machine_with_the_same_ratios_agrees(compared: Compared) -> None:
    code, found = compared(machine(SERVER), machine(LAPTOP, factor=7.0))
    assert code == 0
    assert agreements(found) == {
        "speedup, training, efficiency, transformer, pointer, 512": "agree",
        "speedup, inference, efficiency, transformer, pointer, 512": "agree",
    }
    assert found["cells"][0]["low"] < 2 / 1.01 < found["cells"][0]["high"]
    assert found["cells"][0]["rows"].count(".json") == 6
    assert (found["a"], found["b"]) == (SERVER, LAPTOP)


def test_other_ratios_differ(compared: Compared) -> None:
    code, found = compared(machine(SERVER), machine(LAPTOP, ratio=3.0))
    assert (code, set(agreements(found).values()), found["counts"]["differ"]) == (1, {"differ"}, 2)


def test_one_repeat_decides_nothing(compared: Compared) -> None:
    code, found = compared(machine(SERVER), machine(LAPTOP, ratio=3.0, repeats=1))
    assert (code, set(agreements(found).values())) == (0, {"undecided"})
    assert found["cells"][0]["low_b"] is None


def test_no_absolute_time_is_shown(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]
) -> None:
    store(machine(SERVER), folders[0])
    store(machine(LAPTOP, factor=7.0), folders[1])
    assert cli.main(["compare", *map(str, folders)]) == 0
    text = capsys.readouterr().out
    assert re.search("training speedup over transformer +pointer +N=512", text)
    assert "\n\n2 agree, 0 differ, 0 undecided. Ratios" in text
    assert "tokens_per_s" not in text
    assert all(str(step) not in text for step in (700, 350, 100.0))


def test_accuracies_and_counted_work(compared: Compared) -> None:
    a = [copied("pointer", 512, 0.99, seed=seed) for seed in range(3)]
    a += [copied("longformer", 512, 0.05), counted("pointer", 512, 1)]
    a += [counted("transformer", 512, 2)]
    b = [copied("pointer", 512, 0.991, seed=seed, machine=LAPTOP) for seed in range(3)]
    b += [copied("longformer", 512, 0.2, machine=LAPTOP)]
    b += [counted("pointer", 512, 1, machine=LAPTOP)]
    b += [counted("transformer", 512, 2, machine=LAPTOP, flops_step=1)]
    code, found = compared(a, b)
    told = agreements(found)
    assert code == 1
    assert told["accuracy, copy, pointer, 512"] == "agree"
    assert told["accuracy, copy, longformer, 512"] == "differ"
    assert told["flops_step, complexity, pointer, 512"] == "agree"
    assert told["flops_step, complexity, transformer, 512"] == "differ"
    assert told["saved_bytes_per_sequence, complexity, transformer, 512"] == "agree"


def test_devices_are_compared_where_none_is_shared(compared: Compared) -> None:
    cuda = machine("H100", factor=0.01, device="cuda")
    code, found = compared(machine(SERVER), cuda)
    assert (code, found["counts"]["agree"]) == (0, 2)
    assert {(cell["device"], cell["device_b"]) for cell in found["cells"]} == {("cpu", "cuda")}
    code, found = compared(machine(SERVER), cuda + machine(LAPTOP, ratio=3.0))
    assert (code, found["counts"]["differ"], found["alone"]) == (1, 2, [0, 2])


def test_what_cannot_be_compared_is_bad_input(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    store(machine(SERVER), folders[0])
    store([copied("pointer", 512, 0.9)], folders[1])
    assert cli.main(["compare", *map(str, folders)]) == 2
    assert "share at least one number" in capsys.readouterr().err
    assert cli.main(["compare", str(folders[0]), str(tmp_path / "nowhere")]) == 2
    row = next(folders[1].glob("[0-9]*.json"))
    row.write_text(row.read_text().replace("0.9", "0.8"))
    assert cli.main(["compare", *map(str, folders)]) == 2
    assert "pointer-bench verify" in capsys.readouterr().err


def test_sizes_of_k_hop_are_numbers_of_their_own(compared: Compared) -> None:
    """Four sizes pooled would have one mean on both sides."""
    known = {"experiment": "khop", "task": "khop", "length": 256}
    right = (0.9, 0.7, 0.5, 0.3)
    a = [copied("pointer", 0, share, hops=k, **known) for k, share in enumerate(right, start=1)]
    b = [copied("pointer", 0, share, hops=4 - k, **known) for k, share in enumerate(right)]
    code, found = compared(a, b)
    assert (code, found["counts"]["differ"]) == (1, 4)
    assert [cell["x"] for cell in found["cells"]] == [1, 2, 3, 4]


def test_another_budget_or_text_is_not_compared_and_the_reason_is_given(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path], compared: Compared
) -> None:
    shared = [copied("pointer", 256, 0.99)]
    a = [copied("pointer", 512, 0.99, seed=seed) for seed in range(3)]
    b = [copied("pointer", 512, 0.2, seed=seed, tokens_budget=10**6) for seed in range(3)]
    code, found = compared(shared + a, shared + b)
    assert (code, found["counts"]["differ"], found["alone"]) == (0, 0, [1, 1])
    assert found["not_compared"] == {"tokens 100000 and 1000000": 1}
    assert cli.main(["compare", *map(str, folders)]) == 0
    assert (
        "Not compared (1 times): tokens 100000 and 1000000 in A and B." in capsys.readouterr().out
    )
    store(a, folders[0] / "alone")
    store(b, folders[1] / "alone")
    assert cli.main(["compare", *(str(folder / "alone") for folder in folders)]) == 2
    assert "nearest: tokens 100000 and 1000000" in capsys.readouterr().err


def test_tables_of_estimates_are_compared_like_rows(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]
) -> None:
    store(machine(SERVER), folders[0])
    estimates.write(frame.read(folders[0]), folders[1])
    assert cli.main(["compare", str(folders[0]), str(folders[1] / "estimates.parquet")]) == 0
    assert "2 agree" in capsys.readouterr().out


def test_threads_are_compared_only_where_both_sides_share_them(compared: Compared) -> None:
    code, found = compared(machine(SERVER), machine(LAPTOP, threads=8))
    assert (code, found["counts"]["agree"]) == (0, 2)
    both = machine(LAPTOP, threads=8, ratio=3.0) + machine(LAPTOP, threads=2)
    code, found = compared(machine(SERVER), both)
    assert (code, found["counts"]["agree"], found["alone"]) == (0, 2, [0, 2])
