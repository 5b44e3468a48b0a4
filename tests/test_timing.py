"""Timing sessions: turns, failures, load and its marks; in the plan and in files, tried again."""

import functools
import itertools
import json
import math
import multiprocessing
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import synthetic
import torch

from workflow.bench import config
from workflow.bench.cell import Cell
from workflow.bench.measure import devices, models, session, statistics, timing
from workflow.bench.measure.session import Load, Member
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import child, contracts, keys, provenance, read_rows, row_texts, run
from workflow.bench.sessions import Session, by_file, with_twin
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


TIER = {"tier": "t", "devices": ["cpu"], "lengths": [64]}
TIER["models"] = ["pointer", "transformer", "longformer"]
TIER["experiments"] = {"efficiency": {"repeats": 2, "variants": {"pointer": [{"k": 5}]}}}
OWN = {"mine": "baselines.local:LocalAttention"}
CELLS = [Cell.of("efficiency", name, length=64) for name in ("pointer", "identity", "uniform")]
SESSION = Session(with_twin(CELLS))


def sessions(**changes):
    names = {}
    for path, cells in by_file(config.cells({**TIER, **changes})).items():
        names[path] = [cell.model.partition("=")[0] + " twin" * cell.twin for cell in cells]
    return names


def test_a_session_is_one_file_of_the_papers_models_and_a_twin():
    members = ["pointer", "pointer twin", "pointer", "transformer", "longformer"]
    assert list(sessions().values()) == [members, members]
    first, second = sessions()
    assert first.startswith("results/runs/efficiency/paper-n64-r0-")
    assert second.startswith("results/runs/efficiency/paper-n64-r1-")
    assert first.endswith(".jsonl")


def test_a_model_of_the_user_joins_a_session_of_its_own_and_leaves_the_papers():
    before, after = sessions(), sessions(own_models=OWN, models=[*TIER["models"], "mine", "gla"])
    assert before.items() <= after.items()
    added = [path for path in after if path not in before]
    references = ["pointer", "pointer twin", "transformer"]
    turns = [[*references, "gla"], [*references, "mine"]]
    assert [after[path] for path in added] == 2 * turns
    assert [path.rpartition("/")[2][:8] for path in added][:2] == ["gla-n64-", "mine-n64"]


def test_the_command_names_the_members_with_their_settings():
    cells = [*CELLS[:1], Cell.of("efficiency", "pointer", length=64, mixer={"candidates": "a b"})]
    assert Session(with_twin(cells)).argv() == [
        "--length", "64", "pointer", """pointer 'candidates="a b"'""",
    ]  # fmt: skip


