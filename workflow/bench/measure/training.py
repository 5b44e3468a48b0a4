"""One training recipe for every model, so that models differ in their mixer alone.

AdamW for the trunk and the mixers, a mixer's own rule for its offset tables (pointer.optim), a short linear warm-up,
gradients clipped to norm 1, the loss at supervised positions only, and never a token beyond the budget. On a CPU the
same seed and thread count give the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.optim import optimizers
from workflow.bench.measure import devices
from workflow.bench.measure.checkpoint import Checkpoint
from workflow.bench.outcomes import Diverged
from workflow.bench.tasks import IGNORED, Task

WARMUP_STEPS = 5  # steps over which AdamW's rate rises to its value
CLIP_NORM = 1.0
CHECK_STEPS = 4  # steps between two looks at held-out sequences, where one sequence is enough
CHECK_SYMBOLS = 64  # symbols that a look scores, at least
STOP_CHECKS = 2  # checks in a row at stop_accuracy that end training
LEARNED = 0.95  # the paper's line: tokens_to_95
CURVE_POINTS = 200  # a loss curve holds at most this many


class Report(Protocol):
    """Called with the fraction done and what to show; see workflow.bench.progress."""

    def __call__(self, done: float, **values: float) -> None:
        """`done` goes from 0 to 1."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run. `tokens` is the budget; stop_accuracy 0 means to use all of it."""

    tokens: int
    lr: float
    dtype: str = "float32"
    stop_accuracy: float = 0.0


@dataclass
class History:
    """What happened: losses in nats a symbol, accuracies as fractions, seconds of training alone."""

    steps: int = 0
    tokens_used: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)  # (tokens, training loss)
    evaluations: list[tuple[int, float, float, float]] = field(
        default_factory=list
    )  # (tokens, loss, hard, training mode)
    tokens_to_95: int | None = None
    seconds_to_95: float | None = None
    started: str = ""  # of a training that goes on: when it began

    def row(self) -> dict[str, object]:
        """The row keys of a training run; loss and accuracy are the evaluation's."""
        return {
            "steps": self.steps,
            "tokens_used": self.tokens_used,
            "train_seconds": self.seconds,
            "tokens_to_95": self.tokens_to_95,
            "seconds_to_95": self.seconds_to_95,
            "loss_curve": thin([list(point) for point in self.losses], CURVE_POINTS),
            "evaluations": thin([list(point) for point in self.evaluations], CURVE_POINTS),
            **({"started": self.started} if self.started else {}),
        }


def thin(points: list[list[float]], most: int) -> list[list[float]]:
    """At most `most` of the points, evenly spread, first and last included."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def supervised_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the positions whose target is not IGNORED: logits float[B, N, V], targets
    int64[B, N]."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


class Stepper:
    """One model under training: `step` is forward, backward and update, nothing else."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.optimizers = optimizers(model, recipe.lr)
        self.count = 0

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The forward pass: float[], with its graph."""
        with devices.precision(self.device, self.recipe.dtype):
            return supervised_loss(self.model(tokens), targets)

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss before the update, on the device: reading it is left to the caller, who may be timing."""
        self._warm_up()
        loss = self.loss(tokens, targets)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.AdamW):
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], CLIP_NORM)
            optimizer.step()
        self.count += 1
        return loss.detach()

    def _warm_up(self) -> None:
        """A table's rule divides by the gradient's own size and needs no warm-up."""
        share = min(1.0, (self.count + 1) / WARMUP_STEPS)
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.AdamW):
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * share


