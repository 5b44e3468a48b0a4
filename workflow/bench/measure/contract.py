"""The contract that every model must keep before its numbers are published: `pointer-bench check`.

Controls are exempt from parity and from gradients that reach everything; untrained controls also
from causality and from whatever needs weights. A variant of a model of the suite may freeze
parameters, use soft selection or sort, because ablations do.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import operator
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointer.errors import MIXER_SETTINGS, InputError
from pointer.optim import optimizers
from pointer.trunk import Mixer, count_parameters
from workflow.bench import registry
from workflow.bench.cell import Cell
from workflow.bench.measure import cheats, flops, models
from workflow.bench.measure.causality import (
    LEARNING_RATE,
    LENGTH,
    LONG,
    ODD,
    SYMBOLS,
    Broken,
    Subject,
    as_measured,
    causal,
    independent_of_batch,
    logits_of,
    random_tokens,
    require_same,
)
from workflow.bench.measure.checkpoint import Checkpoint, History
from workflow.bench.measure.training import set_progress, supervised_loss
from workflow.bench.outcomes import EnvironmentFault, of_environment
from workflow.bench.rows.lock import announced
from workflow.bench.sources import ROOT

SMALL = {"layers": 2, "width": 64, "heads": 4}
MOST_PERIOD = 16
PATIENCE_S = 3.0  # of a check without a word
PARITY_LENGTH = 2048
COUNTED = 2048  # work is counted at this length and at twice as much
# The most that doubling N may multiply counted work by.
GROWTH = {"linear": 2.02, "n log n": 2.25, "quadratic": 4.1, "quadratic-unfused": 4.1}
IN_LOOP = "x[:, i] in a loop has a gradient as large as x, x.unbind(1) has not"
SUITE = ROOT / "workflow"
CPU = torch.device("cpu")
Test = Callable[[Subject], None]


class Check(NamedTuple):
    """One line of `pointer-bench check`."""

    name: str
    ok: bool
    reason: str


def check(name: str, mixer: Mapping[str, Any] | None = None) -> Iterator[Check]:
    """Run the checks that apply to a model with these mixer settings; yield each as it is done."""
    entry = registry.info(name)
    model, convolution = registry.without_ending(name)
    mixer = dict(mixer or {})
    seeds = itertools.count()

    def build(length: int, **sizes: int) -> nn.Module:
        settings = {"mixer": mixer, "short_convolution": convolution, "seed": next(seeds)}
        cell = Cell.of("efficiency", model, symbols=SYMBOLS, length=length, **settings)
        return models.build(cell.resolved(), CPU, **sizes)

    variant = bool(mixer) and entry.group != "own"
    declared: registry.Cost = "n log n" if variant and entry.cost == "linear" else entry.cost
    kind = (entry.trained, entry.kind == "control", declared, variant, entry.causal)
    subject = Subject(name, partial(build, **SMALL), build, *kind)
    large = {key: n for key, n in mixer.items() if type(n) is int and n > COUNTED // 4}
    try:
        if mixer:
            build(PARITY_LENGTH)
        if large:
            cost(subject)
    except InputError:
        raise
    except Broken:  # a size reaches all that is counted
        key = max(large, key=large.__getitem__)
        accepted = f"sizes far below N = {COUNTED}, from which on the growth of work is counted"
        raise InputError.about(key, large[key], accepted, MIXER_SETTINGS) from None
    except Exception:  # a fault of the model: `builds` reports it
        pass
    return check_subject(subject)


def check_subject(subject: Subject) -> Iterator[Check]:
    """Run the checks that apply; stop at a decisive fault, which later ones would misname."""
    for function in applicable(subject):
        result = run_check(function, subject)
        yield result
        if not result.ok and function in DECISIVE:
            return


def applicable(subject: Subject) -> list[Test]:
    """Return the checks of a subject, cheapest first."""
    tests: list[Test] = [builds, shapes, finite, repeatable]
    if not subject.trained:
        return tests
    if subject.causal:
        tests.append(causal)
    tests += [independent_of_batch, as_measured, saved_and_loaded, cheats.shared_state]
    tests += [cheats.work_on_known_tokens, cheats.work_in_torch, cost, cheats.work_as_declared]
    if not subject.variant:
        tests.append(same_in_training)
        if not subject.control:
            tests.append(gradients)
    if not subject.control:
        tests.append(parity)
    return tests


def run_check(function: Test, subject: Subject) -> Check:
    """Run one check of a subject from seed 0; want of memory or disk is an EnvironmentFault."""
    name = function.__name__.replace("_", " ")
    try:
        with announced(f"...   {name}", PATIENCE_S), torch.random.fork_rng(devices=[]):
            _examine(function, subject)
    except Broken as broken:
        return Check(name, False, str(broken))
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        if of_environment(error):
            raise EnvironmentFault(f"{type(error).__name__}: {message}") from error
        notes = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        origin = _origin(error)
        return Check(name, False, f"{notes}raised {type(error).__name__}: {message}{origin}")
    return Check(name, True, "")


def _examine(function: Test, subject: Subject) -> None:
    """Run a check; where outputs differ, run it once more in double precision. In single, rounding
    may move a model's choice (Reformer's bucket) between them; a fault shows in both."""
    torch.manual_seed(0)
    try:
        function(subject)
    except Broken as broken:
        if function not in COMPARISONS:
            raise
        small, full = partial(_in_double, subject.build), partial(_in_double, subject.full)
        torch.manual_seed(0)
        try:
            function(dataclasses.replace(subject, build=small, full=full))
        except Exception as error:  # Broken again, or a model that has no double precision
            if of_environment(error):
                raise
            raise broken from None


def _in_double(build: Callable[[int], nn.Module], length: int) -> nn.Module:
    return build(length).double()


def _origin(error: BaseException) -> str:
    """Return the innermost line outside torch and the suite, as " (my_mixer.py, line 30)"."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "torch" not in path.parts and SUITE not in path.parents:
            return f" ({path.name}, line {frame.lineno})"
    return ""