class Worker:
    """Stands in for the worker: models that kill it, and sessions that are disturbed."""

    def __init__(self, disturbed=0, deadly=()):
        self.left, self.deadly = disturbed, deadly
        self.asked = []

    def __call__(self, request, folder, **_):
        names = [cell["model"] for cell in request["cells"]]
        self.asked.append(names)
        for at, name in enumerate(names):
            if name in self.deadly:
                return child.Ending(-9, {"kind": "started", "rows": [], "at": at})
        warnings = [f"{DISTURBED}a busy loop"] if self.left > 0 else []
        self.left -= 1
        row = {"status": "ok", "rounds_ms": [1.0, 2.0], "warnings": warnings}
        return child.Ending(0, {"kind": "ok", "rows": [row] * len(names), "at": None})


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that times CELLS with a worker and returns the rows that are then there."""
    broken = []

    def verdict(model, *_):
        checks = [("causal", False, "leaks")] if model in broken else []
        return contracts.Verdict(model, {}, "", "error" if checks else "ok", checks)

    def time(worker, keep=False, refused=""):
        broken[:] = [refused]
        monkeypatch.setattr(child, "execute", worker)
        run.rows_of(SESSION, tmp_path / Path(SESSION.path).name, keep=keep)
        return [row for _, row in read_rows(tmp_path)]

    monkeypatch.setattr(contracts, "verdict", verdict)
    return time


def test_the_rows_of_a_session_are_lines_of_one_file(written, tmp_path):
    rows = written(Worker())
    assert sorted((row["model"], row["settings"]["twin"]) for row in rows) == [
        ("identity", False), ("pointer", False), ("pointer", True), ("uniform", False),
    ]  # fmt: skip
    command = "pointer-bench session --length 64 pointer identity uniform"
    for row in rows:
        assert (row["session"], row["attempt"], row["status"]) == (SESSION.name, 0, "ok")
        assert row["command"] == command
    (file,) = tmp_path.iterdir()
    paths = {path for path, _ in row_texts([file])}
    assert {path.parent for path in paths} == {tmp_path / SESSION.name}
    assert len(paths) == 4


def test_a_model_that_kills_the_process_has_a_row_and_the_others_their_times(written):
    worker = Worker(deadly=("identity",))
    rows = written(worker)
    first, again = worker.asked
    assert first == ["pointer", "pointer", "identity", "uniform"]
    assert again == ["pointer", "pointer", "uniform"]
    status = {row["model"]: (row["status"], row["rounds_ms"]) for row in rows}
    assert status["identity"] == ("oom", None)
    assert status["pointer"] == status["uniform"] == ("ok", [1.0, 2.0])


def test_a_model_that_fails_its_contract_is_not_timed(written):
    worker = Worker()
    rows = written(worker, refused="uniform")
    assert worker.asked == [["pointer", "pointer", "identity"]]
    (row,) = (row for row in rows if row["model"] == "uniform")
    assert (row["status"], row["reason"]) == ("error", "fails the contract: causal: leaks")


@pytest.mark.parametrize(("disturbed", "attempts"), [(0, [0]), (1, [0, 1]), (5, [0, 1])])
def test_a_disturbed_session_is_repeated_once_and_both_are_kept(written, disturbed, attempts):
    rows = written(Worker(disturbed))
    assert sorted(row["attempt"] for row in rows if row["model"] == "identity") == attempts
    last = [row for row in rows if row["attempt"] == attempts[-1]]
    assert {run.disturbed(row) for row in last} == {disturbed > len(attempts) - 1}


def test_a_finished_session_is_kept_until_its_sources_change(written, monkeypatch):
    worker = Worker()
    rows = written(worker)
    assert written(worker, keep=True) == rows
    assert len(worker.asked) == 1
    monkeypatch.setattr(provenance, "source_hash", lambda *_: "0" * 16)
    written(worker, keep=True)
    assert len(worker.asked) == 2


def test_a_session_with_an_error_or_without_a_row_is_timed_again(written, tmp_path):
    written(Worker())
    (file,) = tmp_path.iterdir()
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[1:]))
    assert run.kept(SESSION.cells, file) == []
    file.write_text("\n".join([*lines[1:], lines[0].replace("ok", "error", 1)]))
    assert run.kept(SESSION.cells, file) == []
    file.write_text("\n".join(lines))
    assert len(run.kept(SESSION.cells, file)) == 4


def test_one_model_is_timed_beside_its_twin(tmp_path, monkeypatch):
    passed = contracts.Verdict("pointer", {}, "", "ok", [])
    monkeypatch.setattr(contracts, "verdict", lambda *_: passed)
    worker = Worker()
    monkeypatch.setattr(child, "execute", worker)
    row, _ = run.row_of(CELLS[0], tmp_path / "row.json")
    assert worker.asked == [["pointer", "pointer"]]
    assert (row["settings"]["twin"], row["rounds_ms"]) == (False, [1.0, 2.0])
    assert json.loads((tmp_path / "row.json").read_text())["session"] == row["session"]


def test_a_session_tells_its_ratios_beside_the_papers():
    plain = {"mixer": {}, "twin": False}
    steps = {"transformer": 300.0, "pointer-formula": 200.0, "pointer": 100.0}
    rows = [synthetic.timed(name, 2048, ms, settings=plain) for name, ms in steps.items()]
    rows.append(synthetic.twin("pointer", 2048, 1.0))
    assert run.ratios(rows) == [
        "N=2048: pointer-formula trains 1.50x as fast as transformer (paper 2.45x)",
        "N=2048: pointer trains 3.00x as fast as transformer",
    ]
    assert run.ratios(rows[1:]) == []
