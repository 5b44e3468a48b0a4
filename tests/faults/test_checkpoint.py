"""A training that was killed goes on where it was: the same losses, bit for bit, as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from workflow.bench.measure import checkpoint, models, training
from workflow.bench.measure.checkpoint import CHECKPOINT, FILE
from workflow.bench.rows import read_row
from workflow.bench.settings import Settings
from workflow.bench.store import Store

CPU = torch.device("cpu")
STEPS, KEPT_AT, STOPPED_AT = 12, 6, 8  # two steps are lost, and done again
CELL: dict[str, Any] = {
    "experiment": "copy", "distance": 8, "length": 24, "batch": 2, "threads": 1, "tokens": 48 * STEPS,
    "evaluate_symbols": 50,
}  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process."""


def trained(model: str, folder: Path | None, stop_at: int = 0) -> tuple[training.History, dict[str, torch.Tensor]]:
    """History and weights of a small training; one that stops raises Killed."""
    cell = Settings(model=model, **CELL).validate().resolved()
    built, steps = models.build(cell, CPU), [0]

    def report(done: float, **_: float) -> None:
        steps[0] += 1
        if steps[0] == stop_at:
            raise Killed

    recipe = training.Recipe(cell.tokens, cell.lr)
    history = training.train(built, models.task_of(cell), recipe, CPU, report, folder)
    return history, built.state_dict()


@pytest.fixture
def kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after KEPT_AT steps and no other."""

    def keep(self: checkpoint.Checkpoint) -> None:
        if self.folder is not None and self.history.steps == KEPT_AT:
            self.save(self.folder)

    monkeypatch.setattr(checkpoint.Checkpoint, "keep", keep)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pointer", "transformer-relative", "reformer"])
def test_losses_and_weights_are_those_of_an_unbroken_run(
    model: str, tmp_path: Path, kept_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table momentum, amortised credit and noise; a table beside AdamW; hashes drawn at every step."""
    torch.set_num_threads(1)
    whole, weights = trained(model, None)
    with pytest.raises(Killed):
        trained(model, tmp_path, STOPPED_AT)
    torch.manual_seed(12345)  # whatever the next process drew before
    steps: list[int] = []
    restore = checkpoint.Checkpoint.restore
    monkeypatch.setattr(checkpoint.Checkpoint, "restore", lambda self: steps.append(restore(self)) or steps[-1])
    again, resumed = trained(model, tmp_path)
    assert steps == [KEPT_AT]
    assert again.losses == whole.losses
    assert len(again.losses) == STEPS
    assert again.evaluations == whole.evaluations
    assert (again.steps, again.tokens_used, again.tokens_to_95) == (whole.steps, whole.tokens_used, whole.tokens_to_95)
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


class Small(nn.Module):
    """A model of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(1, 1, bias=False), 0


def state(folder: Path | None, steps: int = 0) -> checkpoint.Checkpoint:
    """The state of a training of Small after some steps."""
    small = Small()
    small.calls = steps
    stepper = training.Stepper(small, training.Recipe(1, 1e-3), CPU)
    return checkpoint.Checkpoint(
        folder, stepper, training.History(steps=steps, losses=[(n, 1.0) for n in range(steps)])
    )


@pytest.mark.parametrize("damage", ["none", "no tensors", "cut tensors", "cut json", "other place", "elsewhere"])
def test_a_checkpoint_that_is_not_whole_or_of_another_place_is_left_alone(damage: str, tmp_path: Path) -> None:
    state(None, 7).save(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    tensors = tmp_path / content["tensors"]
    if damage == "no tensors":
        tensors.unlink()
    elif damage == "cut tensors":
        tensors.write_bytes(tensors.read_bytes()[:-3])
    elif damage == "cut json":
        (tmp_path / FILE).write_text((tmp_path / FILE).read_text()[:-10])
    else:
        changed = {"other place": {"place": "torch 1.0"}, "elsewhere": {"tensors": "../../etc/passwd"}, "none": {}}
        (tmp_path / FILE).write_text(json.dumps(content | changed[damage]))
    fresh = state(tmp_path)
    assert fresh.restore() == (7 if damage == "none" else 0)
    model: Any = fresh.stepper.model
    assert (model.calls, len(fresh.history.losses)) == ((7, 7) if damage == "none" else (0, 0))
    assert bool(fresh.history.started) == (damage == "none")


def test_only_one_checkpoint_is_kept_and_none_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = state(tmp_path / "kept")
    training.keep()
    assert not (tmp_path / "kept").exists()
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", 0.0)
    for steps in (1, 2):
        training.history.steps = steps
        training.keep()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [FILE, "step-2.safetensors"]


RUN = """
import sys
from workflow.bench import cli, supervisor, verdicts
verdicts.of = lambda *_: verdicts.Verdict("ok")
often = "from workflow.bench.measure import checkpoint; checkpoint.SAVE_SECONDS = 0.3"
worker = f"import sys; {often}; from workflow.bench import worker; worker.main(sys.argv[1:])"
supervisor.run.__defaults__ = ((sys.executable, "-c", worker),)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_row_goes_on_and_equals_an_undisturbed_one(tmp_path: Path) -> None:
    cell = Settings(model="pointer", **CELL | {"tokens": 48 * 60})
    argv = [sys.executable, "-c", RUN, "run", *cell.to_argv(), "--store"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # waits for no other row of this machine
    running = subprocess.Popen([*argv, str(tmp_path / "loud"), "--out", str(tmp_path / "loud.json")], env=environment)
    left = Store(tmp_path / "loud").path(cell).with_suffix(".work") / CHECKPOINT / FILE
    deadline, steps = time.monotonic() + 120, 0
    while steps < 3:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)
        steps = json.loads(left.read_text())["history"]["steps"] if left.exists() else 0
    running.kill()
    running.wait()
    assert not (tmp_path / "loud.json").exists()
    time.sleep(1.0)  # the worker dies with its parent
    reached = json.loads(left.read_text())["history"]["steps"]
    assert 3 <= reached < 60
    for name in ("loud", "quiet"):
        out = ["--out", str(tmp_path / f"{name}.json")]
        subprocess.run([*argv, str(tmp_path / name), *out], check=True, timeout=200, env=environment)
    loud, quiet = (read_row(tmp_path / f"{name}.json") for name in ("loud", "quiet"))
    free = ("started", "ended", "train_seconds", "seconds_to_95", "digest")
    assert loud["status"] == "ok"
    assert {k: v for k, v in loud.items() if k not in free} == {k: v for k, v in quiet.items() if k not in free}
    assert loud["loss_curve"] == quiet["loss_curve"]
    assert loud["started"] < loud["ended"]
    assert not left.parent.parent.exists()  # dropped with the row
