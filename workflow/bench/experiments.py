"""The experiments and the tasks that models learn in them, one declarative entry each. Importing this module loads no
torch.

An experiment is measured by a function of the room `workflow.bench.measure`, which the worker calls. A task is a class
in workflow.bench.tasks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pointer.errors import InputError

Axis = Literal["length", "distance", "pairs", "hops", "letters"]
WHERE = "`--experiment`, or `experiments` in the config"


@dataclass(frozen=True)
class TaskEntry:
    """A task: where it is, the setting along which its cells lie, and its sizes where a cell leaves them open.

    `length` 0 follows from other sizes (`length_of`); a vocabulary that is `fixed` is no setting.
    """

    name: str
    path: str
    axis: Axis
    length: int = 0
    symbols: int = 20
    fixed: bool = False
    step_tokens: int = 4096
    evaluate_symbols: int = 10_000

    @property
    def module(self) -> str:
        """The module that makes its sequences."""
        return self.path.partition(":")[0]

    def load(self) -> Any:
        """The class."""
        return getattr(importlib.import_module(self.module), self.path.partition(":")[2])


_TASKS = (
    TaskEntry("copy", "workflow.bench.tasks.copy:CopyTask", "distance"),
    TaskEntry("mqar", "workflow.bench.tasks.mqar:MqarTask", "pairs", symbols=256, step_tokens=1024),
    TaskEntry(
        "selective-copy",
        "workflow.bench.tasks.selective_copy:SelectiveCopyTask",
        "length",
        length=256,
        symbols=16,
        step_tokens=1024,
    ),
    TaskEntry(
        "induction",
        "workflow.bench.tasks.induction:InductionTask",
        "length",
        length=256,
        symbols=16,
        evaluate_symbols=1000,
    ),
    TaskEntry("khop", "workflow.bench.tasks.khop:KhopTask", "hops", length=128, symbols=5, step_tokens=1024),
    TaskEntry(
        "string-copy", "workflow.bench.tasks.string_copy:StringCopyTask", "letters", symbols=29, step_tokens=1024
    ),
    TaskEntry(
        "listops",
        "workflow.bench.tasks.listops:ListOpsTask",
        "length",
        length=2000,
        symbols=16,
        fixed=True,
        evaluate_symbols=500,
    ),
    TaskEntry(
        "bytes",
        "workflow.bench.tasks.text:TextTask",
        "length",
        length=1024,
        symbols=256,
        fixed=True,
        step_tokens=1024,
        evaluate_symbols=50_000,
    ),
)
TASKS = {entry.name: entry for entry in _TASKS}


@dataclass(frozen=True)
class Experiment:
    """`timing` rows run alone on the machine; `trains` tells that the training settings matter; `task` is what is
    learned, and with `any_task` the default of what may be."""

    name: str
    question: str
    timing: bool = False
    task: str = ""
    any_task: bool = False
    measured_by: str = "learning:run"  # module and function in workflow.bench.measure

    @property
    def module(self) -> str:
        """The module that measures it."""
        return f"workflow.bench.measure.{self.measured_by.partition(':')[0]}"

    def load(self) -> Callable[..., dict[str, Any]]:
        """The function that measures it: `(settings, report, folder) -> row keys`."""
        function: Callable[..., dict[str, Any]]
        function = getattr(importlib.import_module(self.module), self.measured_by.partition(":")[2])
        return function

    @property
    def trains(self) -> bool:
        """Whether a model is trained to solve a task."""
        return bool(self.task)


def _learning(task: str, question: str) -> Experiment:
    """An experiment that trains on its task and scores fresh sequences."""
    return Experiment(task, question, task=task)


_ENTRIES = (
    Experiment(
        "efficiency",
        "time, throughput, peak memory of a training step and of inference over N",
        timing=True,
        measured_by="efficiency:run",
    ),
    _learning("copy", "is the token D positions back found, after a budget of training tokens?"),
    Experiment(
        "interpretability",
        "how far the pointers of a model trained on a task reach, layer by layer",
        task="copy",
        any_task=True,
        measured_by="interpretability:run",
    ),
    Experiment(
        "complexity", "counted operations and bytes kept for the backward pass over N", measured_by="complexity:run"
    ),
    Experiment(
        "fairness",
        "what brings copying, the pointer or what a model knows of position, in ten times the tokens?",
        task="copy",
    ),
    Experiment(
        "ablation",
        "which part of a model makes it learn to copy, after how many tokens?",
        task="copy",
        measured_by="ablation:run",
    ),
    Experiment(
        "two_hop",
        "what does the chain give at distances that no single pointer reaches?",
        task="copy",
        measured_by="ablation:run",
    ),
    _learning("mqar", "are the values of keys recalled, by number of pairs? (Zoology)"),
    _learning("selective-copy", "are data symbols among noise given back in order? (Mamba)"),
    _learning("induction", "is the symbol found that once followed a special one? (Mamba)"),
    _learning("khop", "are chains of k induction steps followed? (k-hop induction heads)"),
    _learning("string-copy", "is a string repeated, also where it is longer than in training? (Repeat After Me)"),
    _learning("listops", "what do nested expressions of 500 to 2000 tokens come to? (Long Range Arena)"),
    _learning("bytes", "how many bits a byte of real text takes"),
)
EXPERIMENTS = {entry.name: entry for entry in _ENTRIES}


def info(name: str) -> Experiment:
    """The entry of an experiment; raises InputError with the nearest name for an unknown one."""
    if name not in EXPERIMENTS:
        raise InputError.unknown("experiment", name, EXPERIMENTS, WHERE)
    return EXPERIMENTS[name]
