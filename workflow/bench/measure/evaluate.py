"""How good is a trained model on sequences that it has never seen? Accuracy in hard inference, its interval, and in
training mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from workflow.bench.measure.training import apart, predict_both
from workflow.bench.tasks import Task

Z95 = 1.959963984540054  # the normal distribution's 97.5% point


@dataclass(frozen=True)
class Score:
    """Losses in nats a symbol, accuracies as fractions; `correct` counts the right symbols of each sequence in hard
    inference."""

    loss: float
    accuracy: float
    accuracy_train_mode: float
    correct: list[int]
    supervised: int  # symbols scored in each sequence

    def row(self) -> dict[str, object]:
        """The row keys of an evaluation. The interval takes symbols as independent; `correct_by_sequence` allows
        others."""
        n = self.supervised * len(self.correct)
        low, high = wilson(sum(self.correct), n)
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "accuracy_train_mode": self.accuracy_train_mode,
            "accuracy_low": low,
            "accuracy_high": high,
            "n_evaluated": n,
            "correct_by_sequence": self.correct,
        }


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927, JASA 22:209), 95% by default."""
    p, shrink = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(model: nn.Module, task: Task, symbols: int, dtype: str, device: torch.device) -> Score:
    """Scores at least `symbols` fresh symbols: hard inference, then the same sequences in training mode."""
    batches = [
        task.batch_of("evaluate", i, task.batch) for i in range(math.ceil(symbols / task.supervised / task.batch))
    ]
    with apart(model, device):
        torch.manual_seed(task.seeds.order)
        seen = [predict_both(model, batch, dtype, device) for batch in batches]
    correct = [int(count) for _, right, _ in seen for count in right.sum(1)]
    total = task.supervised * len(correct)
    return Score(
        loss=sum(loss for loss, _, _ in seen) / len(seen),
        accuracy=sum(correct) / total,
        accuracy_train_mode=sum(int(noisy.sum()) for _, _, noisy in seen) / total,
        correct=correct,
        supervised=task.supervised,
    )
