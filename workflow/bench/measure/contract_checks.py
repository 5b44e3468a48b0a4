"""The single checks of the contract (`workflow/bench/contract.py`): each raises Broken with the reason, in words for
whoever wrote the model, and with the first position where it shows."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.optim import optimizers
from pointer.trunk import Mixer, count_parameters
from workflow.bench import registry
from workflow.bench.measure import flops
from workflow.bench.measure.training import supervised_loss, tell_progress

SYMBOLS, LENGTH = 20, 257
ODD = 131  # a length that nothing divides
TOLERANCE = 1e-5
CUTS = [*range(1, 9), *range(9, LENGTH, 8), *range(LENGTH - 4, LENGTH)]
LONG = 2051  # faults of chunks and of blocks show beyond their size
LONG_CUTS = [300, 511, 512, 513, 1023, 1024, 1025, 1537, 2048, 2049]
TOKENS_AT_ONCE = 16 * LENGTH
STIR_STD = 0.1
MEASURED, MEASURED_CUTS = 333, (8, 64, 131, 257)  # a batch of 4, each changed from its own place on
STEPS, STEP_LENGTH, LEARNING_RATE = 4, 96, 1e-2
LOOSE = 3e-5  # logits of trained models are larger
MOST_PERIOD = 16
PARITY_LENGTH = 2048
COUNTED = 2048  # work is counted at this length and at twice as much
GROWTH = {"linear": 2.02, "n log n": 2.25, "quadratic": 4.1, "quadratic-unfused": 4.1}  # most that doubling N may cost


class Broken(Exception):
    """A model that does not keep the contract; the message says how."""


@dataclass(frozen=True)
class Subject:
    """A model under test for SYMBOLS symbols, differently initialised each time: `build(LENGTH)` makes a small one,
    `full(N)` one as large as what is measured. `cost` is the class that its entry declares; a `variant` has own
    settings."""

    name: str
    build: Callable[[int], nn.Module]
    full: Callable[[int], nn.Module]
    trained: bool = True
    control: bool = False
    cost: registry.Cost = "linear"
    variant: bool = False

    def small(self) -> nn.Module:
        """Two layers, inference mode."""
        return self.build(LENGTH).eval()

    def stirred(self, length: int = LENGTH) -> nn.Module:
        """The small model with every parameter that starts at zero, such as a gate's, drawn anew: training moves them,
        and then what they hid is seen."""
        model = self.build(length).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if not bool(parameter.any()):
                    parameter.normal_(std=STIR_STD)
        return model


def builds(subject: Subject) -> None:
    """The file can be imported and its class makes a model; its mixers are mixers."""
    model = subject.small()
    if not isinstance(model, nn.Module):
        raise Broken(f"{subject.name} is a {type(model).__name__}, not a torch.nn.Module")
    for mixer in getattr(model, "mixers", ()):
        kind = type(mixer)
        if not isinstance(mixer, Mixer):
            raise Broken(f"{kind.__name__} is no pointer.trunk.Mixer: write `class {kind.__name__}(Mixer)`")
        period = getattr(mixer, "period", 1)
        if not isinstance(period, int) or not 1 <= period <= MOST_PERIOD:
            words = f"the steps after which a mixer's work repeats; accepted: 1 to {MOST_PERIOD}"
            raise Broken(f"{kind.__name__}.period is {period!r}: {words}. Call it otherwise if it is something else")
        if "distance" in inspect.signature(kind.__init__).parameters and not subject.control:
            raise Broken("a setting called `distance` would be told the copy task's distance: call it otherwise")


def shapes(subject: Subject) -> None:
    """tokens int64[B, N] give floating logits [B, N, V]; a mixer's y has the shape of its x."""
    model = subject.small()
    for layer, mixer in enumerate(getattr(model, "mixers", ())):
        mixer.register_forward_hook(partial(_check_mixed, layer))
    logits = logits_of(model, _tokens(3, 10))
    if tuple(logits.shape) != (3, 10, SYMBOLS) or not logits.is_floating_point():
        raise Broken(f"tokens [3, 10] give {logits.dtype}{list(logits.shape)}; expected floating [3, 10, {SYMBOLS}]")


