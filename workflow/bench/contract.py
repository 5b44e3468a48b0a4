"""The contract that every model is held to before its numbers are published: `pointer-bench check MODEL`.

Each check is a function that raises Broken with the reason; `check` runs those that apply. Small models (2 layers)
where size does not matter. Controls are exempt from parity and from gradients reaching everything, the untrained ones
also from causality and from whatever needs weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import count_parameters
from workflow.bench import models, registry
from workflow.bench.settings import Settings
from workflow.bench.train import supervised_loss, tell_progress

SYMBOLS, LENGTH, LAYERS = 20, 257, 2
ODD = 131  # a length that nothing divides
TOLERANCE = 1e-5
PARITY_LENGTH = 2048


class Broken(Exception):
    """A model that does not keep the contract; the message says how."""


class Check(NamedTuple):
    """One line of `pointer-bench check`."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True)
class Subject:
    """A model under test: `build(layers)` makes a fresh one for SYMBOLS symbols and LENGTH positions, differently
    initialised each time."""

    name: str
    build: Callable[[int], nn.Module]
    trained: bool = True
    control: bool = False

    def small(self) -> nn.Module:
        """Two layers, inference mode."""
        return self.build(LAYERS).eval()


def check(name: str) -> list[Check]:
    """All checks that apply to a registered model; raises InputError for an unknown name."""
    entry = registry.info(name)

    def build(layers: int) -> nn.Module:
        length = LENGTH if layers == LAYERS else PARITY_LENGTH
        cell = Settings("efficiency", name, symbols=SYMBOLS, length=length, distance=7, seed=next(seeds))
        return models.build(cell, torch.device("cpu"), layers=layers)

    seeds = iter(range(1_000))
    return check_subject(Subject(name, build, trained=entry.trained, control=entry.kind == "control"))


def check_subject(subject: Subject) -> list[Check]:
    """Runs every check that applies; an exception of the model is a failed check, not a crash."""
    return [_outcome(function, subject) for function in applicable(subject)]


def applicable(subject: Subject) -> list[Callable[[Subject], None]]:
    """The checks of a subject, cheapest first."""
    always: list[Callable[[Subject], None]] = [shapes, any_length, bad_input, finite, repeatable]
    if not subject.trained:
        return always
    weights: list[Callable[[Subject], None]] = [causal, independent_of_batch, same_in_training, saved_and_loaded]
    return [*always, *weights, *([] if subject.control else [gradients, parity])]


def _outcome(function: Callable[[Subject], None], subject: Subject) -> Check:
    name = function.__name__.replace("_", " ")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            function(subject)
    except Broken as broken:
        return Check(name, False, str(broken))
    except Exception as error:
        return Check(name, False, f"raised {type(error).__name__}: {error}")
    return Check(name, True, "")


def shapes(subject: Subject) -> None:
    """tokens int64[B, N] give floating logits [B, N, V]."""
    logits = _logits(subject.small(), _tokens(3, 10))
    if tuple(logits.shape) != (3, 10, SYMBOLS) or not logits.is_floating_point():
        raise Broken(f"tokens [3, 10] give {logits.dtype}{list(logits.shape)}; expected floating [3, 10, {SYMBOLS}]")


def any_length(subject: Subject) -> None:
    """N = 1, odd lengths, and the longest one work."""
    model = subject.small()
    for length in (1, 2, 63, 64, 65, ODD, LENGTH):
        with _about(f"at N = {length}"):
            logits = _logits(model, _tokens(1, length))
            if tuple(logits.shape) != (1, length, SYMBOLS):
                raise Broken(f"logits have shape {list(logits.shape)}")


def bad_input(subject: Subject) -> None:
    """Too many positions and symbols outside the vocabulary raise InputError; nothing is clamped."""
    model = subject.small()
    cases = {
        f"N = {LENGTH + 1} > length {LENGTH}": _tokens(1, LENGTH + 1),
        f"symbol {SYMBOLS}": torch.full((1, 4), SYMBOLS),
    }
    for what, tokens in cases.items():
        try:
            _logits(model, tokens)
        except InputError:
            continue
        except Exception as error:
            raise Broken(f"{what} raises {type(error).__name__} instead of InputError") from error
        raise Broken(f"{what} is accepted without an error")


def finite(subject: Subject) -> None:
    """Logits hold no NaN and no infinity, in inference and in training mode."""
    model = subject.small()
    for mode in (False, True):
        bad = ~torch.isfinite(_logits(model.train(mode), _tokens(2, ODD)))
        if bool(bad.any()):
            position = int(bad.any(-1).any(0).nonzero()[0])
            raise Broken(
                f"logits are not finite from position {position} in {'training' if mode else 'inference'} mode"
            )