def builds(subject: Subject) -> None:
    """The class makes a model, and its mixers are mixers."""
    model = subject.small()
    if not isinstance(model, nn.Module):
        raise Broken(f"{subject.name} is a {type(model).__name__}, not a torch.nn.Module")
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise Broken(f"{name} is complex and would count once: keep two real numbers")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p:
            raise Broken(f"{name} is a {type(module).__name__}: the recipe of all models has none")
    for mixer in getattr(model, "mixers", ()):
        name = type(mixer).__name__
        if not isinstance(mixer, Mixer):
            raise Broken(f"{name} is no pointer.trunk.Mixer: write `class {name}(Mixer)`")
        period = getattr(mixer, "period", 1)
        if not isinstance(period, int) or not 1 <= period <= MOST_PERIOD:
            reserved = "that name is reserved for the steps after which a mixer's work repeats"
            raise Broken(f"{name}.period is {period!r}: {reserved}; accepted: 1 to {MOST_PERIOD}")
        if "distance" in inspect.signature(type(mixer).__init__).parameters and not subject.control:
            raise Broken("rename the setting `distance`: that name is reserved and gets a task's")


def shapes(subject: Subject) -> None:
    """Tokens int64[B, N] give floating logits [B, N, V] at any N; y has the shape of x."""
    model = subject.small()
    for layer, mixer in enumerate(getattr(model, "mixers", ())):
        mixer.register_forward_hook(partial(_check_output, f"the mixer of layer {layer} returns"))
    for length in (10, 1, 2, 63, 64, 65, ODD, LENGTH):
        logits = logits_of(model, random_tokens(3, length))
        expected = [3, length, SYMBOLS]
        if list(logits.shape) != expected or not logits.is_floating_point():
            found = f"{logits.dtype}{list(logits.shape)}"
            raise Broken(f"tokens [3, {length}] give {found}; expected floating {expected}")


