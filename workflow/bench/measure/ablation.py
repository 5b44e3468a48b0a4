"""Experiment `ablation`: which part of a model makes it learn to copy?

A cell is a copy cell whose mixer settings differ, mostly in one place, from the model's own;
the config lists them as `variants`. What counts is the tokens until 95%. Models that point also say how far, by layer,
and whether a pointer is degenerate: a variant that reaches the distance in two hops shows here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pointer import trace
from pointer.errors import InputError
from workflow.bench.measure import models
from workflow.bench.measure.interpretability import hop_statistics
from workflow.bench.measure.learning import train_and_score
from workflow.bench.measure.training import Report
from workflow.bench.settings import Settings
from workflow.bench.tasks import IGNORED


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The measured row keys of an ablation cell; raises Diverged, with the row so far. Leaves nothing in `folder`."""
    cell = settings.resolved()
    model, row = train_and_score(cell, report, folder)
    return row | pointing(model, cell)


def pointing(model: nn.Module, cell: Settings) -> dict[str, Any]:
    """Hop statistics over the positions that copy, of a fresh batch, and warnings; nothing for models without
    pointers."""
    tokens, targets = models.task_of(cell).batch_of("trace", 0, cell.batch)
    try:
        found = trace(model, tokens.to(next(model.parameters(), torch.empty(0)).device))
    except InputError:
        return {}
    return hop_statistics(found.hops[..., (targets != IGNORED)[0]]) | {"warnings": found.warnings()}
