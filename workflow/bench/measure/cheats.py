"""Checks of the contract for what would make a model look better than it is: work that nobody
counts, outputs that are kept, and what others share, changed."""

from __future__ import annotations

import time
import timeit
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from workflow.bench.measure import flops
from workflow.bench.measure.causality import ODD, Broken, Subject, logits_of, random_tokens
from workflow.bench.measure.training import supervised_loss

# By which data leaves torch, for numpy, numba, C or another process.
EXITS = (Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr, Tensor.tolist)
SEQUENCES = 2  # of ODD tokens
COUNTED_OPERATORS = ("aten", "prim", "prims", "profiler")
TIMED = (2048, 8192)  # lengths at which a forward pass takes long enough to be timed
REPEATS = 5
# How many times more processor time may grow than counted work: measured are 0.9 to 1.2 for
# pointer, 6 for a hidden N x N product.
FASTER = 2.5


class _Exits(TorchFunctionMode):
    """Note by what more numbers than the tokens are leave torch."""

    left = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in EXITS and args[0].numel() > SEQUENCES * ODD:
            self.left = f"Tensor.{func.__name__}"
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Note an operator that is not torch's own."""

    left = ""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace not in COUNTED_OPERATORS:
            self.left = str(func)
        return func(*args, **(kwargs or {}))


def work_in_torch(subject: Subject) -> None:
    """All work is torch's, which is counted, unless the mixer declares its own by `flops`."""
    model, tokens = subject.small().train(), random_tokens(SEQUENCES, ODD)
    if _declares(model):
        return
    with _Exits() as exits, _Operators() as operators:
        logits = model(tokens)
        if logits.requires_grad:
            supervised_loss(logits, tokens).backward()
    left = exits.left or operators.left
    if left:
        raise Broken(f"data leaves torch by {left}, where no work is counted: declare its `flops`")


def work_as_declared(subject: Subject) -> None:
    """Processor time grows with N no faster than counted work, where mixers declare their own."""
    if not _declares(subject.small()):
        return
    seconds, work = [], []
    for length in TIMED:
        model, tokens = subject.build(length).eval(), random_tokens(1, length)
        times = timeit.repeat(
            partial(logits_of, model, tokens), timer=time.process_time, number=1, repeat=REPEATS
        )
        seconds.append(min(times))
        work.append(flops.count(model, 1, length).forward)
    taken, counted = seconds[1] / seconds[0], work[1] / work[0]
    if taken > FASTER * counted:
        grows = f"grows {taken:.1f}-fold from N = {TIMED[0]} to {TIMED[1]}"
        declared = f"the work that is counted or declared {counted:.1f}-fold"
        raise Broken(f"processor time {grows}, {declared}: declare all of it by `flops`")


def _declares(model: nn.Module) -> bool:
    return any(hasattr(module, "flops") for module in model.modules())


def work_on_known_tokens(subject: Subject) -> None:
    """Tokens that the model has seen cost as much as new ones."""
    model = subject.small()
    logits_of(model, random_tokens(2, ODD).flip(1))  # what depends on the shape alone may be kept
    operations = []
    for _ in range(2):
        with flops.counter() as counted:
            logits_of(model, random_tokens(2, ODD))
        operations.append(counted.get_total_flops())
    first, again = operations
    if again < first:
        raise Broken(f"tokens that it has seen take {again:,} operations instead of {first:,}")


def shared_state(subject: Subject) -> None:
    """A mixer changes neither its input nor the seed of the global random generator."""
    model = subject.small().train()
    for layer, mixer in enumerate(getattr(model, "mixers", ())):
        before: list[Tensor] = []
        mixer.register_forward_pre_hook(partial(_keep, before))
        mixer.register_forward_hook(partial(_compare, before, layer))
    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        logits_of(model, random_tokens(2, ODD))
        states.append(torch.get_rng_state())
    if torch.equal(*states):
        raise Broken("a forward pass sets the seed of torch's global generator: use a generator")


def _keep(before: list[Tensor], _mixer: nn.Module, inputs: Any) -> None:
    before[:] = [inputs[0].clone()]


def _compare(
    before: list[Tensor], layer: int, _mixer: nn.Module, inputs: Any, _output: Any
) -> None:
    if not torch.equal(inputs[0], before[0]):
        raise Broken(f"the mixer of layer {layer} changes its input in place")
