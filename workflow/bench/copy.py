"""Experiment `copy` (paper section 3.2): after a budget of tokens, is the symbol D positions back found?

Equal budget, data and recipe for every model; the score is hard argmax inference on fresh sequences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from workflow.bench import devices, evaluate, models
from workflow.bench.outcomes import Diverged
from workflow.bench.settings import Settings
from workflow.bench.train import History, Recipe, Report, tell_progress, train


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The measured row keys of a copy cell; raises Diverged, with the row so far. Leaves nothing in `folder`."""
    return train_and_score(settings.resolved(), report)[1]


def train_and_score(settings: Settings, report: Report) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model and the row keys; settings resolved."""
    device, task = devices.resolve(settings.device), models.copy_task(settings)
    devices.make_deterministic()
    model = models.build(settings, device)
    row = models.describe(model, settings) | {"distance": settings.distance, "chance": 1 / settings.symbols}
    row |= {"tokens_budget": settings.tokens}
    try:
        history = _train(model, settings, device, report)
    except Diverged as diverged:
        raise Diverged(str(diverged), row | diverged.row) from None
    score = evaluate.evaluate(model, task, settings.evaluate_symbols, settings.dtype, device)
    return model, row | history.row() | score.row()


def _train(model: nn.Module, settings: Settings, device: torch.device, report: Report) -> History:
    """Trains, or leaves an untrained control as it is; afterwards the model is at the progress that it reached."""
    if not models.is_trained(model):
        return History()
    recipe = Recipe(settings.tokens, settings.lr, settings.dtype, settings.stop_accuracy)
    history = train(model, models.copy_task(settings), recipe, device, report)
    tell_progress(model, history.tokens_used / settings.tokens)
    return history