def _check_output(returns: str, _mixer: nn.Module, inputs: Any, output: Any) -> None:
    """Check a mixer's output in a forward hook: a smaller y would be broadcast by the trunk."""
    if not isinstance(output, tuple) or len(output) != 2 or not isinstance(output[0], Tensor):
        raise Broken(f"{returns} {type(output).__name__}; expected a pair (y, carry)")
    x, y = inputs[0], output[0]
    if y.dtype != x.dtype:
        raise Broken(f"{returns} {y.dtype} for {x.dtype}")
    if y.shape != x.shape:
        raise Broken(f"{returns} y {list(y.shape)} for x {list(x.shape)}; they must be the same")


def finite(subject: Subject) -> None:
    """Logits have no NaN and no infinity, in either mode, in short and in long sequences."""
    for length in (ODD, LONG):
        model, tokens = subject.build(length), random_tokens(2, length)
        for mode in ("inference", "training"):
            model.train(mode == "training")
            bad = ~torch.isfinite(logits_of(model, tokens))
            if bool(bad.any()):
                at = f"from position {int(bad.any(-1).any(0).nonzero()[0])}"
                raise Broken(f"logits are not finite {at} in {mode} mode, N = {length}")


def repeatable(subject: Subject) -> None:
    """The same tokens, weights and seed give the same bits, logits and gradients."""
    model, tokens = subject.small(), random_tokens(2, ODD)
    first, second = logits_of(model, tokens), logits_of(model, tokens)
    if not torch.equal(first, second):
        position = int((first != second).any(-1).any(0).nonzero()[0])
        raise Broken(f"two inference calls on the same tokens differ at position {position}")
    if subject.trained:
        once, again = _gradients(model, tokens), _gradients(model, tokens)
        for name, gradient in once.items():
            if not torch.equal(gradient, again[name]):
                raise Broken(f"two training passes of one seed differ in the gradient of {name}")


def gradients(subject: Subject) -> None:
    """Every parameter gets a finite gradient that is not all zero in one of three steps: in the
    first none passes a projection that starts at zero."""
    model, tokens = subject.small(), random_tokens(2, ODD)
    steppers = optimizers(model, LEARNING_RATE)
    unreached = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for _ in range(3):
        for name, gradient in _gradients(model, tokens).items():
            if not bool(torch.isfinite(gradient).all()):
                raise Broken(f"the gradient of {name} is not finite")
            if bool(gradient.any()) and name in unreached:
                unreached.remove(name)
        for optimizer in steppers:
            optimizer.step()
    if unreached:
        raise Broken(f"no gradient reaches {unreached[0]}, nor after two training steps")


