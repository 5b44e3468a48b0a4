"""The experiments, one declarative entry each; every task has one of its own name, which trains
on it and scores fresh sequences. Importing this module loads no torch."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any

from pointer.errors import InputError
from workflow.bench import tasks

WHERE = "`--experiment`, or `experiments` in the config"
TASKS = {name: tasks.info(name) for name in tasks.TASKS}
AXES = sorted({task.axis for task in TASKS.values()} - {"length"})  # the parameters tasks vary over


@dataclass(frozen=True)
class Experiment:
    """`timing` rows run alone; `task` is what is learned, with `any_task` unless a cell says."""

    name: str
    question: str
    measured_by: str = "learning:run"  # module and function in workflow.bench.measure
    task: str = ""
    timing: bool = False
    any_task: bool = False

    @property
    def module(self) -> str:
        """The module that measures it."""
        return f"workflow.bench.measure.{self.measured_by.partition(':')[0]}"

    def load(self) -> Any:
        """Return the function: `(cell, report, folder) -> row keys`, or see timing.efficiency."""
        return pkgutil.resolve_name(f"workflow.bench.measure.{self.measured_by}")

    @property
    def trains(self) -> bool:
        """Whether a model is trained to solve a task."""
        return bool(self.task)


_ENTRIES = (
    Experiment("efficiency", "time to train and to infer over N", "timing:efficiency", timing=True),
    Experiment("memory", "peak memory of a training step over N", "costs:peak_memory"),
    Experiment("copy", TASKS["copy"].question, task="copy"),
    Experiment("untrained", "what a model copies that was never trained", task="copy"),
    Experiment("rates", "which learning rate learns best", "search:run", "copy", any_task=True),
    Experiment(
        "interpretability", "reach of pointers", "pointers:interpretability", "copy", any_task=True
    ),
    Experiment("complexity", "counted work and bytes kept over N", "costs:complexity"),
    Experiment("ablation", "which part makes a model copy, and when", "pointers:ablation", "copy"),
    Experiment("two_hop", "what the chain gives beyond a pointer", "pointers:ablation", "copy"),
    Experiment("repository", "what the paper's public code reports", "pointers:ablation", "bytes"),
    *(Experiment(name, task.question, task=name) for name, task in TASKS.items() if name != "copy"),
)
EXPERIMENTS = {entry.name: entry for entry in _ENTRIES}


def info(name: str) -> Experiment:
    """Return the entry of an experiment; raise InputError for an unknown one."""
    if name not in EXPERIMENTS:
        raise InputError.unknown("experiment", name, EXPERIMENTS, WHERE)
    return EXPERIMENTS[name]
