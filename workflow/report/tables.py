"""The tables: each a function of the frame, registered by name; `write` makes CSV, Markdown, LaTeX and HTML of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workflow.report import render
from workflow.report.ablation_tables import ablation, fairness, two_hop
from workflow.report.copy_tables import copy_accuracy, copy_loss, hops, parameters
from workflow.report.goals import goals
from workflow.report.layout import Table
from workflow.report.mixer_tables import mixers
from workflow.report.task_tables import bytes_, recall
from workflow.report.timing_tables import memory, operations, scaling, speedup, throughput, training_time

_ALL: tuple[Callable[[pd.DataFrame], Table], ...] = (
    training_time,
    throughput,
    speedup,
    memory,
    copy_accuracy,
    copy_loss,
    hops,
    operations,
    scaling,
    parameters,
    mixers,
    goals,
    ablation,
    two_hop,
    fairness,
    recall,
    bytes_,
)
TABLES = {build.__name__.rstrip("_"): build for build in _ALL}


def write(frame: pd.DataFrame, out: Path, tier: str = "") -> list[Path]:
    """Every table in every format; returns the files."""
    return [path for build in TABLES.values() for path in render.write(build(frame), out, tier)]
