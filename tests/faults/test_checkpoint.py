"""A training that was killed goes on where it was, bit for bit as one that nobody disturbed."""

import json
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pointer.optim import optimizers
from workflow.bench.cell import Cell
from workflow.bench.measure import checkpoint, models, training
from workflow.bench.measure.checkpoint import FILE, FOLDER
from workflow.bench.rows import read_row

CPU = torch.device("cpu")
STEPS, KEPT_AT, STOPPED_AT = 12, 6, 8  # two steps are lost, and done again
CELL = {"experiment": "copy", "distance": 8, "length": 24, "batch": 2, "threads": 1}
CELL |= {"tokens": 48 * STEPS, "evaluate_symbols": 50}


class Killed(BaseException):
    """Stands for the end of the process."""


def trained(model, folder, stop_at=0):
    """History and weights of a small training; one that stops raises Killed."""
    cell = Cell.of(model=model, **CELL).resolved()
    built, steps = models.build(cell, CPU), [0]

    def report(done, **_):
        steps[0] += 1
        if steps[0] == stop_at:
            raise Killed

    recipe = training.Recipe(cell.tokens, cell.lr)
    history = training.train(built, cell.learned(), recipe, CPU, report, folder)
    return history, built.state_dict()


@pytest.fixture
def kept_once(monkeypatch):
    """A checkpoint after KEPT_AT steps and no other."""

    def keep(self):
        if self.folder is not None and self.history.steps == KEPT_AT:
            self.save(self.folder)

    monkeypatch.setattr(checkpoint.Checkpoint, "keep", keep)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pointer", "transformer-relative", "reformer"])
def test_losses_and_weights_are_those_of_an_unbroken_run(model, tmp_path, kept_once, monkeypatch):
    """Table momentum, credit and noise; a table beside AdamW; hashes drawn at every step."""
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


class Small(nn.Module):
    """A model of one weight."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(1, 1, bias=False), 0


def state(folder, steps=0):
    small = Small()
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
    """How many steps the checkpoint at `path` holds; 0 if there is none."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["state"])["history"]["steps"]


RUN = """
import sys
from workflow.bench import cli
from workflow.bench.rows import child, contracts
contracts.verdict = lambda *_: contracts.Verdict("pointer", {}, "", "ok", [])
often = "from workflow.bench.measure import checkpoint; checkpoint.SAVE_SECONDS = 0.3"
worker = f"import sys; {often}; from workflow.bench.rows import worker; worker.main(sys.argv[1:])"
child.WORKER = (sys.executable, "-c", worker)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_row_goes_on_and_equals_an_undisturbed_one(tmp_path):
    cell = Cell.of(model="pointer", **CELL | {"tokens": 48 * 60})
    argv = [sys.executable, "-c", RUN, "run", *cell.argv(), "--out"]
    running = subprocess.Popen([*argv, str(tmp_path / "loud.json")])
    left = tmp_path / ".loud.work" / FOLDER / FILE
    deadline, steps = time.monotonic() + 120, 0
    while steps < 3:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)
        steps = steps_saved(left)
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
    assert loud["loss_curve"] == quiet["loss_curve"]
    assert loud["started"] < loud["ended"]
    assert not left.parent.parent.exists()  # dropped with the row
