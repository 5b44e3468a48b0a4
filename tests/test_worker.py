"""Does the worker always leave a result, measured, refused, diverged or failed, and does it show
its progress?"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pointer.errors import InputError
from workflow.bench.cell import Cell
from workflow.bench.outcomes import Diverged, Unsupported
from workflow.bench.rows import worker
from workflow.bench.rows.worker import Progress

CELL: dict[str, Any] = {"experiment": "copy", "model": "oracle-copy", "distance": 8}
CELL |= {"length": 16, "threads": 1}


def work(tmp_path: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and result of a worker for the cell."""
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    cell = Cell.of(**CELL | more).to_dict()
    request.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    code = worker.main([str(request), str(result)])
    return code, json.loads(result.read_text(encoding="utf-8"))


def run(tmp_path: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and row of a worker that comes to one."""
    code, result = work(tmp_path, **more)
    assert result["kind"] == "ok"
    (row,) = result["rows"]
    return code, row


def plant(monkeypatch: pytest.MonkeyPatch, measure: Any) -> None:
    monkeypatch.setitem(
        sys.modules, "workflow.bench.measure.learning", SimpleNamespace(run=measure)
    )


def raising(error: BaseException) -> Any:
    def measure(*_: Any) -> dict[str, Any]:
        raise error

    return measure


def test_a_measured_cell_has_status_threads_and_times(tmp_path: Path) -> None:
    code, row = run(tmp_path)
    assert (code, row["status"], row["reason"]) == (0, "ok", None)
    assert (row["accuracy"], row["threads"]) == (1.0, 1)
    started, ended = (datetime.fromisoformat(row[key]) for key in ("started", "ended"))
    assert started < ended
    assert started.utcoffset() is not None


def test_a_model_that_sets_the_threads_puts_a_warning_into_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, lambda *_: torch.set_num_threads(2) or {"warnings": ["slow"]})
    assert run(tmp_path)[1]["warnings"] == [
        "slow",
        "threads: 1 asked for, 2 at the end: the model sets them",
    ]
    plant(monkeypatch, lambda *_: {"steps": torch.get_num_threads()})
    row = run(tmp_path)[1]
    assert (row["warnings"], row["steps"]) == ([], 1)


@pytest.mark.parametrize(("spent", "warned"), [(4.2, 0), (7.6, 1)])
def test_a_model_with_threads_of_its_own_puts_a_warning_into_its_row(
    spent: float, warned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    times = iter([(0, 0, 0, 0, 0), (0, spent / 2, spent / 2, 0, 4)])
    monkeypatch.setattr(os, "times", lambda: os.times_result(next(times)))
    warnings = worker.threads_used(Cell.of(**CELL), os.times())
    assert (
        warnings
        == ["threads: 1 asked for, 1.9 cores busy: the model has threads of its own"] * warned
    )


def test_a_model_that_replaces_the_clock_gets_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.perf_counter

    def measure(*_: Any) -> dict[str, Any]:
        monkeypatch.setattr(time, "perf_counter", lambda: real() / 2)
        return {"steps": 1}

    plant(monkeypatch, measure)
    row = run(tmp_path)[1]
    assert (row["status"], row.get("steps")) == ("error", None)
    assert "replaced a clock" in row["reason"]


def test_files_of_the_row_go_beside_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, lambda settings, report, folder: {"files": {"trace": str(folder)}})
    assert run(tmp_path)[1]["files"] == {"trace": str(tmp_path)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_unsupported(tmp_path: Path) -> None:
    code, row = run(tmp_path, device="cuda")
    assert (code, row["status"]) == (0, "unsupported")
    assert "device 'cuda' is absent" in row["reason"]


def test_an_unsupported_cell_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, raising(Unsupported("no pointers")))
    code, row = run(tmp_path)
    assert (code, row["status"], row["reason"]) == (0, "unsupported", "no pointers")


def test_a_divergence_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, raising(Diverged("the loss became nan at step 3", {"steps": 3})))
    code, row = run(tmp_path)
    assert (code, row["status"], row["steps"]) == (0, "diverged", 3)
    assert row["started"] < row["ended"]


def test_a_failure_names_the_error_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, raising(ValueError("bad head\nmore")))
    code, result = work(tmp_path)
    assert (code, result["kind"], result["rows"]) == (1, "error", [])
    assert result["message"].startswith("ValueError: bad head (test_worker.py:")


def test_rows_before_a_failure_are_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [{"steps": 1}]
    plant(monkeypatch, lambda *_: left.pop())
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    cells = [Cell.of(**CELL, seed=seed).to_dict() for seed in (0, 1)]
    request.write_text(json.dumps({"cells": cells}))
    assert worker.main([str(request), str(result)]) == 1
    content = json.loads(result.read_text())
    assert (content["kind"], [row["steps"] for row in content["rows"]]) == ("error", [1])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("no such setting"), "bad_input"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "full"),
        (MemoryError(), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (RuntimeError("[...] DefaultCPUAllocator: can't allocate memory"), "oom"),
    ],
    ids=["setting", "disk", "python", "cuda", "cpu"],
)
def test_the_kind_of_a_failure_is_told_apart(
    error: Exception, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, raising(error))
    code, result = work(tmp_path)
    assert (code, result["kind"]) == (1, kind)
    assert kind != "bad_input" or result["message"] == "no such setting"


PROGRESS = Cell.of("copy", "pointer")


class Terminal(io.StringIO):
    """A stream that says it is watched."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_updating_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow.bench.rows.worker.WATCHED_SECONDS", 0.0)
    screen = Terminal()
    progress = Progress(PROGRESS, screen)
    progress(0.25, loss=2.5)
    progress(0.5, accuracy=0.75)
    progress.close()
    assert "\n" not in screen.getvalue()
    assert "copy pointer d512-s0   50%  loss 2.5  accuracy 0.75  0 s left" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_log_gets_quiet_lines_now_and_then() -> None:
    log = io.StringIO()
    progress = Progress(PROGRESS, log)
    for step in range(1000):
        progress(step / 1000, loss=1.0)
    assert log.getvalue() == ""
    progress.last -= 11
    progress(0.5)
    assert log.getvalue().count("\n") == 1


def test_time_left_follows_from_the_fraction_done() -> None:
    assert (
        Progress(PROGRESS, io.StringIO()).line(0.25, 30.0)
        == "copy pointer d512-s0   25%  90 s left"
    )
