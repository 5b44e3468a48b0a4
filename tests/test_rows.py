"""Rows: what is written comes back, and nothing else does."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from workflow.bench import rows
from workflow.bench.cell import Cell
from workflow.bench.rows import RowError, read_row, write_row
from workflow.bench.rows.provenance import identity
from workflow.bench.sources import ROOT

TIMES = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    return {**identity(Cell.of("copy", "chance")), **TIMES, "status": "ok", "accuracy": 0.05}


def test_a_row_comes_back_as_it_was_written(tmp_path: Path, row: dict[str, Any]) -> None:
    written = write_row(tmp_path / "deep" / "row.json", row)
    assert read_row(tmp_path / "deep" / "row.json") == written
    assert set(written) == set(rows.keys())


def test_an_altered_row_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "row.json"
    content = write_row(path, row)
    for key, value in {"accuracy": 0.99, "command": "", "settings": {}}.items():
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(RowError, match="digest"):
            read_row(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": 1.5}, "accuracy is 1.5; accepted: less than or equal to 1"),
        ({"status": "fine"}, "status 'fine' is unknown"),
        ({"threads": 0}, "threads is 0"),
        ({"peak_memory_bytes": 0}, "peak_memory_bytes is 0"),
        ({"loss": math.nan}, "JSON"),
        ({"accurracy": 1.0}, "'accurracy' is unknown"),
        ({"length": None}, "length is None"),
        ({"schema": 99}, "schema is 99; accepted: 2"),
    ],
)
def test_what_the_schema_lacks_is_not_written(
    tmp_path: Path, row: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(RowError, match=words):
        write_row(tmp_path / "row.json", {**row, **change})
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_apply_is_not_written(tmp_path: Path, row: dict[str, Any]) -> None:
    written = write_row(tmp_path / "row.json", row)
    assert written["step_ms"] is written["peak_memory_bytes"] is None
    assert written["warnings"] == []
    content = json.loads((tmp_path / "row.json").read_text())
    assert None not in content.values()
    assert content["task"] == {"name": "copy", "distance": 512}
    assert (content["axis"], content["x"]) == ("distance", 512)


def test_rows_of_a_folder_are_read_from_files_and_from_lines(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    (tmp_path / "a").mkdir()
    one = write_row(tmp_path / "a" / "lr0.001.json", row)
    (tmp_path / "a" / "lr0.001.trace.json").write_text("{}")
    two = rows.seal({**row, "seed": 1}, "here")
    (tmp_path / "rows.jsonl").write_text(f"{rows.as_json(two, file='copy/chance/d512-s1.json')}\n")
    skipped: Counter[str] = Counter()
    read = dict(rows.read_rows(tmp_path, skipped))
    assert read == {
        tmp_path / "a" / "lr0.001.json": one,
        tmp_path / "copy" / "chance" / "d512-s1.json": two,
    }
    assert +skipped == Counter({"trace beside a row": 1})


def test_rows_of_some_statuses_are_removed_as_the_docs_say(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    command = re.search(r"^grep .*$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert command is not None
    runs = tmp_path / "results" / "runs"
    for status in ("ok", "oom", "error"):
        made = write_row(runs / f"{status}.json", row | {"status": status})
        lines = [rows.as_json(one, file="a.json") for one in (rows.seal(row, ""), made)]
        (runs / f"session-{status}.jsonl").write_text("\n".join(lines))
    subprocess.run(command[0], shell=True, cwd=tmp_path, check=True)
    assert sorted(path.name for path in runs.iterdir()) == ["ok.json", "session-ok.jsonl"]


@pytest.mark.parametrize("line", ["", "{", "[]", '{"file": "a.json"}'])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, row: dict[str, Any], line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(
        f"{rows.as_json(rows.seal(row, 'here'), file='b.json')}\n{line}\n"
    )
    with pytest.raises(RowError, match=r"rows\.jsonl:2|a\.json"):
        rows.read_rows(tmp_path)


def test_a_group_may_write_where_the_umask_says_so(tmp_path: Path, row: dict[str, Any]) -> None:
    before = os.umask(0o002)
    write_row(tmp_path / "row.json", row)
    os.umask(before)
    assert (tmp_path / "row.json").stat().st_mode & 0o777 == 0o664


def test_an_interrupted_write_leaves_the_old_row(
    tmp_path: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "row.json"
    before = write_row(path, row)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_row(path, {**row, "accuracy": 0.5})
    assert read_row(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["row.json"]
