"""The tables: each a function of the frame, registered by name; `write` makes CSV, Markdown, LaTeX and HTML of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.report import goals as goals_
from workflow.report import render
from workflow.report.ablation_tables import ablation, fairness, two_hop
from workflow.report.copy_tables import copy_accuracy, copy_loss, hops, parameters
from workflow.report.estimates import build
from workflow.report.layout import Table
from workflow.report.mixer_tables import mixers
from workflow.report.task_tables import bytes_, recall
from workflow.report.timing_tables import memory, operations, scaling, speedup, throughput, training_time


def goals(frame: pd.DataFrame) -> Table:
    """What pointer was built to reach, cell by cell."""
    return goals_.goals(build(frame))


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


def write(frame: pd.DataFrame, out: Path, tier: str = "", names: Iterable[str] = tuple(TABLES)) -> list[Path]:
    """The named tables, all by default, in every format; returns the files. Raises InputError for an unknown name."""
    for name in names:
        if name not in TABLES:
            raise InputError.unknown("table", name, TABLES, "`--names`")
    return [path for name in names for path in render.write(TABLES[name](frame), out, tier)]