def _gradients(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each trainable parameter, schedules at their start; zeros if none."""
    set_progress(model.train(), 0.0)
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    supervised_loss(model(tokens), tokens.roll(3, dims=1)).backward()
    result = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            result[name] = torch.zeros_like(parameter) if gradient is None else gradient.clone()
    return result


def same_in_training(subject: Subject) -> None:
    """With schedules ended (at the start too, by `one_mode`), both modes give one output (1e-5)."""
    model, tokens = subject.stirred(), random_tokens(2, ODD)
    if getattr(model, "relaxes", False):
        return
    stages = {"end": 1.0} | ({"start": 0.0} if getattr(model, "one_mode", False) else {})
    for stage, progress in stages.items():
        set_progress(model, progress)
        training = logits_of(model.train(), tokens)
        condition = f"in training mode (at the {stage} of all schedules) against inference"
        require_same(training, logits_of(model.eval(), tokens), condition)


def saved_and_loaded(subject: Subject) -> None:
    """Weights that were saved and loaded give the same bits, and so does a resumed training."""
    from safetensors.torch import load, save

    model, other, tokens = subject.small(), subject.small(), random_tokens(2, ODD)
    logits_of(other, tokens)  # whose outputs it may not keep
    saved = save({name: value.contiguous() for name, value in model.state_dict().items()})
    other.load_state_dict(load(saved))
    if not torch.equal(logits_of(model, tokens), logits_of(other, tokens)):
        raise Broken("a model loaded from saved weights gives other outputs than the saved one")
    whole, resumed = subject.small(), subject.small()
    steppers, others = (optimizers(model, LEARNING_RATE) for model in (whole, resumed))
    _take_steps(whole, steppers, tokens)
    with tempfile.TemporaryDirectory() as folder:
        Checkpoint(Path(folder), whole, steppers, History(), CPU).save(Path(folder))
        Checkpoint(Path(folder), resumed, others, History(), CPU).restore()
    _take_steps(whole, steppers, tokens)
    _take_steps(resumed, others, tokens)
    gradients, again = _gradients(whole, tokens), _gradients(resumed, tokens)
    advice = "keep what changes in buffers, or in numbers without an underscore"
    kept = _attributes(resumed)
    for name, value in _attributes(whole).items():
        if value != kept.get(name):
            raise Broken(f"a training that is resumed loses {name}: {advice}")
    for name, gradient in gradients.items():
        if not torch.equal(gradient, again[name]):
            raise Broken(f"a training that is resumed has another gradient of {name}: {advice}")


def _attributes(model: nn.Module) -> dict[str, str]:
    """Return what modules keep beside tensors, as JSON; of what is none its length."""
    found = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            found[f"{name}.{key}"] = json.dumps(value, default=operator.length_hint, skipkeys=True)
    return found


def _take_steps(model: nn.Module, steppers: list[torch.optim.Optimizer], tokens: Tensor) -> None:
    for _ in range(2):
        _gradients(model, tokens)
        for optimizer in steppers:
            optimizer.step()


def parity(subject: Subject) -> None:
    """The full-sized model has the paper's 3.2 M parameters within PARITY, tables excluded."""
    model, target = subject.full(PARITY_LENGTH), registry.TARGET_PARAMETERS
    count = count_parameters(model, tables=False)
    if abs(count - target) > registry.PARITY * target:
        accepted = f"accepted: {target:,} within {registry.PARITY:.0%}, most of them feed-forward"
        raise Broken(f"{count:,} parameters without position tables; {accepted}")
    before = _parameter_shapes(model)
    logits_of(model.eval(), random_tokens(1, ODD))
    for name in _parameter_shapes(model):
        if name not in before:
            raise Broken(f"{name} is created in the first forward pass: not counted, not trained")
    longer = _parameter_shapes(subject.full(2 * PARITY_LENGTH))
    for name, shape in before.items():
        grows, table = shape != longer.get(name), name.endswith("_table")
        if table and not grows:
            raise Broken(f"{name} {shape} is not counted, being a table, but has no axis of N")
        if grows and not table:
            raise Broken(f"{name} {shape} grows with N: a table, whose name must end in `_table`")


def _parameter_shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


def cost(subject: Subject) -> None:
    """Counted work grows with N as the declared cost class says, which decides on its cells."""
    most = GROWTH[subject.cost]
    # A variant may ask for as many candidates as there are positions; beyond them they are few.
    for length in (COUNTED, 2 * COUNTED) if subject.variant else (COUNTED,):
        half = flops.count(subject.build(length), 1, length)
        whole = flops.count(subject.build(2 * length), 1, 2 * length)
        forward, step = whole.forward / half.forward, whole.step / half.step
        growth = max(forward, step)
        if growth <= most:
            return
    fitting = [name for name, limit in GROWTH.items() if growth <= limit]
    grows = f"grows {growth:.2f}-fold from N = {length} to {2 * length}"
    advice = f"say `cost: {fitting[0] if fitting else 'none of the known ones'}`"
    if forward <= most:
        advice += "; a forward pass alone does not: " + IN_LOOP
    allowed = f"`cost: {subject.cost}` allows {most}"
    raise Broken(f"counted work of a training step {grows}; {allowed}: {advice}")


DECISIVE: tuple[Test, ...] = (builds, shapes, finite, repeatable)
COMPARISONS: tuple[Test, ...] = (causal, independent_of_batch, as_measured, same_in_training)
