"""Faults end in a row, or in one line and no row; a killed training goes on, bit for bit."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pipelines
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pointer.optim import optimizers
from workflow.bench import cli, experiments, outcomes
from workflow.bench.cell import Cell
from workflow.bench.measure import checkpoint, models, training
from workflow.bench.measure.checkpoint import FILE, FOLDER
from workflow.bench.rows import child, read_row, run, worker

CELL = {
    "experiment": "copy", "model": "pointer", "distance": 8, "length": 32, "batch": 2, "threads": 1,
    "evaluate_symbols": 100, "memory_limit_bytes": 2**30,
}  # fmt: skip
DISK_BYTES = 400_000
QUICK = "import sys; open(sys.argv[2], 'w').write('{\"steps\": 1}')"


def measured(tmp_path, **changes):
    folder = tmp_path / "files"
    folder.mkdir()
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
    code, result = pipelines.worked(tmp_path, Cell.of(**CELL, tokens=640))
    (row,) = result["rows"]
    assert code == 0
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


def test_a_full_disk_stops_with_a_line_and_loses_nothing(disk, measured, monkeypatch, capsys):
    fills, at_once = iter([False, True, False]), run.run  # does the disk, while a row is measured?

    def filling(cells, folder):
        made = at_once(cells, folder)
        (folder / "weights.safetensors").write_bytes(b"w" * 60_000)
        if next(fills):
            fill(disk)
        return made

    def bench(seed):
        argv = ["run", "--experiment", "copy", "--model", "chance", "--seed", str(seed)]
        return cli.main([*argv, "--keep", "--out", str(disk / f"{seed}.json")])

    monkeypatch.setattr(run, "run", filling)
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
    monkeypatch.setattr(child, "WORKER", (sys.executable, "-c", QUICK))
    assert 0 <= seconds(measured(tmp_path)) < 60


CPU = torch.device("cpu")
STEPS, KEPT_AT, STOPPED_AT = 12, 6, 8  # two steps are lost, and done again
TRAINED = {"experiment": "copy", "distance": 8, "length": 24, "batch": 2, "threads": 1}
TRAINED |= {"tokens": 48 * STEPS, "evaluate_symbols": 50}


class Killed(BaseException):
    """Stands for the end of the process."""


def trained(model, folder, stop_at=0):
    """History and weights of a small training; one that stops raises Killed."""
    cell = Cell.of(model=model, **TRAINED).resolved()
    built, steps = models.build(cell, CPU), [0]

    def report(done, **_):
        steps[0] += 1
        if steps[0] == stop_at:
            raise Killed

    recipe = training.Recipe(cell.tokens, cell.lr)
    history = training.train(built, cell.learned(), recipe, CPU, report, folder)
    return history, built.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pointer", "transformer-relative", "reformer"])
def test_losses_and_weights_are_those_of_an_unbroken_run(model, tmp_path, monkeypatch):
    """Table momentum, credit and noise; a table beside AdamW; hashes drawn at every step."""

    def keep(self):  # one checkpoint and no other
        if self.folder is not None and self.history.steps == KEPT_AT:
            self.save(self.folder)

    monkeypatch.setattr(checkpoint.Checkpoint, "keep", keep)
    torch.set_num_threads(1)
    whole, weights = trained(model, None)
    with pytest.raises(Killed):
        trained(model, tmp_path, STOPPED_AT)
    torch.manual_seed(12345)  # whatever the next process drew before
    steps, restore = [], checkpoint.Checkpoint.restore
    noted = lambda self: steps.append(restore(self)) or steps[-1]  # noqa: E731
    monkeypatch.setattr(checkpoint.Checkpoint, "restore", noted)
    again, resumed = trained(model, tmp_path)
    assert steps == [KEPT_AT]
    assert again.losses == whole.losses
    assert len(again.losses) == STEPS
    for name in ("evaluations", "steps", "tokens_used", "tokens_to_95"):
        assert getattr(again, name) == getattr(whole, name)
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


def state(folder, steps=0):
    small = nn.Linear(1, 1, bias=False)
    small.calls = steps
    history = training.History(steps=steps, losses=[(n, 1.0) for n in range(steps)])
    return checkpoint.Checkpoint(folder, small, optimizers(small, 1e-3), history, CPU)


@pytest.mark.parametrize(
    "damage", ["none", "missing", "cut short", "no checkpoint", "other platform"]
)
def test_a_damaged_checkpoint_or_of_another_platform_is_ignored(damage, tmp_path, monkeypatch):
    state(None, 7).save(tmp_path)
    path = tmp_path / FILE
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "no checkpoint":
        save_file({"weights": torch.zeros(1)}, path)
    elif damage == "other platform":
        monkeypatch.setattr(checkpoint, "platform", lambda device: "torch 1.0")
    fresh = state(tmp_path)
    assert fresh.restore() == (7 if damage == "none" else 0)
    model = fresh.model
    assert (model.calls, len(fresh.history.losses)) == ((7, 7) if damage == "none" else (0, 0))
    assert bool(fresh.history.started) == (damage == "none")


def steps_saved(path):
    """How many steps the checkpoint at `path` holds."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["state"])["history"]["steps"]


OFTEN = """
import sys
from workflow.bench.measure import checkpoint
from workflow.bench.rows import worker
checkpoint.SAVE_SECONDS = 0.3
worker.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_row_goes_on_and_equals_an_undisturbed_one(tmp_path):
    cell = Cell.of(model="pointer", **TRAINED | {"tokens": 48 * 60})
    argv = [sys.executable, "-c", pipelines.BENCH, OFTEN, "run", *cell.argv(), "--out"]
    running = subprocess.Popen([*argv, str(tmp_path / "loud.json")])
    left = tmp_path / ".loud.work" / FOLDER / FILE
    pipelines.eventually(lambda: steps_saved(left) >= 3, 120)
    running.kill()
    running.wait()
    assert not (tmp_path / "loud.json").exists()
    time.sleep(1.0)  # the worker dies with its parent
    reached = steps_saved(left)
    assert 3 <= reached < 60
    for name in ("loud", "quiet"):
        subprocess.run([*argv, str(tmp_path / f"{name}.json")], check=True, timeout=200)
    loud, quiet = (read_row(tmp_path / f"{name}.json") for name in ("loud", "quiet"))
    free = ("started", "ended", "train_seconds", "seconds_to_95", "digest")
    assert loud["status"] == "ok"
    assert loud | dict.fromkeys(free) == quiet | dict.fromkeys(free)
    assert loud["started"] < loud["ended"]
    assert not left.parent.parent.exists()  # dropped with the row
