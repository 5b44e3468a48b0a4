"""The experiments that train a model on a task and score it: what is right after a budget of tokens?

`copy` (paper section 3.2) and the tasks of the field differ in their sequences alone (workflow.bench.tasks). Budget,
data and recipe are equal for every model; the score is hard argmax inference on fresh sequences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from workflow.bench.measure import devices, models
from workflow.bench.measure.checkpoint import CHECKPOINT
from workflow.bench.measure.evaluate import evaluate
from workflow.bench.measure.trained import audit
from workflow.bench.measure.training import History, Recipe, Report, tell_progress, train
from workflow.bench.outcomes import Diverged
from workflow.bench.settings import Settings
from workflow.bench.tasks import Task


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The measured row keys of a cell; raises Diverged, with the row so far. Leaves nothing in `folder`."""
    return train_and_score(settings.resolved(), report, folder)[1]


def train_and_score(settings: Settings, report: Report, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model and the row keys; settings resolved. `folder` is where a long training keeps its state.

    The one place where experiments train: raises Leaks where the trained model sees the future.
    """
    device, task = devices.resolve(settings.device), models.task_of(settings)
    devices.make_deterministic()
    model = models.build(settings, device)
    row = models.describe(model, settings) | {"chance": task.chance, "tokens_budget": settings.tokens} | task.facts()
    try:
        history = _train(model, task, settings, device, report, folder)
    except Diverged as diverged:
        raise Diverged(str(diverged), row | diverged.row) from None
    row |= history.row() | _scores(model, task, settings, device)
    audit(model, settings)
    return model, row


def _train(
    model: nn.Module, task: Task, settings: Settings, device: torch.device, report: Report, folder: Path
) -> History:
    """Trains, or leaves an untrained control as it is; afterwards the model is at the progress that it reached."""
    if not models.is_trained(model):
        return History()
    recipe = Recipe(settings.tokens, settings.lr, settings.dtype, settings.stop_accuracy)
    history = train(model, task, recipe, device, report, folder / CHECKPOINT)
    tell_progress(model, history.tokens_used / settings.tokens)
    return history


def _scores(model: nn.Module, task: Task, settings: Settings, device: torch.device) -> dict[str, Any]:
    """The row keys of the evaluation, and the accuracy at sizes that training never showed."""
    score = evaluate(model, task, settings.evaluate_symbols, settings.dtype, device)
    further = {
        size: evaluate(model, other, settings.evaluate_symbols, settings.dtype, device)
        for size, other in task.further().items()
    }
    sizes = [[size, other.accuracy, other.row()["n_evaluated"]] for size, other in further.items()]
    return score.row() | task.facts(score.loss) | {"accuracy_by_size": sizes or None}