def _check_mixed(layer: int, _mixer: nn.Module, given: Any, returned: Any) -> None:
    """A forward hook of a mixer: y must be float[B, N, d] as x is, or the trunk would broadcast it."""
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[0], Tensor):
        raise Broken(f"the mixer of layer {layer} returns {type(returned).__name__}; expected a pair (y, carry)")
    if returned[0].dtype != given[0].dtype:
        raise Broken(f"the mixer of layer {layer} returns {returned[0].dtype} for {given[0].dtype}")
    if returned[0].shape != given[0].shape:
        shapes = f"y {list(returned[0].shape)} for x {list(given[0].shape)}"
        raise Broken(f"the mixer of layer {layer} returns {shapes}; they must be the same")


def any_length(subject: Subject) -> None:
    """N = 1, odd lengths, and the longest one work."""
    model = subject.small()
    for length in (1, 2, 63, 64, 65, ODD, LENGTH):
        logits = logits_of(model, _tokens(1, length))
        if tuple(logits.shape) != (1, length, SYMBOLS):
            raise Broken(f"at N = {length}: logits have shape {list(logits.shape)}")


def bad_input(subject: Subject) -> None:
    """Too many positions and symbols outside the vocabulary raise InputError; nothing is clamped."""
    model = subject.small()
    cases = {
        f"N = {LENGTH + 1} > length {LENGTH}": _tokens(1, LENGTH + 1),
        f"symbol {SYMBOLS}": torch.full((1, 4), SYMBOLS),
    }
    for what, tokens in cases.items():
        try:
            logits_of(model, tokens)
        except InputError:
            continue
        except Exception as error:
            raise Broken(f"{what} raises {type(error).__name__} instead of InputError") from error
        raise Broken(f"{what} is accepted without an error")


def finite(subject: Subject) -> None:
    """Logits hold no NaN and no infinity, in inference and in training mode, in short sequences and in long ones."""
    for length in (ODD, LONG):
        model, tokens = subject.build(length), _tokens(2, length)
        for mode in (False, True):
            bad = ~torch.isfinite(logits_of(model.train(mode), tokens))
            if bool(bad.any()):
                position, when = int(bad.any(-1).any(0).nonzero()[0]), "training" if mode else "inference"
                raise Broken(f"logits are not finite from position {position} in {when} mode, N = {length}")


def repeatable(subject: Subject) -> None:
    """The same tokens, weights and seed give the same bits, logits and gradients."""
    model, tokens = subject.small(), _tokens(2, ODD)
    first, second = logits_of(model, tokens), logits_of(model, tokens)
    if not torch.equal(first, second):
        position = int((first != second).any(-1).any(0).nonzero()[0])
        raise Broken(f"two inference calls on the same tokens differ at position {position}: it remembers or draws")
    if subject.trained:
        once, again = (_gradients(model, tokens) for _ in range(2))
        differing = [name for name in once if not torch.equal(once[name], again[name])]
        if differing:
            raise Broken(f"two training passes of one seed differ in the gradient of {differing[0]}")


def causal(subject: Subject) -> None:
    """Changing the tokens from position i on, or leaving them out, leaves every output before i as it was (inference,
    1e-5), in short sequences and in long ones."""
    for length, cuts, given in ((LENGTH, CUTS, (1, 2, 64, ODD, LENGTH - 1)), (LONG, LONG_CUTS, (LENGTH, 1500))):
        _causal(subject.stirred(length), _tokens(1, length), cuts, given)


