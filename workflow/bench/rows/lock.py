"""Lock the machine: a timing row runs alone, all other rows run beside each other."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

PATIENCE_S = 5.0  # of waiting in silence
OVERRIDE = "POINTER_BENCH_LOCK"  # names another file, for tests and for nodes that hide FOLDERS
MODE = 0o666  # another user may take the lock as well, whatever the umask
# A batch system may give each job a /tmp of its own, so the lock does not follow TMPDIR.
FOLDERS = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))


def lock_path() -> Path:
    """Return the lock's file, one a machine whichever folder, user or pipeline asks."""
    folder = next((folder for folder in FOLDERS if os.access(folder, os.W_OK)), FOLDERS[-1])
    return Path(os.environ.get(OVERRIDE, folder / "pointer-bench.lock"))


@contextmanager
def hold(*, exclusive: bool) -> Iterator[list[str]]:
    """Wait for the machine's lock and hold it; yield warnings where it cannot be taken. Waiters
    queue on a second lock, so that later shared rows do not starve a timing row."""
    path, warnings = lock_path(), list[str]()
    waits_for = "the rows that run on this machine" if exclusive else "a timing row"
    notice = f"pointer-bench: waits for {waits_for} to end (lock: {path})"
    with ExitStack() as stack:
        try:
            turnstile = taken(path.with_suffix(".turnstile"))
            with announced(notice, PATIENCE_S, sys.stderr), turnstile:
                stack.enter_context(taken(path, exclusive=exclusive))
        except OSError as error:
            warnings.append(f"measured without the machine's lock: {error}")
        yield warnings


@contextmanager
def announced(line: str, after_s: float, stream: TextIO | None = None) -> Iterator[None]:
    """Print a line (to stdout) about work that takes longer than `after_s` seconds."""
    timer = threading.Timer(after_s, print, [line], {"file": stream, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def taken(path: Path, *, exclusive: bool = True, wait: bool = True) -> Iterator[int]:
    """Hold the lock of a file, which the holder may remove; yield its descriptor. Raise
    BlockingIOError where another holds it and `wait` is false, OSError without locks there."""
    kind = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, MODE)
        except PermissionError:  # another user's: reading is enough for a lock
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                os.fchmod(descriptor, MODE)
            fcntl.flock(descriptor, kind)
        except OSError as error:
            os.close(descriptor)
            raise type(error)(error.errno, error.strerror, str(path)) from None
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # the holder before us has removed the file: lock the next one
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


_held: set[int] = set()  # descriptors of the locks that this process holds


def _let_go() -> None:
    """Close the locks in a forked process, which would keep them after the end of its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
