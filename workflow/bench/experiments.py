"""The experiments, one declarative entry each: what it asks, along which axis, whether it times or trains.

An experiment is the module `workflow.bench.<module>`; the worker runs it. Importing this module loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pointer.errors import InputError

Axis = Literal["length", "distance"]
WHERE = "`--experiment`, or `experiments` in the config"


@dataclass(frozen=True)
class Experiment:
    """`timing` rows run alone on the machine; `trains` tells that the training settings matter."""

    name: str
    question: str
    axis: Axis
    timing: bool = False
    trains: bool = False

    @property
    def module(self) -> str:
        """The module that measures it."""
        return f"workflow.bench.{self.name}"


_ENTRIES = (
    Experiment(
        "efficiency", "time, throughput, peak memory of a training step and of inference over N", "length", timing=True
    ),
    Experiment(
        "copy", "is the token D positions back found, after a budget of training tokens?", "distance", trains=True
    ),
    Experiment(
        "interpretability",
        "how far the pointers of a model trained on copy reach, layer by layer",
        "distance",
        trains=True,
    ),
    Experiment("complexity", "counted operations and bytes kept for the backward pass over N", "length"),
    Experiment(
        "ablation", "which part of a model makes it learn to copy, after how many tokens?", "distance", trains=True
    ),
    Experiment(
        "two_hop", "what does the chain give at distances that no single pointer reaches?", "distance", trains=True
    ),
)
EXPERIMENTS = {entry.name: entry for entry in _ENTRIES}


def info(name: str) -> Experiment:
    """The entry of an experiment; raises InputError with the nearest name for an unknown one."""
    if name not in EXPERIMENTS:
        raise InputError.unknown("experiment", name, EXPERIMENTS, WHERE)
    return EXPERIMENTS[name]
