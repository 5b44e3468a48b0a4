"""Experiment `fairness`: what brings copying, the pointer or what a model knows of position?

The copy task with a budget in which attention gets every chance: learned absolute positions, rotary ones, and the very
offset table of `pointer` with its update rule on softmax attention (`transformer-relative`). An experiment of its own
because its budget is ten times that of `copy`: rows of one experiment share their budget. Cells are those of `copy`.
"""

from __future__ import annotations

from workflow.bench.learning import run

__all__ = ["run"]
