"""Sessions in the plan and in files: who is timed with whom, one file of rows, tried again."""

import json
from pathlib import Path

import pytest
import synthetic

from workflow.bench import config
from workflow.bench.cell import Cell
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import child, contracts, provenance, read_rows, row_texts, run
from workflow.bench.sessions import Session, by_file, with_twin

TIER = {"tier": "t", "devices": ["cpu"], "lengths": [64]}
TIER["models"] = ["pointer", "transformer", "longformer"]
TIER["experiments"] = {"efficiency": {"repeats": 2, "variants": {"pointer": [{"k": 5}]}}}
OWN = {"mine": "baselines.local:LocalAttention"}
CELLS = [Cell.of("efficiency", name, length=64) for name in ("pointer", "identity", "uniform")]


def sessions(**changes):

    def name(cell):
        return cell.model.partition("=")[0] + " twin" * cell.twin

    planned = by_file(config.cells({**TIER, **changes}))
    return {path: list(map(name, cells)) for path, cells in planned.items()}


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


SESSION = Session(with_twin(CELLS))


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
