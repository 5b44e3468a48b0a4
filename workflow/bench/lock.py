"""The machine-wide lock: a timing row runs alone, all other rows run beside each other.

The worker takes it before it imports torch, so that nothing of the suite competes with a timed step:

    with lock.hold(exclusive=settings.timing, result=Path(result_json)):
        ...  # import torch, measure, write the result

Once the lock is held, a marker beside the result tells the supervisor that the time limit runs from now on.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 5.0  # of waiting without a word


def lock_path() -> Path:
    """One file a machine, whichever folder, user or pipeline asks."""
    return Path(tempfile.gettempdir()) / "pointer-bench.lock"


def marker_path(result: Path) -> Path:
    """Exists once the worker that will write `result` holds the lock."""
    return result.with_name(result.name + ".started")


@contextmanager
def hold(*, exclusive: bool, result: Path | None = None) -> Iterator[None]:
    """Waits for the lock and holds it; the kernel gives it back when the process ends, however it ends.

    Who waits, waits in the turnstile: rows that come later stand behind a timing row, and cannot starve it.
    """
    what = "waits for the rows that run on this machine to end" if exclusive else "waits for a timing row to end"
    notice = threading.Timer(PATIENCE_S, print, [f"pointer-bench: {what} (lock: {lock_path()})"], {"file": sys.stderr})
    notice.daemon = True
    notice.start()
    try:
        with _locked(lock_path().with_suffix(".turnstile"), exclusive=True, mode=0o666):
            descriptor = _take(lock_path(), exclusive=exclusive, mode=0o666)
    finally:
        notice.cancel()
    try:
        if result is not None:
            marker_path(result).touch()
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process is inside `alone` with this path: one writer a file."""
    with _locked(path, exclusive=True, mode=0o644):
        yield


@contextmanager
def _locked(path: Path, *, exclusive: bool, mode: int) -> Iterator[None]:
    descriptor = _take(path, exclusive=exclusive, mode=mode)
    try:
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, *, exclusive: bool, mode: int) -> int:
    """The descriptor that holds the lock of a file, after waiting for it."""
    descriptor = open_shared(path, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_shared(path: Path, mode: int = 0o644) -> int:
    """A file descriptor of `path`, created if missing. Another user's file is opened for reading: enough for a lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    if os.fstat(descriptor).st_uid == os.getuid():
        os.fchmod(descriptor, mode)
    return descriptor
