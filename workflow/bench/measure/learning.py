"""Train a model on a task and score it on fresh sequences, the same for every model and task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workflow.bench import registry
from workflow.bench.cell import Cell
from workflow.bench.measure import devices, models
from workflow.bench.measure.causality import audit
from workflow.bench.measure.checkpoint import FOLDER, History
from workflow.bench.measure.statistics import wilson
from workflow.bench.measure.training import (
    Recipe,
    Report,
    score_batch,
    set_progress,
    state_kept,
    train,
)
from workflow.bench.outcomes import Diverged
from workflow.bench.tasks.base import Task


def run(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the measured row keys of a cell; raise Diverged, with those so far."""
    return train_and_score(cell.resolved(), report, folder)[1]


def train_and_score(cell: Cell, report: Report, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained model and the row keys of a resolved cell.

    Raise Diverged, with the row keys so far, or Leaks if the trained model sees the future.
    """
    device, task = devices.resolve(cell.device), cell.learned()
    devices.make_deterministic()
    model = models.build(cell, device)
    row = models.describe(model, cell)
    row |= {"chance": task.chance, "tokens_budget": cell.tokens} | task.facts()
    recipe = Recipe(cell.tokens, cell.lr, cell.dtype, cell.stop_accuracy, cell.schedule)
    history = History()
    causal = registry.info(cell.model).causal
    if models.is_trained(model) and cell.tokens:
        if causal:
            audit(model, task, device, cell.dtype)
        try:
            history = train(model, task, recipe, device, report, folder / FOLDER)
        except Diverged as diverged:
            raise Diverged(str(diverged), row | diverged.row) from None
        set_progress(model, history.tokens_used / cell.tokens)
    how = cell.evaluate_symbols, cell.dtype, device
    score = evaluate(model, task, *how)
    row |= history.row() | score | task.facts(score["loss"])
    sizes = []  # beyond those of training
    for size, larger in task.further().items():
        other = evaluate(model, larger, *how)
        sizes.append([size, other["accuracy"], other["n_evaluated"]])
    row["accuracy_by_size"] = sizes or None
    if causal:
        audit(model, task, device, cell.dtype)
    return model, row


def evaluate(
    model: nn.Module, task: Task, symbols: int, dtype: str, device: torch.device
) -> dict[str, Any]:
    """Return the row keys of an evaluation on at least `symbols` fresh symbols."""
    losses, correct = list[float](), list[int]()  # correct: of each sequence, hard inference
    correct_training = 0
    with state_kept(model, device):
        torch.manual_seed(task.seeds.order)
        for index in range(math.ceil(symbols / task.supervised / task.batch)):
            batch = task.batch_of("evaluate", index, task.batch)
            loss, hard, training = score_batch(model, batch, dtype, device)
            losses.append(loss)
            correct += hard.sum(1).tolist()
            correct_training += int(training.sum())
    total = task.supervised * len(correct)
    low, high = wilson(sum(correct), total)
    return {
        "loss": sum(losses) / len(losses),
        "accuracy": sum(correct) / total,
        "accuracy_train_mode": correct_training / total,
        "accuracy_low": low,
        "accuracy_high": high,
        "n_evaluated": total,
        "correct_by_sequence": correct,
    }
