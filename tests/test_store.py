"""The store: a finished row is found again, by its settings and by the sources that made it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from workflow.bench import provenance, store
from workflow.bench.rows import Row, read_row
from workflow.bench.settings import Settings
from workflow.bench.store import Store

CELL = Settings.of("copy", "chance")
TIMES = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(kept: Store, tmp_path: Path, **changes: Any) -> Row:
    row = {**provenance.identity(CELL), **TIMES, "status": "ok", "files": None, **changes}
    return store.save(row, tmp_path, kept.path(CELL))


@pytest.mark.parametrize(
    ("status", "found"),
    [("ok", True), ("oom", True), ("unsupported", True), ("diverged", True), ("error", False), ("timeout", False)],
)
def test_what_may_change_is_tried_again(kept: Store, tmp_path: Path, status: str, found: bool) -> None:
    put(kept, tmp_path, status=status, reason="because")
    assert (kept.find(CELL) is not None) == found


def test_another_cell_or_other_sources_find_nothing(
    kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = put(kept, tmp_path)
    assert kept.find(CELL) == row
    assert kept.find(CELL.model_copy(update={"seed": 1})) is None
    monkeypatch.setattr(provenance, "source_hash", lambda *_: "0" * 16)
    assert kept.find(CELL) is None
    assert kept.earlier(CELL) == row  # still good enough to estimate from


def test_a_damaged_row_is_measured_again(kept: Store, tmp_path: Path) -> None:
    put(kept, tmp_path)
    path = kept.path(CELL)
    path.write_text(path.read_text()[:-40])
    assert kept.find(CELL) is None
    assert kept.earlier(CELL) is None


def test_files_of_a_row_go_where_it_goes(kept: Store, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"w")
    put(kept, tmp_path, files={"weights": "weights.safetensors"})
    out = tmp_path / "deep" / "d512-s0-ab.json"
    row = store.publish(kept.path(CELL), out)
    assert (tmp_path / "deep" / "d512-s0-ab.weights.safetensors").read_bytes() == b"w"
    assert read_row(out) == row == kept.find(CELL)
    assert row["files_sha256"] == {"weights": hashlib.sha256(b"w").hexdigest()}


def test_a_cell_is_measured_by_one_process_at_a_time(kept: Store) -> None:
    with kept.claim(CELL), kept.claim(CELL.model_copy(update={"seed": 1})):
        assert kept.path(CELL).with_suffix(".lock").exists()
