"""A timing session: models of one length in one process, stepped in turn, in random order.

Rows timed one after another do not compare: what disturbs the machine disturbs one of them. Here
every round steps each model once, in a new random order (random interleaving, as in
google/benchmark), and ratios are taken inside a round. A twin, a second instance of the first
model, shows how far two equal models differ; the load of other programs is read beside it.

Rounds of one process share its memory layout and the minutes it ran in, so intervals rest on the
means of sessions (Kalibera and Jones 2013, Rigorous Benchmarking in Reasonable Time: the highest
level of repetition decides).
"""

from __future__ import annotations

import functools
import gc
import os
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STATE = Path("/proc/stat")
BUSY = (1, 2, 3, 6, 7, 8)  # user, nice, system, irq, softirq, steal: columns of /proc/stat
MOST_OTHERS = 0.10  # of the cores' time, beyond which a session is disturbed
TWIN_FAR, TWIN_OFF = 0.05, 0.02  # differences of the twin: always too much; too much if certain
CERTAIN = 0.99
LEAST_ROUNDS = 4


@dataclass
class Member:
    """One model of a session: a step to time, and what its rounds took."""

    name: str
    step: Callable[[], float]  # does one period of steps; returns its wall seconds
    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    failure: Exception | None = None


@dataclass(frozen=True)
class Load:
    """The share of this process's cores that other programs took; None: not known."""

    others: float | None


def run(
    members: Sequence[Member],
    seconds: float,
    seed: int,
    least_rounds: int = LEAST_ROUNDS,
    report: Callable[[float], object] = lambda done: None,
) -> Load:
    """Warm every member up, then step all of them in turn for `seconds`, `least_rounds` at least.

    A member that raises keeps its exception as `failure` and takes no further part. `report` is
    called with the share done after the warm-up and after each round.
    """
    for member in members:
        _attempt(member, member.step)
    order = random.Random(seed)
    gc.collect()
    gc.disable()
    report(0.0)
    try:
        begin, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
        rounds = 0
        while rounds < least_rounds or time.perf_counter() - begin < seconds:
            present = [member for member in members if member.failure is None]
            order.shuffle(present)
            for member in present:
                _attempt(member, functools.partial(_timed, member))
            rounds += 1
            spent_seconds = time.perf_counter() - begin
            report(min(rounds / least_rounds, spent_seconds / seconds if seconds else 1.0))
        elapsed, spent = time.perf_counter() - begin, time.process_time() - own
        return Load(_others(busy, _busy_seconds(), spent, elapsed))
    finally:
        gc.enable()


def _attempt(member: Member, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        member.failure = error
        member.wall_ms.clear()
        member.processor_ms.clear()
        traceback.clear_frames(error.__traceback__)  # which hold the tensors that ran out of room
        gc.collect()


def _timed(member: Member) -> None:
    spent = time.process_time()
    wall = member.step()
    member.processor_ms.append(1000 * (time.process_time() - spent))
    member.wall_ms.append(1000 * wall)


def _busy_seconds() -> float | None:
    """Return the seconds this process's cores have worked since boot, stolen time too, or None."""
    if not STATE.is_file() or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in STATE.read_text(encoding="ascii").splitlines():
        columns = line.split()
        if columns and columns[0] in allowed:
            ticks += sum(int(columns[place]) for place in BUSY)
    return ticks / os.sysconf("SC_CLK_TCK")


def _others(before: float | None, after: float | None, own: float, elapsed: float) -> float | None:
    """Return the others' share of the cores' time, or None."""
    if before is None or after is None:
        return None
    cores = len(os.sched_getaffinity(0))
    return min(1.0, max(0.0, (after - before - own) / (elapsed * cores)))


def disturbed(load: Load, twin: float, low: float, high: float) -> str:
    """Return why a session decides nothing, or an empty string.

    twin: the ratio of two equal models over all sessions of its length, `low` to `high` at CERTAIN.
    """
    if load.others is not None and load.others > MOST_OTHERS:
        return f"others had {load.others:.0%} of the cores' time"
    difference = abs(twin - 1)
    certain = not low <= 1 <= high
    if difference > TWIN_FAR or (difference > TWIN_OFF and certain):
        return f"two equal models differ: {twin:.3f} ({low:.3f} to {high:.3f})"
    return ""
