"""A long training goes on where it was killed, bit for bit: weights, optimisers, random numbers, counters, history.

The state lies in the cell's work folder in the store (`Store.work`), where Snakemake, which deletes the outputs of
interrupted jobs, knows nothing of it: tensors as safetensors, all else as JSON, no pickle. The JSON file names the
tensor file and replaces its predecessor atomically, so a kill at any moment leaves a whole checkpoint, the last or the
one before. The folder's name holds the hashes of settings and sources: an edited mixer starts anew.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workflow.bench.clock import Clock
from workflow.bench.rows import write_atomically

if TYPE_CHECKING:
    from workflow.bench.measure.training import History, Stepper

CHECKPOINT = "checkpoint"  # the folder, in the folder of a cell
FILE = "checkpoint.json"
SAVE_SECONDS = 60.0  # between two checkpoints; a training that is shorter writes none


class Checkpoint:
    """The state of one training in `folder`; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, stepper: Stepper, history: History) -> None:
        self.folder, self.stepper, self.history = folder, stepper, history
        self.saved, self.started = time.monotonic(), Clock().times()["started"]

    def restore(self) -> int:
        """How many steps are done: what was saved is put back into model, optimisers, history and generators, if it is
        whole and of this place (versions, threads, device); else nothing is touched, and it is 0."""
        found = self._read()
        if found is None:
            return 0
        state, tensors = found
        _put_model(self.stepper.model, state["counters"], _part(tensors, "model"))
        for number, optimizer in enumerate(self.stepper.optimizers):
            _put_optimizer(optimizer, state["rates"][number], _part(tensors, f"optimizer{number}"))
        self.stepper.count = state["history"]["steps"]
        _put_history(self.history, state["history"])
        _put_random(_part(tensors, "random"))
        self.started = self.history.started = state["started"]
        return self.history.steps

    def keep(self) -> None:
        """Saves, if the last time is long enough ago."""
        if self.folder is None or time.monotonic() - self.saved < SAVE_SECONDS:
            return
        self.save(self.folder)
        self.saved = time.monotonic()

    def save(self, folder: Path) -> None:
        """Writes the tensors, then the JSON that names them, then drops what no JSON names any more."""
        from safetensors.torch import save_file  # needed only here: gpu-check runs where it is missing

        folder.mkdir(parents=True, exist_ok=True)
        model, optimizers = self.stepper.model, self.stepper.optimizers
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()} | _random(self.stepper.device)
        for number, optimizer in enumerate(optimizers):
            tensors |= {f"optimizer{number}.{name}": value for name, value in _moments(optimizer).items()}
        name = f"step-{self.history.steps}.safetensors"
        save_file({key: value.detach().cpu().clone() for key, value in tensors.items()}, folder / f".{name}")
        _settle(folder / f".{name}", folder / name)
        state = {
            "place": place(self.stepper.device), "tensors": name, "started": self.started,
            "history": asdict(self.history), "counters": _counters(model),
            "rates": [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers],
        }  # fmt: skip
        write_atomically(folder / FILE, json.dumps(state, allow_nan=False))
        for path in folder.glob("*step-*.safetensors"):
            if path.name != name:
                path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        if self.folder is None or not (self.folder / FILE).is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = json.loads((self.folder / FILE).read_text(encoding="utf-8"))
            if state["place"] != place(self.stepper.device):
                return None
            return state, load_file(self.folder / Path(state["tensors"]).name)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None


def place(device: torch.device) -> str:
    """What must be the same for the same bits: torch, the threads, the device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {name}"


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _counters(model: nn.Module) -> dict[str, dict[str, int | float]]:
    """Plain numbers that modules keep beside their tensors: calls so far, progress told."""
    return {
        name: {
            key: value
            for key, value in vars(module).items()
            if type(value) in (int, float) and not key.startswith("_") and math.isfinite(value)
        }
        for name, module in model.named_modules()
    }


def _put_model(model: nn.Module, counters: Mapping[str, Mapping[str, int | float]], tensors: dict[str, Tensor]) -> None:
    model.load_state_dict(tensors)
    modules = dict(model.named_modules())
    for name, numbers in counters.items():
        for key, value in numbers.items():
            setattr(modules[name], key, value)


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, entry in state.items() for name, value in entry.items()}


def _put_optimizer(optimizer: torch.optim.Optimizer, rates: list[float], tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = [{**group, "lr": lr} for group, lr in zip(optimizer.state_dict()["param_groups"], rates, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _put_history(history: History, saved: Mapping[str, Any]) -> None:
    """The lists of a history hold tuples, which JSON has not."""
    for key, value in saved.items():
        setattr(history, key, [tuple(point) for point in value] if isinstance(value, list) else value)


def _random(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that training draws from; data has its own, by step."""
    states = {"random.cpu": torch.get_rng_state()}
    return states | ({"random.cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _put_random(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _settle(temporary: Path, path: Path) -> None:
    """Gives a file its name once it is on the disk."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)
