"""Timing sessions: turns, whole periods, a row a model, failures, load and its marks."""

import functools
import itertools
import math
import multiprocessing
import time
from statistics import fmean

import numpy as np
import pytest
import torch

from workflow.bench.cell import Cell
from workflow.bench.measure import devices, models, session, statistics, timing
from workflow.bench.measure.session import Load, Member
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import keys
from workflow.bench.sessions import with_twin
from workflow.report import intervals

CPU = torch.device("cpu")
ROUNDS = session.LEAST_ROUNDS


def cell(model="identity", length=32, **more):
    sizes = {"length": length, "batch": 2, "threads": 1, "layers": 1, "width": 32, "heads": 2}
    return Cell.of("efficiency", model, session_seconds=0, **sizes, **more)


def timed(*cells):
    return timing.efficiency(cells, lambda done, **values: None, lambda at: None)


def test_a_row_holds_every_round_and_what_follows_from_them():
    row, twin = timed(*with_twin([cell()]))
    for made in (row, twin):
        assert set(made) <= set(keys())
        for kind, prefix in (("step", ""), ("inference", "inference_")):
            rounds = made[f"{prefix}rounds_ms"]
            assert len(rounds) == len(made[f"{prefix}rounds_processor_ms"]) == ROUNDS
            assert min(rounds) <= made[f"{kind}_ms"] <= max(rounds)
            assert made[f"{kind}_ms_mean"] == pytest.approx(fmean(rounds))
            rate = 1000 * 64 / made[f"{kind}_ms_mean"]
            assert made[f"{prefix}tokens_per_s"] == pytest.approx(rate)


def test_a_dear_step_in_a_period_is_not_hidden(monkeypatch):
    steps = []

    def take(device, work):
        steps.append(work())
        return 0.02 if len(steps) % 4 == 0 else 0.0

    monkeypatch.setattr(devices, "seconds", take)
    monkeypatch.setattr(models, "is_trained", lambda model: True)
    monkeypatch.setattr(timing.flops, "period", lambda model: 4)
    one = timing.Timed(cell().resolved(), CPU, timing.batches(cell().resolved(), CPU), list)
    session.run([one.phases["training"]], 0.0, 0)
    assert one.phases["training"].wall_ms == [pytest.approx(20)] * ROUNDS
    assert len(steps) == 4 * (1 + ROUNDS)


def test_a_model_without_memory_harms_no_other(monkeypatch):
    """Planted: `uniform` runs out of memory in the third round, `chance` cannot be built."""
    build, begun, steps = models.build, [], itertools.count()

    def planted(of, device):
        if of.model == "chance":
            raise MemoryError("no room to build")
        model = build(of, device)
        if of.model == "uniform":
            model.register_forward_hook(fail)
        return model

    def fail(*_):
        if next(steps) == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(models, "build", planted)
    cells = [cell(), cell("uniform"), cell("chance"), cell("pointer")]
    alone, gone, unbuilt, after = timing.efficiency(cells, lambda done: None, begun.append)
    assert len(alone["rounds_ms"]) == len(after["rounds_ms"]) == ROUNDS
    assert isinstance(gone, RuntimeError)
    assert isinstance(unbuilt, MemoryError)
    assert begun == [0, 1, 2, 3, None]


@pytest.mark.parametrize(("slower", "marked"), [(1.0, False), (1.5, True)])
def test_a_twin_that_differs_marks_every_row(monkeypatch, slower, marked):
    monkeypatch.setattr(session, "_busy_seconds", lambda: None)  # its load is not known

    def seconds(self, stepper):
        return slower if self.cell.twin else 1.0

    monkeypatch.setattr(timing.Timed, "training", seconds)
    rows = timed(*with_twin([cell(), cell("chance")]))
    for row in rows:
        assert [w.startswith(DISTURBED) for w in row["warnings"]] == [False] + [True] * marked
        assert row["others_share"] is None


def test_every_round_steps_every_model_once_in_an_order_of_its_own():
    calls = []
    members = [Member(name, lambda name=name: calls.append(name) or 1e-3) for name in "abcd"]
    session.run(members, seconds=0, seed=3, least_rounds=40)
    assert calls[:4] == list("abcd"), "the warm-up"
    rounds = [tuple(calls[start : start + 4]) for start in range(4, len(calls), 4)]
    assert len(rounds) == 40
    assert all(sorted(turn) == list("abcd") for turn in rounds)
    assert len(set(rounds)) > 10
    assert all(len(one.wall_ms) == len(one.processor_ms) == 40 for one in members)


def burn(until):
    while time.monotonic() < until:
        pass


def burners(number):
    """Processes that keep a core busy for three seconds from now."""
    fork, until = multiprocessing.get_context("fork"), time.monotonic() + 3
    return [fork.Process(target=burn, args=(until,)) for _ in range(number)]


@pytest.mark.skipif(session._busy_seconds() is None, reason="no /proc/stat here")
def test_other_programs_on_the_cores_are_seen():
    others = burners(2)
    for process in others:
        process.start()
    work = functools.partial(count, 400_000)
    load = session.run([Member("a", work)], seconds=1.5, seed=0)
    for process in others:
        process.join()
    assert load.others > session.MOST_OTHERS
    assert "others had" in session.disturbed(load, 1.0, 0.99, 1.01)


def test_a_disturbed_session_is_told_by_its_load_or_its_twin():
    quiet = Load(0.02)
    assert session.disturbed(quiet, 1.01, 1.005, 1.015) == ""
    assert session.disturbed(Load(None), 0.97, 0.93, 1.01) == ""
    assert "differ" in session.disturbed(quiet, 1.03, 1.01, 1.05)
    assert "differ" in session.disturbed(quiet, 0.94, 0.80, 1.10)
    assert "20%" in session.disturbed(Load(0.2), 1.0, 0.99, 1.01)


def test_the_interval_over_sessions_covers_the_ratio_as_often_as_it_says():
    """Sessions of three processes whose means vary by 4%, rounds by 8%, by simulation."""
    rng = np.random.default_rng(0)
    truth, covered, narrow, trials = math.log(2.2), 0, 0, 4000
    for _ in range(trials):
        sessions = rng.normal(truth, 0.04, size=(3, 1)) + rng.normal(0, 0.08, size=(3, 8))
        _, low, high = statistics.ratio(sessions.mean(axis=1).tolist(), intervals.LEVEL)
        covered += low <= 2.2 <= high
        _, low, high = statistics.ratio(sessions.flatten().tolist(), intervals.LEVEL)
        narrow += low <= 2.2 <= high
    assert covered / trials == pytest.approx(0.975, abs=0.012)
    assert narrow / trials < 0.9, "rounds of one process are not independent"


def count(numbers):
    begin = time.perf_counter()
    for _ in range(numbers):
        pass
    return time.perf_counter() - begin


@pytest.mark.skipif(session._busy_seconds() is None, reason="no /proc/stat here")
def test_busy_loops_that_begin_half_way_leave_the_ratio_or_mark_the_session():
    """One model takes twice as long as the other, by the number of turns of a loop."""
    works = [functools.partial(count, numbers) for numbers in (200_000, 400_000)]
    members = [Member(str(work.args), work) for work in works]
    others = burners(4)

    def begin_half_way(done):
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
