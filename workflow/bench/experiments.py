"""The experiments, one declarative entry each; every task has one of its own name, which trains on it and scores fresh
sequences. Importing this module loads no torch. The module that an entry names measures it, in the worker."""

from __future__ import annotations

from dataclasses import dataclass

from pointer.errors import InputError
from workflow.bench import tasks

WHERE = "`--experiment`, or `experiments` in the config"


@dataclass(frozen=True)
class Experiment:
    """`timing` rows run alone on the machine; `task` is what is learned, with `any_task` the default of what may be."""

    name: str
    measured_by: str  # a module of workflow.bench
    question: str
    timing: bool = False
    task: str = ""
    any_task: bool = False

    @property
    def module(self) -> str:
        """The module that measures it."""
        return f"workflow.bench.{self.measured_by}"

    @property
    def trains(self) -> bool:
        """Whether a model is trained to solve a task."""
        return bool(self.task)


TASKS = {name: tasks.info(name) for name in tasks.TASKS}


def _learning(task: str) -> Experiment:
    """Return the experiment that trains on a task and scores fresh sequences."""
    return Experiment(task, "learning", TASKS[task].question, task=task)


_ENTRIES = (
    Experiment(
        "efficiency",
        "efficiency",
        "time, throughput, peak memory of a training step and of inference over N",
        timing=True,
    ),
    _learning("copy"),
    Experiment(
        "interpretability",
        "interpretability",
        "how far the pointers of a model trained on a task reach, layer by layer",
        task="copy",
        any_task=True,
    ),
    Experiment("complexity", "complexity", "counted operations and bytes kept for the backward pass over N"),
    Experiment(
        "fairness",
        "fairness",
        "is copying due to the pointer or to the positional encoding, in ten times the tokens?",
        task="copy",
    ),
    Experiment(
        "ablation", "ablation", "which part of a model makes it learn to copy, after how many tokens?", task="copy"
    ),
    Experiment(
        "two_hop", "two_hop", "what does the chain give at distances that no single pointer reaches?", task="copy"
    ),
    *(_learning(name) for name in TASKS if name != "copy"),
)
EXPERIMENTS = {entry.name: entry for entry in _ENTRIES}


def info(name: str) -> Experiment:
    """Return the entry of an experiment; raise InputError with the nearest name for an unknown one."""
    if name not in EXPERIMENTS:
        raise InputError.unknown("experiment", name, EXPERIMENTS, WHERE)
    return EXPERIMENTS[name]
