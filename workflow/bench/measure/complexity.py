"""Experiment `complexity` (paper section 4.2): counted operations and bytes kept for the backward pass, over N, without
a clock.

One sequence a batch, whatever the setting says for other experiments, unless a batch is given.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from workflow.bench.measure import models
from workflow.bench.measure.efficiency import counted
from workflow.bench.measure.training import Report
from workflow.bench.settings import Settings


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The counted row keys of a complexity cell. Leaves nothing in `folder`."""
    cell = dataclasses.replace(settings, batch=settings.batch or 1).resolved()
    return models.describe(models.build(cell, torch.device("cpu")), cell) | counted(cell)
