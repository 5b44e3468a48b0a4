"""Memory, disk, clock, divergence: each fault ends in its row, or in one line and no row."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pipelines
import pytest

from workflow.bench import cli, experiments, outcomes
from workflow.bench.cell import Cell
from workflow.bench.measure import training
from workflow.bench.rows import child, complete, contracts, provenance, read_row, run, worker

CELL = {
    "experiment": "copy", "model": "pointer", "distance": 8, "length": 32, "batch": 2, "threads": 1,
    "evaluate_symbols": 100, "memory_limit_bytes": 2**30,
}  # fmt: skip
DISK_BYTES = 400_000
QUICK = "import sys; open(sys.argv[2], 'w').write('{\"steps\": 1}')"


def measured(tmp_path, script="", **changes):
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        if script:
            patch.setattr(child, "WORKER", (sys.executable, "-c", script))
        (row,), _ = run.run([Cell.of(**CELL | changes)], folder)
    return row


def seconds(row):
    started, ended = (datetime.fromisoformat(row[key]) for key in ("started", "ended"))
    return (ended - started).total_seconds()


@pytest.mark.slow
def test_a_model_that_asks_for_too_much_memory_is_an_oom_row(tmp_path):
    # 8 heads x N x N x 4 bytes: 2 GB.
    big = {"model": "transformer-unfused", "length": 8192, "batch": 1, "tokens": 8192}
    row = measured(tmp_path, **big, memory_limit_bytes=1_500_000_000)
    assert row["status"] == "oom"
    assert "allocate" in row["reason"]


def test_a_divergence_is_a_row_with_its_step(tmp_path, monkeypatch):
    real, count = training.supervised_loss, [0]

    def poisoned(logits, targets):
        count[0] += logits.requires_grad
        return real(logits, targets) * (float("nan") if count[0] == 3 else 1.0)

    monkeypatch.setattr(training, "supervised_loss", poisoned)
    asked, result = tmp_path / "settings.json", tmp_path / "result.json"
    asked.write_text(json.dumps({"cells": [Cell.of(**CELL, tokens=640).to_dict()]}))
    assert worker.main([str(asked), str(result)]) == 0
    (row,) = json.loads(result.read_text())["rows"]
    assert (row["status"], row["steps"]) == ("diverged", 3)
    assert "nan at step 3 (192 tokens)" in row["reason"]
    assert (row["tokens_used"], len(row["loss_curve"])) == (192, 2)  # what was measured is kept


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"0" * 512)
        except OSError:
            return


def test_a_full_disk_stops_with_a_line_and_loses_nothing(disk, monkeypatch, capsys):
    fills = iter([False, True, False])  # does the disk, while a row is measured?

    def at_once(cells, folder):
        (folder / "weights.safetensors").write_bytes(b"w" * 60_000)
        if next(fills):
            fill(disk)
        known = {**provenance.identity(cells[0]), **outcomes.Clock().times()}
        files = {"files": {"weights": "weights.safetensors"}}
        return [complete({**known, "status": "ok", **files})], None

    def bench(seed):
        argv = ["run", "--experiment", "copy", "--model", "chance", "--seed", str(seed)]
        return cli.main([*argv, "--keep", "--out", str(disk / f"{seed}.json")])

    kept_contract = contracts.Verdict("chance", {}, "", "ok", [])
    monkeypatch.setattr(run, "run", at_once)
    monkeypatch.setattr(contracts, "verdict", lambda *_: kept_contract)
    assert bench(0) == 0
    kept = read_row(disk / "0.json")
    capsys.readouterr()
    assert bench(1) == 1
    out, err = capsys.readouterr()
    assert "No space left on device; its content is printed" in err
    assert len(err.splitlines()) == 1
    assert json.loads(out)["seed"] == 1
    assert read_row(disk / "0.json") == kept
    left = sorted(path.name for path in disk.iterdir() if path.name != "filler")
    assert left == ["0.json", "0.weights.safetensors"]  # no half row, and nothing half beside it
    (disk / "filler").unlink()
    assert bench(1) == 0
    assert read_row(disk / "1.json")["seed"] == 1


@pytest.mark.full
def test_a_pipeline_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    tmp_path, disk, undisturbed
):
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    folder = pipelines.new_folder(tmp_path / "pipeline")
    (folder / "results").symlink_to(disk)
    fill(disk)
    assert pipelines.start(folder).wait(timeout=300) != 0
    assert "No space left on device" in pipelines.output(folder)
    assert "Traceback" not in pipelines.output(folder)
    (disk / "filler").unlink()
    pipelines.finish(folder)
    pipelines.compare(pipelines.rows(folder), pipelines.rows(undisturbed))


class Jumping(datetime):
    """A wall clock that somebody sets back an hour whenever it is read."""

    reads = 0

    @classmethod
    def now(cls, tz=None):
        cls.reads += 1
        return datetime(2026, 1, 1, 12, tzinfo=UTC) - timedelta(hours=cls.reads)


def test_a_clock_that_is_set_back_gives_no_negative_time(tmp_path, monkeypatch):
    monkeypatch.setattr(outcomes, "datetime", Jumping)
    planted = SimpleNamespace(__name__="planted", run=lambda *_: {"steps": 1})
    monkeypatch.setitem(sys.modules, experiments.info("copy").module, planted)
    assert 0 <= seconds(worker.measure([Cell.of(**CELL)], tmp_path, print)[0]) < 60
    assert 0 <= seconds(measured(tmp_path, QUICK)) < 60