def _causal(model: nn.Module, tokens: Tensor, cuts: Sequence[int], given: Sequence[int]) -> None:
    """Changes the tokens int64[1, N] from each of `cuts` on, and leaves out all but the first of each of `given`."""
    before, length = logits_of(model, tokens), tokens.shape[1]
    at_once = max(1, TOKENS_AT_ONCE // length)
    for group in (cuts[start : start + at_once] for start in range(0, len(cuts), at_once)):
        together = logits_of(model, torch.cat([changed_from(tokens, i) for i in group]))
        for i, logits in zip(group, together, strict=True):
            if not bool(((logits - before[0])[:i].abs() <= TOLERANCE).all()):
                alone = logits_of(model, changed_from(tokens, i))[:, :i]  # whatever else is in the batch
                _same(alone, before[:, :i], f"when tokens from {i} on change: it sees the future")
    for i in given:
        _same(logits_of(model, tokens[:, :i]), before[:, :i], f"with only {i} tokens given instead of {length}")


def changed_from(tokens: Tensor, i: int, symbols: int = SYMBOLS) -> Tensor:
    """The tokens int64[B, N] with every one from position i on replaced by another."""
    changed = tokens.clone()
    shift = np.random.default_rng(i).integers(1, symbols, size=tuple(changed[:, i:].shape))
    changed[:, i:] = (changed[:, i:] + torch.from_numpy(shift)) % symbols
    return changed


def independent_of_batch(subject: Subject) -> None:
    """A sequence's output does not depend on what else is in its batch, nor on what was run before (inference,
    1e-5)."""
    model, tokens = subject.stirred(), _tokens(3, ODD)
    together = logits_of(model, tokens)
    for row in (0, 2):
        alone = logits_of(model, tokens[row : row + 1])
        _same(alone, together[row : row + 1], f"when sequence {row} is run alone instead of in a batch of 3")


def as_measured(subject: Subject) -> None:
    """The model at its measured size, after a few steps of training and with its schedules at the end: later tokens,
    the rest of the batch and what was run before change nothing, nor does training mode. Faults hide in what is small
    or untrained: in a fifth layer or head, behind a gate that only training opens, in a batch of four."""
    model, tokens = _a_little_trained(subject.full(MEASURED)), _tokens(len(MEASURED_CUTS), MEASURED)
    before = logits_of(model, tokens)
    changed = torch.cat([changed_from(tokens[row : row + 1], cut) for row, cut in enumerate(MEASURED_CUTS)])
    after = logits_of(model, changed)
    for row, cut in enumerate(MEASURED_CUTS):
        one, where = slice(row, row + 1), f"at full size and after {STEPS} training steps"
        for given, together in ((tokens, before), (changed, after)):
            alone = logits_of(model, given[one])
            _same(alone, together[one], f"when sequence {row} is run alone instead of in a batch of 4, {where}", LOOSE)
        seen = f"when tokens from {cut} on change, {where}: it sees the future"
        _same(after[one, :cut], before[one, :cut], seen, LOOSE)
    if not subject.variant:
        _same(logits_of(model.train(), tokens), before, "in training mode against inference, at full size", LOOSE)


def _a_little_trained(model: nn.Module) -> nn.Module:
    """After STEPS steps by the suite's optimisers at a high rate; inference mode, schedules at their end."""
    made = optimizers(model.train(), LEARNING_RATE)
    for step in range(STEPS):
        tell_progress(model, step / STEPS)
        tokens = _tokens(4, STEP_LENGTH + step)  # other tokens each time
        for optimizer in made:
            optimizer.zero_grad(set_to_none=True)
        supervised_loss(model(tokens), tokens.roll(3, dims=1)).backward()
        for optimizer in made:
            optimizer.step()
    tell_progress(model, 1.0)
    return model.eval()


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
    what is scored. A model that promises `one_mode` does so at the start as well."""
    model, tokens = subject.stirred(), _tokens(2, ODD)
    ends = {1.0: "end"} | ({0.0: "start"} if getattr(model, "one_mode", False) else {})
    for progress, when in ends.items():
        tell_progress(model, progress)
        trained = logits_of(model.train(), tokens)
        _same(
            trained,
            logits_of(model.eval(), tokens),
            f"in training mode (at the {when} of all schedules) against inference",
        )


def saved_and_loaded(subject: Subject) -> None:
    """Weights saved as safetensors and loaded into another initialisation give the same bits."""
    from safetensors.torch import load_file, save_file

    model, other, tokens = subject.small(), subject.small(), _tokens(2, ODD)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
        other.load_state_dict(load_file(path))
    if not torch.equal(logits_of(model, tokens), logits_of(other, tokens)):
        raise Broken("a model loaded from saved weights gives other outputs: something is not in its state_dict")


def parity(subject: Subject) -> None:
    """The full-sized model lies within PARITY of the paper's 3.2 M parameters, position tables left out."""
    model, target = subject.full(PARITY_LENGTH), registry.TARGET_PARAMETERS
    count = count_parameters(model, tables=False)
    if abs(count - target) > registry.PARITY * target:
        raise Broken(
            f"{count:,} parameters without position tables; accepted: {target:,} within {registry.PARITY:.0%}."
            " The feed-forward is sized to meet it; the mixers alone may not exceed it"
        )
    before = _shapes_of(model)
    logits_of(model.eval(), _tokens(1, ODD))
    if late := [name for name in _shapes_of(model) if name not in before]:
        raise Broken(f"{late[0]} comes into being in the first forward pass: neither counted nor trained")
    longer = _shapes_of(subject.full(2 * PARITY_LENGTH))
    for name, parameter in model.named_parameters():
        shape, grows = list(parameter.shape), before[name] != longer.get(name)
        if parameter.is_complex():
            raise Broken(f"{name} is complex and would count once: keep real and imaginary parts as two numbers")
        if name.endswith("_table") and not grows:
            raise Broken(f"{name} {shape} is left out of the count as a position table, but has no axis as long as N")
        if grows and not name.endswith("_table"):
            raise Broken(f"{name} {shape} grows with N: a position table, whose name must end in `_table`")


def _shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def cost(subject: Subject) -> None:
    """Counted work grows with N as the entry's cost class says: the class decides in which cells a model takes part."""
    half, whole = (flops.count(subject.build(length), 1, length, SYMBOLS) for length in (COUNTED, 2 * COUNTED))
    forward, step = whole.forward / half.forward, whole.step / half.step
    growth, most = max(forward, step), GROWTH[subject.cost]
    if growth > most:
        fitting = next((name for name, most in GROWTH.items() if growth <= most), "none of the known ones")
        counted = f"counted work of a training step grows {growth:.2f}-fold from N = {COUNTED} to {2 * COUNTED}"
        loop = "; a forward pass alone does not: x[:, i] in a loop has a gradient as large as x, x.unbind(1) has not"
        hint = loop if forward <= most else ""
        raise Broken(f"{counted}; `cost: {subject.cost}` allows {most}: say `cost: {fitting}`{hint}")


def _same(found: Tensor, expected: Tensor, when: str, tolerance: float = TOLERANCE) -> None:
    """Raises Broken with the first position at which two batches of logits [B, N, V] differ."""
    if not bool(torch.isfinite(expected).all()):
        raise Broken("logits are not finite")
    apart = (found - expected).abs().amax(dim=(0, 2))
    wrong = (~(apart <= tolerance)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        raise Broken(f"output {position} differs by {float(apart[position]):.2g} {when}")


def _tokens(batch: int, length: int) -> Tensor:
    """Fixed random tokens int64[B, N]."""
    return torch.from_numpy(np.random.default_rng([batch, length]).integers(SYMBOLS, size=(batch, length)))


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """float[B, N, V] of tokens int64[B, N], in the mode that the model is in, without gradients."""
    with torch.no_grad():
        try:
            found: Tensor = model(tokens)
        except Exception as error:
            error.add_note(f"at N = {tokens.shape[1]}")
            raise
    return found


def _gradients(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """The gradient of each trainable parameter in training mode at the start of training, zeros where none arrives."""
    tell_progress(model.train(), 0.0)
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    supervised_loss(model(tokens), tokens.roll(3, dims=1)).backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in trainable.items()}
