"""Keep the state of a long training on disk, so that a killed one resumes bit for bit.

One safetensors file holds the tensors (weights, optimisers, random generators) and, as JSON in its
header, everything else. It is replaced atomically, so a kill leaves a whole checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workflow.bench.outcomes import Clock

FOLDER = "checkpoint"  # in the work folder of a cell
FILE = "checkpoint.safetensors"
SAVE_SECONDS = 60.0  # between two checkpoints; a shorter training writes none
CURVE_POINTS = 200  # most points of a loss curve in a row


@dataclass
class History:
    """What happened in a training run; seconds count training steps only."""

    steps: int = 0
    tokens_used: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)  # (tokens, training loss)
    # (tokens, loss, accuracy in hard inference, accuracy in training mode)
    evaluations: list[tuple[int, float, float, float]] = field(default_factory=list)
    tokens_to_95: int | None = None
    seconds_to_95: float | None = None
    started: str = ""  # when a resumed training first started; empty unless resumed

    def row(self) -> dict[str, object]:
        """Return the row keys of a training run."""
        copied = ("steps", "tokens_used", "tokens_to_95", "seconds_to_95")
        row: dict[str, object] = {key: getattr(self, key) for key in copied}
        row["train_seconds"] = self.seconds
        row["loss_curve"] = thin([list(point) for point in self.losses], CURVE_POINTS)
        row["evaluations"] = thin([list(point) for point in self.evaluations], CURVE_POINTS)
        return row | ({"started": self.started} if self.started else {})


def thin(points: list[list[float]], most: int) -> list[list[float]]:
    """Return at most `most` of the points, evenly spread, first and last included."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


class Checkpoint:
    """The saved state of one training; without a folder nothing is saved."""

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        history: History,
        device: torch.device,
    ) -> None:
        self.folder, self.model, self.optimizers = folder, model, optimizers
        self.history, self.device = history, device
        self.saved = time.monotonic()
        self.started = Clock().times()["started"]

    def keep(self) -> None:
        """Save the state if the last save is at least SAVE_SECONDS ago."""
        if self.folder is not None and time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save(self.folder)
            self.saved = time.monotonic()

    def save(self, folder: Path) -> None:
        """Write the state to `folder`, replacing the last one."""
        from safetensors.torch import save_file  # imported late: gpu-check runs without it

        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "platform": platform(self.device),
            "started": self.started,
            "history": asdict(self.history),
            "counters": _counters(self.model),
        }
        tensors = {}
        for name, tensor in self._tensors().items():
            tensors[name] = tensor.detach().cpu().clone()  # safetensors refuses shared storage
        partial = folder / f".{FILE}"
        save_file(tensors, partial, metadata={"state": json.dumps(state, allow_nan=False)})
        os.replace(partial, folder / FILE)

    def restore(self) -> int:
        """Restore the saved state and return the steps done, 0 without one of this platform."""
        read = None if self.folder is None else _read(self.folder / FILE)
        if read is None or read[0]["platform"] != platform(self.device):
            return 0
        state, tensors = read
        self.model.load_state_dict(_part(tensors, "model"))
        modules = dict(self.model.named_modules())
        for name, counters in state["counters"].items():
            for key, value in counters.items():
                setattr(modules[name], key, value)
        for number, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _part(tensors, f"optimizer{number}").items():
                parameter, _, entry = key.partition(".")
                moments.setdefault(int(parameter), {})[entry] = tensor
            # Rates follow from the step number (Stepper) and are not saved.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        for key, value in state["history"].items():
            if isinstance(value, list):  # JSON has no tuples
                value = [tuple(point) for point in value]
            setattr(self.history, key, value)
        self.started = self.history.started = state["started"]
        return self.history.steps

    def _tensors(self) -> dict[str, Tensor]:
        """Return the state's tensors; data needs no generator, since each step seeds its own."""
        tensors = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        for name, value in self.model.state_dict().items():
            tensors[f"model.{name}"] = value
        for number, optimizer in enumerate(self.optimizers):
            for parameter, entry in optimizer.state_dict()["state"].items():
                for name, value in entry.items():
                    tensors[f"optimizer{number}.{parameter}.{name}"] = value
        return tensors


def platform(device: torch.device) -> str:
    """Return what the same bits depend on: torch version, threads, device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {name}"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return JSON state and tensors of a checkpoint, None if it is missing or damaged."""
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `name.`, without that prefix."""
    prefix = f"{name}."
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _counters(model: nn.Module) -> dict[str, dict[str, int | float]]:
    """Return the plain numbers that modules keep beside tensors, such as calls and progress."""
    counters: dict[str, dict[str, int | float]] = {}
    for name, module in model.named_modules():
        counters[name] = {}
        for key, value in vars(module).items():
            if type(value) in (int, float) and not key.startswith("_") and math.isfinite(value):
                counters[name][key] = value
    return counters
