"""The training recipe, the same for every model, so that models differ only in their mixer.

On a CPU the same seed and number of threads give the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.optim import optimizers
from workflow.bench.measure import devices
from workflow.bench.measure.checkpoint import Checkpoint, History
from workflow.bench.outcomes import Diverged
from workflow.bench.tasks.base import IGNORED, Task

WARMUP_TOKENS = 50_000  # over which AdamW's rate rises to its value ...
WARMUP_MOST = 0.1  # ... or over this share of a smaller budget
FLOOR = 0.1  # share of the rate that the cosine ends at
CLIP_NORM = 1.0
CHECK_STEPS = 4  # steps between two evaluations, where one sequence is enough
CHECK_SYMBOLS = 64  # least symbols that an evaluation scores
STOP_CHECKS = 2  # evaluations in a row at stop_accuracy that end training
LEARNED = 0.95  # the paper's threshold: tokens_to_95
Batch = tuple[Tensor, Tensor]  # tokens int64[B, N], targets int64[B, N]


class Report(Protocol):
    """Called with the fraction of the work that is done, and with values to show."""

    def __call__(self, done: float, **values: float) -> None:
        """`done` goes from 0 to 1."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run: `tokens` is budget and horizon, stop_accuracy 0 uses it all."""

    tokens: int
    lr: float
    dtype: str = "float32"
    stop_accuracy: float = 0.0
    schedule: str = "cosine"  # or constant; both warm up

    def rate_share(self, used: int) -> float:
        """Return the share of `lr` for the step that completes `used` tokens."""
        warm = min(1.0, used / min(WARMUP_TOKENS, WARMUP_MOST * self.tokens))
        if self.schedule == "constant":
            return warm
        done = min(1.0, used / self.tokens)
        return warm * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    device: torch.device,
    report: Report,
    folder: Path | None = None,
    stop: Callable[[History], bool] | None = None,
) -> History:
    """Train until the budget is used, stop_accuracy is reached or `stop` returns True.

    `stop` is called after each evaluation. Resume from `folder`. Raise Diverged, with the row keys
    so far, when the loss is not finite.
    """
    history = History()
    stepper = Stepper(model.train(), recipe, device)
    sequences = math.ceil(CHECK_SYMBOLS / task.supervised)  # of one evaluation
    torch.manual_seed(task.seeds.order)
    checkpoint = Checkpoint(folder, model, stepper.optimizers, history, device)
    steps_done = checkpoint.restore()
    stepper.tokens_used = history.tokens_used
    for step in range(steps_done, task.steps(recipe.tokens)):
        _train_step(stepper, task, step, history)
        if (step + 1) % check_steps(sequences, task.batch) == 0:
            batch = task.batch_of("check", len(history.evaluations), sequences)
            _evaluate(model, batch, recipe, device, history)
            if _may_stop(history, recipe.stop_accuracy) or (stop is not None and stop(history)):
                break
        checkpoint.keep()
        values = {"loss": history.losses[-1][1]}
        if history.evaluations:
            values["accuracy"] = history.evaluations[-1][2]
        report(history.tokens_used / recipe.tokens, **values)
    return history


class Stepper:
    """One model in training. `step` is forward, backward and update, nothing else."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.optimizers = optimizers(model, recipe.lr)
        self.tokens_used = 0

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a forward pass, float[], with its graph."""
        with devices.precision(self.device, self.recipe.dtype):
            return supervised_loss(self.model(tokens), targets)

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the loss before the update, on the device: reading it would disturb timing."""
        self.tokens_used += tokens.numel()
        share = self.recipe.rate_share(self.tokens_used)
        for optimizer in self.optimizers:
            # A table's rule divides by the gradient's own size and needs no schedule.
            if isinstance(optimizer, torch.optim.AdamW):
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * share
        loss = self.loss(tokens, targets)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.AdamW):
                groups = optimizer.param_groups
                nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], CLIP_NORM)
            optimizer.step()
        return loss.detach()


def supervised_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats, float[], where targets are not IGNORED."""
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED)


def set_progress(model: nn.Module, done: float) -> None:
    """Set the fraction of the budget used, for models with schedules."""
    setter: Callable[[float], None] | None = getattr(model, "set_progress", None)
    if setter is not None:
        setter(done)


def check_steps(sequences: int, batch: int) -> int:
    """Return the steps between two evaluations of `sequences`, so that they cost little."""
    return CHECK_STEPS * max(1, math.ceil(2 * (sequences - 1) / batch))


def _train_step(stepper: Stepper, task: Task, step: int, history: History) -> None:
    tokens, targets = task.training_batch(step)
    tokens, targets = tokens.to(stepper.device), targets.to(stepper.device)
    set_progress(stepper.model, history.tokens_used / stepper.recipe.tokens)
    start = time.perf_counter()
    loss = float(stepper.step(tokens, targets))  # reading the loss waits for the device
    history.seconds += time.perf_counter() - start
    history.steps = step + 1
    history.tokens_used += task.tokens_a_step
    if not math.isfinite(loss):
        reason = f"the loss became {loss} at step {step + 1} ({history.tokens_used} tokens)"
        raise Diverged(reason, history.row())
    history.losses.append((history.tokens_used, loss))


def _evaluate(
    model: nn.Module, batch: Batch, recipe: Recipe, device: torch.device, history: History
) -> None:
    """Evaluate on new held-out sequences; the time does not count as training."""
    with state_kept(model, device):
        loss, correct, correct_training = score_batch(model, batch, recipe.dtype, device)
    accuracy = float(correct.double().mean())
    accuracy_training = float(correct_training.double().mean())
    history.evaluations.append((history.tokens_used, loss, accuracy, accuracy_training))
    if accuracy >= LEARNED and history.tokens_to_95 is None:
        history.tokens_to_95, history.seconds_to_95 = history.tokens_used, history.seconds


def _may_stop(history: History, accuracy: float) -> bool:
    last = history.evaluations[-STOP_CHECKS:]
    if accuracy == 0 or len(last) < STOP_CHECKS:
        return False
    return all(hard >= accuracy for _, _, hard, _ in last)


@contextmanager
def state_kept(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Disable gradients inside; afterwards restore the model's mode and the random generators."""
    training = model.training
    accelerators = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
        try:
            yield
        finally:
            model.train(training)


def score_batch(
    model: nn.Module, batch: Batch, dtype: str, device: torch.device
) -> tuple[float, Tensor, Tensor]:
    """Return the loss in hard inference and the correct symbols, there and in training mode.

    Symbols are bool[B, supervised]. A `one_mode` model, whose modes compute the same, runs once.
    """
    loss, correct = _predict(model.eval(), batch, dtype, device)
    if getattr(model, "one_mode", False):
        return loss, correct, correct
    return loss, correct, _predict(model.train(), batch, dtype, device)[1]


def _predict(
    model: nn.Module, batch: Batch, dtype: str, device: torch.device
) -> tuple[float, Tensor]:
    """Return loss and correct symbols as `score_batch` does, in the model's present mode."""
    tokens, targets = (tensor.to(device) for tensor in batch)
    with devices.precision(device, dtype):
        logits = model(tokens)
    loss = float(supervised_loss(logits, targets))
    supervised = targets != IGNORED
    correct = (logits.argmax(-1) == targets)[supervised]
    return loss, correct.view(len(tokens), -1).cpu()
