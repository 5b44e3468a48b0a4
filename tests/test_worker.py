"""The worker leaves a result and shows its progress; the lock: timing alone, the rest together."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pipelines import eventually, worked

from pointer.errors import InputError
from workflow.bench import grid, progress
from workflow.bench.cell import Cell
from workflow.bench.rows import lock, worker
from workflow.bench.rows.worker import Progress

CELL = {"experiment": "copy", "model": "oracle-copy", "distance": 8, "length": 16, "threads": 1}


def run(tmp_path, **more):
    code, result = worked(tmp_path, Cell.of(**CELL | more))
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


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("bad head\nmore"), "error", r"ValueError: bad head \(test_worker.py:\d+\)"),
        (InputError("no such setting"), "bad_input", "no such setting"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "full", "OSError: .*"),
        (MemoryError(), "oom", "MemoryError: .*"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom", ".*"),
        (RuntimeError("[...] DefaultCPUAllocator: can't allocate memory"), "oom", ".*"),
    ],
    ids=["model", "setting", "disk", "python", "cuda", "cpu"],
)
def test_a_failure_has_kind_error_and_place(error, kind, message, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    plant(monkeypatch, fail)
    code, result = worked(tmp_path, Cell.of(**CELL))
    assert (code, result["kind"], result["rows"]) == (1, kind, [])
    assert re.fullmatch(message, result["message"])


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


HOLDER = """
import sys, time
from pathlib import Path
from workflow.bench.rows import lock
lock.lock_path = lambda: Path(sys.argv[1])
with lock.hold(exclusive=sys.argv[2] == "alone"):
    Path(sys.argv[3]).touch()
    time.sleep(float(sys.argv[4]))
"""


def holder(folder, kind, name, seconds):
    arguments = [str(folder / "machine.lock"), kind, str(folder / name), str(seconds)]
    return subprocess.Popen([sys.executable, "-c", HOLDER, *arguments])


@pytest.mark.parametrize(
    ("first", "second"), [("beside", "beside"), ("alone", "beside"), ("beside", "alone")]
)
def test_only_rows_that_are_not_timed_run_side_by_side(tmp_path, first, second):
    a = holder(tmp_path, first, "a", 60)
    eventually((tmp_path / "a").exists)
    b = holder(tmp_path, second, "b", 0)
    marker = tmp_path / "b"
    try:
        if first == second:
            eventually(marker.exists)
        else:
            time.sleep(0.4)
            assert not marker.exists()
    finally:
        a.send_signal(signal.SIGKILL)
        a.wait()
    eventually(marker.exists)  # a killed holder leaves no lock behind
    assert b.wait(timeout=20) == 0


def test_rows_that_come_later_wait_behind_a_timing_row(tmp_path):
    first = holder(tmp_path, "beside", "first", 60)
    eventually((tmp_path / "first").exists)
    timing = holder(tmp_path, "alone", "timing", 60)
    time.sleep(0.6)  # it waits now
    later = holder(tmp_path, "beside", "later", 0)
    time.sleep(0.6)
    assert not (tmp_path / "later").exists()  # though `first` would let it in
    first.kill()
    eventually((tmp_path / "timing").exists)
    assert not (tmp_path / "later").exists()
    timing.kill()
    assert later.wait(timeout=20) == 0
    assert [process.wait() for process in (first, timing)] == [-9, -9]


DAEMON = """
import os, sys, time
from pathlib import Path
from workflow.bench.rows import lock
with lock.taken(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("end", "code"), [("ended", 0), ("killed", -9)])
def test_a_daemon_that_a_holder_forks_does_not_keep_the_lock(tmp_path, end, code):
    arguments = [sys.executable, "-c", DAEMON, str(tmp_path / "lock"), end]
    process = subprocess.Popen(arguments, start_new_session=True)
    try:
        assert process.wait(timeout=20) == code
        with lock.taken(tmp_path / "lock", wait=False):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_pipelines_lock_that_another_user_owns_is_taken(tmp_path, monkeypatch):
    @contextmanager
    def for_reading(path, **_):
        path.parent.mkdir()
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT)
        yield descriptor
        os.close(descriptor)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lock, "taken", for_reading)
    assert grid.Grid({}).begin([]) == []


def test_a_file_system_without_locks_is_recorded_and_named(tmp_path, monkeypatch):
    def refuse(_descriptor, _kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setenv(lock.OVERRIDE, str(tmp_path / "machine.lock"))
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with lock.hold(exclusive=True) as warnings:
        assert len(warnings) == 1
        assert str(tmp_path / "machine.turnstile") in warnings[0]


def test_the_lock_follows_no_tmpdir(tmp_path, monkeypatch):
    monkeypatch.delenv(lock.OVERRIDE, raising=False)
    monkeypatch.setattr(lock, "FOLDERS", (tmp_path / "absent", tmp_path))
    here = lock.lock_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    assert lock.lock_path() == here == tmp_path / "pointer-bench.lock"