def train(
    model: nn.Module, task: Task, recipe: Recipe, device: torch.device, report: Report, work: Path | None = None
) -> History:
    """Trains until the budget is used or stop_accuracy is reached; raises Diverged, with the row so far, when the loss
    is not finite. A long training keeps its state in the folder `work`, and goes on from what it finds there."""
    history, stepper = History(), Stepper(model.train(), recipe, device)
    checked = math.ceil(CHECK_SYMBOLS / task.supervised)
    torch.manual_seed(task.seeds.order)
    state = Checkpoint(work, stepper, history)
    for step in range(state.restore(), task.steps(recipe.tokens)):
        _one_step(stepper, task, step, history)
        if (step + 1) % check_steps(checked, task.batch) == 0:
            _check(model, task.batch_of("check", len(history.evaluations), checked), recipe, device, history)
            if _may_stop(history, recipe.stop_accuracy):
                break
        state.keep()
        seen = {"accuracy": history.evaluations[-1][2]} if history.evaluations else {}
        report(history.tokens_used / recipe.tokens, loss=history.losses[-1][1], **seen)
    return history


def _one_step(stepper: Stepper, task: Task, step: int, history: History) -> None:
    tokens, targets = (t.to(stepper.device) for t in task.training_batch(step))
    tell_progress(stepper.model, history.tokens_used / stepper.recipe.tokens)
    start = time.perf_counter()
    loss = float(stepper.step(tokens, targets))  # reading the loss waits for the device
    history.seconds += time.perf_counter() - start
    history.steps, history.tokens_used = step + 1, history.tokens_used + task.tokens_a_step
    if not math.isfinite(loss):
        raise Diverged(f"the loss became {loss} at step {step + 1} ({history.tokens_used} tokens)", history.row())
    history.losses.append((history.tokens_used, loss))


def check_steps(checked: int, batch: int) -> int:
    """Steps between two looks at `checked` sequences: so many that looking stays a small part of training."""
    return CHECK_STEPS * max(1, math.ceil(2 * (checked - 1) / batch))


def _check(
    model: nn.Module, batch: tuple[Tensor, Tensor], recipe: Recipe, device: torch.device, history: History
) -> None:
    """Looks at held-out sequences, new ones each time; its time does not count as training."""
    with apart(model, device):
        loss, correct, noisy = predict_both(model, batch, recipe.dtype, device)
    accuracy = float(correct.double().mean())
    history.evaluations.append((history.tokens_used, loss, accuracy, float(noisy.double().mean())))
    if accuracy >= LEARNED and history.tokens_to_95 is None:
        history.tokens_to_95, history.seconds_to_95 = history.tokens_used, history.seconds


def _may_stop(history: History, accuracy: float) -> bool:
    last = history.evaluations[-STOP_CHECKS:]
    return accuracy > 0 and len(last) == STOP_CHECKS and all(hard >= accuracy for _, _, hard, _ in last)


def tell_progress(model: nn.Module, done: float) -> None:
    """Tells a model with schedules which fraction of its budget is used."""
    setter: Callable[[float], None] | None = getattr(model, "set_progress", None)
    if setter is not None:
        setter(done)


@contextmanager
def apart(model: nn.Module, device: torch.device) -> Iterator[None]:
    """What happens inside leaves the model's mode and the random numbers of training as they were; no gradients."""
    training = model.training
    accelerators = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
        try:
            yield
        finally:
            model.train(training)


def predict_both(
    model: nn.Module, batch: tuple[Tensor, Tensor], dtype: str, device: torch.device
) -> tuple[float, Tensor, Tensor]:
    """Loss and which symbols are right in hard inference, and which in training mode: one pass where a model promises
    that both are the same."""
    loss, right = predict(model.eval(), batch, dtype, device)
    return loss, right, right if getattr(model, "one_mode", False) else predict(model.train(), batch, dtype, device)[1]


def predict(model: nn.Module, batch: tuple[Tensor, Tensor], dtype: str, device: torch.device) -> tuple[float, Tensor]:
    """Loss in nats a symbol, and which of each sequence's supervised symbols are right, bool[B, supervised]; in the
    model's present mode."""
    tokens, targets = (t.to(device) for t in batch)
    with devices.precision(device, dtype):
        logits = model(tokens)
    loss = float(supervised_loss(logits, targets))
    wanted = targets != IGNORED
    return loss, (logits.argmax(-1) == targets)[wanted].view(len(tokens), -1).cpu()
