"""Timing sessions: turns, failures, load, and the coverage of their intervals."""

from __future__ import annotations

import functools
import math
import multiprocessing
import time
from statistics import fmean

import numpy as np
import pytest

from workflow.bench.measure import session, statistics
from workflow.bench.measure.session import Load, Member
from workflow.report import intervals


def member(name: str, calls: list[str], seconds: float = 0.0) -> Member:
    def step() -> float:
        calls.append(name)
        return seconds or 1e-3

    return Member(name, step)


def test_every_round_steps_every_model_once_in_an_order_of_its_own() -> None:
    calls: list[str] = []
    members = [member(name, calls) for name in "abcd"]
    session.run(members, seconds=0, seed=3, least_rounds=40)
    assert calls[:4] == list("abcd"), "the warm-up"
    rounds = [tuple(calls[start : start + 4]) for start in range(4, len(calls), 4)]
    assert len(rounds) == 40
    assert all(sorted(turn) == list("abcd") for turn in rounds)
    assert len(set(rounds)) > 10
    assert all(len(one.wall_ms) == len(one.processor_ms) == 40 for one in members)


def burn(until: float) -> None:
    while time.monotonic() < until:
        pass


@pytest.mark.skipif(session._busy_seconds() is None, reason="no /proc/stat here")
def test_other_programs_on_the_cores_are_seen() -> None:
    def work() -> float:
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.02:
            pass
        return time.perf_counter() - begin

    until = time.monotonic() + 3
    others = [multiprocessing.get_context("fork").Process(target=burn, args=(until,))]
    others += [multiprocessing.get_context("fork").Process(target=burn, args=(until,))]
    for process in others:
        process.start()
    load = session.run([Member("a", work)], seconds=1.5, seed=0)
    for process in others:
        process.join()
    assert load.others is not None
    assert load.others > session.MOST_OTHERS
    assert "others had" in session.disturbed(load, 1.0, 0.99, 1.01)


def test_a_disturbed_session_is_told_by_its_load_or_its_twin() -> None:
    quiet = Load(0.02)
    assert session.disturbed(quiet, 1.01, 1.005, 1.015) == ""
    assert session.disturbed(Load(None), 0.97, 0.93, 1.01) == ""
    assert "differ" in session.disturbed(quiet, 1.03, 1.01, 1.05)
    assert "differ" in session.disturbed(quiet, 0.94, 0.80, 1.10)
    assert "20%" in session.disturbed(Load(0.2), 1.0, 0.99, 1.01)


def test_the_interval_over_sessions_covers_the_ratio_as_often_as_it_says() -> None:
    """Sessions of three processes whose means vary by 4%, rounds by 8%, by simulation."""
    rng = np.random.default_rng(0)
    truth, covered, narrow, trials = math.log(2.2), 0, 0, 4000
    for _ in range(trials):
        sessions = rng.normal(truth, 0.04, size=(3, 1)) + rng.normal(0, 0.08, size=(3, 8))
        over = intervals.ratio(np.exp(sessions.mean(axis=1)).tolist())
        covered += over.low <= 2.2 <= over.high
        rounds = intervals.ratio(np.exp(sessions.flatten()).tolist())
        narrow += rounds.low <= 2.2 <= rounds.high
    assert covered / trials == pytest.approx(0.975, abs=0.012)
    assert narrow / trials < 0.9, "rounds of one process are not independent"


def count(numbers: int) -> float:
    begin = time.perf_counter()
    for _ in range(numbers):
        pass
    return time.perf_counter() - begin


@pytest.mark.skipif(session._busy_seconds() is None, reason="no /proc/stat here")
def test_busy_loops_that_begin_half_way_leave_the_ratio_or_mark_the_session() -> None:
    """One model takes twice as long as the other, by the number of turns of a loop."""
    works = [functools.partial(count, numbers) for numbers in (200_000, 400_000)]
    members = [Member(str(work.args), work) for work in works]
    fork = multiprocessing.get_context("fork")
    others = [fork.Process(target=burn, args=(time.monotonic() + 3,)) for _ in range(4)]

    def begin_half_way(done: float) -> None:
        for process in others:
            if done >= 0.5 and process.pid is None:
                process.start()

    load = session.run(members, seconds=2, seed=0, least_rounds=20, report=begin_half_way)
    for process in others:
        process.join()
    once, twice = (member.wall_ms for member in members)
    logs = [math.log(double / single) for single, double in zip(once, twice, strict=True)]
    ratio = statistics.ratio(logs, 0.99)
    assert ratio[1] <= 2 <= ratio[2] or session.disturbed(load, 1.0, 1.0, 1.0)


def test_a_busy_loop_beside_half_of_the_rounds_leaves_the_ratio() -> None:
    rng = np.random.default_rng(1)
    slow = np.where(np.arange(40) < 20, 3.0, 1.0)
    ours = slow * np.exp(rng.normal(0, 0.05, 40))
    other = 2.0 * slow * np.exp(rng.normal(0, 0.05, 40))
    found = intervals.ratio((other / ours).tolist())
    assert found.low < 2.0 < found.high
    assert fmean(other) / fmean(ours[20:]) > 3, "what rows timed one after another would say"