def repeatable(subject: Subject) -> None:
    """The same tokens, weights and seed give the same bits, logits and gradients."""
    model, tokens = subject.small(), _tokens(2, ODD)
    if not torch.equal(_logits(model, tokens), _logits(model, tokens)):
        raise Broken("two inference calls on the same tokens differ")
    if subject.trained:
        first, second = (_gradients(model, tokens) for _ in range(2))
        differing = [name for name in first if not torch.equal(first[name], second[name])]
        if differing:
            raise Broken(f"two training passes of one seed differ in the gradient of {differing[0]}")


def causal(subject: Subject) -> None:
    """Changing the tokens from position i on leaves every output before i as it was (inference, 1e-5)."""
    model, tokens = subject.small(), _tokens(1, LENGTH)
    before = _logits(model, tokens)
    for i in [*range(1, 9), *range(9, LENGTH, 8), *range(LENGTH - 4, LENGTH)]:
        changed = tokens.clone()
        changed[:, i:] = (changed[:, i:] + torch.randint(1, SYMBOLS, changed[:, i:].shape)) % SYMBOLS
        moved = (_logits(model, changed) - before)[0, :i].abs().amax(-1)
        if float(moved.max()) > TOLERANCE:
            position = int((moved > TOLERANCE).nonzero()[0])
            raise Broken(f"output {position} changes by {float(moved[position]):.2g} when tokens from {i} on change")


def independent_of_batch(subject: Subject) -> None:
    """A sequence's output does not depend on what else is in its batch, nor on what was run before (inference,
    1e-5)."""
    model, tokens = subject.small(), _tokens(3, ODD)
    together = _logits(model, tokens)
    for row in (0, 2):
        apart = float((_logits(model, tokens[row : row + 1])[0] - together[row]).abs().max())
        if apart > TOLERANCE:
            raise Broken(f"sequence {row} alone differs by {apart:.2g} from itself in a batch of 3")


def gradients(subject: Subject) -> None:
    """Every parameter gets a finite gradient that is not all zero."""
    model, tokens = subject.small(), _tokens(2, ODD)
    for name, gradient in _gradients(model, tokens).items():
        if not bool(torch.isfinite(gradient).all()):
            raise Broken(f"the gradient of {name} is not finite")
        if not bool(gradient.any()):
            raise Broken(f"no gradient reaches {name}")


def same_in_training(subject: Subject) -> None:
    """With its schedules at the end (no noise), training mode gives the outputs of inference (1e-5): what is trained is
    what is scored."""
    model, tokens = subject.small(), _tokens(2, ODD)
    tell_progress(model, 1.0)
    apart = float((_logits(model.train(), tokens) - _logits(model.eval(), tokens)).abs().max())
    if not apart <= TOLERANCE:
        raise Broken(f"training mode without noise differs by {apart:.2g} from inference")


def saved_and_loaded(subject: Subject) -> None:
    """Weights saved as safetensors and loaded into another initialisation give the same bits."""
    from safetensors.torch import load_file, save_file

    model, other, tokens = subject.small(), subject.small(), _tokens(2, ODD)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
        other.load_state_dict(load_file(path))
    if not torch.equal(_logits(model, tokens), _logits(other, tokens)):
        raise Broken("a model loaded from saved weights gives other outputs: something is not in its state_dict")


def parity(subject: Subject) -> None:
    """The full-sized model lies within PARITY of the paper's 3.2 M parameters, position tables left out."""
    count, target = count_parameters(subject.build(6), tables=False), registry.TARGET_PARAMETERS
    if abs(count - target) > registry.PARITY * target:
        raise Broken(f"{count:,} parameters without position tables; accepted: {target:,} within {registry.PARITY:.0%}")


def _tokens(batch: int, length: int) -> Tensor:
    """Fixed random tokens int64[B, N]."""
    return torch.from_numpy(np.random.default_rng([batch, length]).integers(SYMBOLS, size=(batch, length)))


def _logits(model: nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(tokens)
    return found


def _gradients(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """The gradient of each trainable parameter in training mode at the start of training, zeros where none arrives."""
    tell_progress(model.train(), 0.0)
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    supervised_loss(model(tokens), tokens.roll(3, dims=1)).backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in trainable.items()}


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Adds to any failure inside what it was about."""
    try:
        yield
    except Exception as error:
        raise Broken(f"{what}: {error}") from error
