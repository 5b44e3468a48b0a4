"""The worker leaves a result, measured, refused, diverged or failed, and shows its progress."""

import errno
import json
import os
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from pointer.errors import InputError
from workflow.bench import progress
from workflow.bench.cell import Cell
from workflow.bench.rows import worker
from workflow.bench.rows.worker import Progress

CELL = {"experiment": "copy", "model": "oracle-copy", "distance": 8}
CELL |= {"length": 16, "threads": 1}


def work(tmp_path, *changes):
    """Exit code and result of a worker for the cell, or for one with each of the changes."""
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    cells = [Cell.of(**CELL | change).to_dict() for change in changes or ({},)]
    request.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    code = worker.main([str(request), str(result)])
    return code, json.loads(result.read_text(encoding="utf-8"))


def run(tmp_path, **more):
    code, result = work(tmp_path, more)
    assert result["kind"] == "ok"
    (row,) = result["rows"]
    return code, row


def plant(monkeypatch, measure):
    module = SimpleNamespace(run=measure)
    monkeypatch.setitem(sys.modules, "workflow.bench.measure.learning", module)


def test_a_measured_cell_has_status_threads_and_times(tmp_path):
    code, row = run(tmp_path)
    assert (code, row["status"], row["reason"]) == (0, "ok", None)
    assert (row["accuracy"], row["threads"]) == (1.0, 1)
    started, ended = (datetime.fromisoformat(row[key]) for key in ("started", "ended"))
    assert started < ended
    assert started.utcoffset() is not None


def test_numbers_too_small_for_full_speed_are_zero(tmp_path, monkeypatch):
    tiny = torch.tensor([1e-30])
    assert float(tiny * 1e-9) > 0
    plant(monkeypatch, lambda *_: {"loss": float(tiny * 1e-9)})
    assert run(tmp_path)[1]["loss"] == 0


def test_a_model_that_sets_the_threads_puts_a_warning_into_its_row(tmp_path, monkeypatch):
    plant(monkeypatch, lambda *_: torch.set_num_threads(2) or {"warnings": ["slow"]})
    own = "threads: 1 asked for, 2 at the end: the model sets them"
    assert run(tmp_path)[1]["warnings"] == ["slow", own]
    plant(monkeypatch, lambda *_: {"steps": torch.get_num_threads()})
    row = run(tmp_path)[1]
    assert (row["warnings"], row["steps"]) == ([], 1)


@pytest.mark.parametrize(("spent", "warned"), [(4.2, 0), (7.6, 1)])
def test_a_model_with_threads_of_its_own_puts_a_warning_into_its_row(spent, warned, monkeypatch):
    torch.set_num_threads(1)
    times = iter([(0, 0, 0, 0, 0), (0, spent / 2, spent / 2, 0, 4)])
    monkeypatch.setattr(os, "times", lambda: os.times_result(next(times)))
    own = "threads: 1 asked for, 1.9 cores busy: the model has threads of its own"
    assert worker.threads_used(Cell.of(**CELL), os.times()) == [own] * warned


def test_a_model_that_replaces_the_clock_gets_no_number(tmp_path, monkeypatch):
    real = time.perf_counter

    def measure(*_):
        monkeypatch.setattr(time, "perf_counter", lambda: real() / 2)
        return {"steps": 1}

    plant(monkeypatch, measure)
    row = run(tmp_path)[1]
    assert (row["status"], row.get("steps")) == ("error", None)
    assert "replaced a clock" in row["reason"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_unsupported(tmp_path):
    code, row = run(tmp_path, device="cuda")
    assert (code, row["status"]) == (0, "unsupported")
    assert "device 'cuda' is absent" in row["reason"]


def test_a_failure_names_the_error_and_the_place(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("bad head\nmore")

    plant(monkeypatch, fail)
    code, result = work(tmp_path)
    assert (code, result["kind"], result["rows"]) == (1, "error", [])
    assert result["message"].startswith("ValueError: bad head (test_worker.py:")


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
def test_the_kind_of_a_failure_is_told_apart(error, kind, tmp_path, monkeypatch):
    plant(monkeypatch, Mock(side_effect=error))
    code, result = work(tmp_path)
    assert (code, result["kind"]) == (1, kind)
    assert kind != "bad_input" or result["message"] == "no such setting"


def test_a_line_now_and_then_says_how_far_a_cell_is(capsys):
    progress = Progress(Cell.of("copy", "pointer"))
    for step in range(1000):
        progress(step / 1000, loss=2.5)
    assert capsys.readouterr().err == ""
    progress.last -= 30
    progress.start -= 30
    progress(0.5, accuracy=0.75)
    line = "copy pointer d512-s0   50%  loss 2.5  accuracy 0.75  30 s left\n"
    assert capsys.readouterr().err == line


def shown(capsys):
    progress.show("a row")
    return capsys.readouterr().out


def test_the_time_left_follows_the_pace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(progress.DEADLINE, "inf")
    assert shown(capsys) == "a row\n"
    now = 1_000_000_000.0
    monkeypatch.setattr(progress.time, "time", lambda: now)
    progress.begin({"a": 600.0, "b": 600.0, "c": 1200.0})
    assert shown(capsys) == "[0 of 3, 0 s, about 40 min left] a row\n"
    # Half done in twice the time: the rest takes 40 minutes more, a little less by the plan.
    now += 2400
    Path("a").touch()
    Path("b").touch()
    minutes = re.fullmatch(r"\[2 of 3, 40 min, about (\d+) min left\] a row\n", shown(capsys))
    assert 36 <= int(minutes[1]) <= 40
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    terminal = shown(capsys)
    assert re.fullmatch(r"\r\x1b\[Ka row\n█{10}░{10} 2 of 3, 40 min, about \d+ min left", terminal)
    monkeypatch.setenv("COLUMNS", "30")
    assert len(shown(capsys).splitlines()[-1]) < 30
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: False)
    progress.begin({"x": 600.0, "y": 600.0, "z": 6000.0}, ["z"], deadline=now + 1200)
    assert "0 of 3, 0 s, about 20 min left" in shown(capsys)  # and no optional row after them
    monkeypatch.delenv(progress.DEADLINE)
    assert shown(capsys) == "a row\n"  # of a row that is made by hand
