"""The machine-wide lock: timing alone, the rest together, and never left behind."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from workflow.bench import grid
from workflow.bench.rows import lock

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


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("first", "second"), [("beside", "beside"), ("alone", "beside"), ("beside", "alone")]
)
def test_only_rows_that_are_not_timed_run_side_by_side(tmp_path, first, second):
    a = holder(tmp_path, first, "a", 60)
    wait_for(tmp_path / "a")
    b = holder(tmp_path, second, "b", 0)
    marker = tmp_path / "b"
    try:
        if first == second:
            wait_for(marker)
        else:
            time.sleep(0.4)
            assert not marker.exists()
    finally:
        a.send_signal(signal.SIGKILL)
        a.wait()
    wait_for(marker)  # a killed holder leaves no lock behind
    assert b.wait(timeout=20) == 0


def test_rows_that_come_later_wait_behind_a_timing_row(tmp_path):
    first = holder(tmp_path, "beside", "first", 60)
    wait_for(tmp_path / "first")
    timing = holder(tmp_path, "alone", "timing", 60)
    time.sleep(0.6)  # it waits now
    later = holder(tmp_path, "beside", "later", 0)
    time.sleep(0.6)
    assert not (tmp_path / "later").exists()  # though `first` would let it in
    first.kill()
    wait_for(tmp_path / "timing")
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
