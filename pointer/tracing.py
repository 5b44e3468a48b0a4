"""Trace where a model points: targets, hop distances and chains (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import Trunk

SHORTEST_JUDGED = 64  # positions; shorter sequences say too little about a layer's pointers


@dataclass(frozen=True)
class Trace:
    """targets: int64[L, B, H, N], the position each position of each layer and head points at."""

    targets: Tensor

    @property
    def hops(self) -> Tensor:
        """Hop distances in tokens, int64[L, B, H, N]: position minus target."""
        return torch.arange(self.targets.shape[3]) - self.targets

    def chain(self, position: int, *, batch: int = 0, head: int = 0) -> list[int]:
        """Return the L + 1 positions visited from `position`, top layer first.

        Raise InputError for a position outside the sequence.
        """
        length = self.targets.shape[3]
        if not 0 <= position < length:
            raise InputError.about("position", position, f"0 to {length - 1}", "`--position`")
        chain = [position]
        for layer in reversed(self.targets[:, batch, head]):
            chain.append(int(layer[chain[-1]]))
        return chain

    def warnings(self) -> list[str]:
        """Return one line for each layer, counted from 1 below, whose pointer is degenerate."""
        reasons = {n: degeneracy(layer) for n, layer in enumerate(self.targets, start=1)}
        return [f"degenerate pointer in layer {n}: {why}" for n, why in reasons.items() if why]


@torch.no_grad()
def trace(model: nn.Module, tokens: Tensor) -> Trace:
    """Run the model on tokens int64[B, N] in hard inference and record every layer's targets.

    Raise InputError if a mixer does not point: its carry is not int64[B, H, N].
    """
    carries: list[Any] = []

    def record(_mixer: nn.Module, _inputs: Any, output: tuple[Tensor, Any]) -> None:
        carry = output[1]
        carries.append(getattr(carry, "targets", carry))  # of a Pointed, or the bare tensor

    mixers = model.mixers if isinstance(model, Trunk) else []
    hooks = [mixer.register_forward_hook(record) for mixer in mixers]
    training = model.training
    try:
        model.eval()(tokens)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not carries or not all(_are_targets(carry) for carry in carries):
        accepted = "a model whose mixers point, such as pointer"
        raise InputError.about("model", type(model).__name__, accepted, "`--model`")
    return Trace(torch.stack(carries).cpu())


def _are_targets(carry: Any) -> bool:
    return isinstance(carry, Tensor) and carry.dtype == torch.int64 and carry.dim() == 3


def degeneracy(targets: Tensor) -> str | None:
    """Return how one layer's pointers int64[B, H, N] are degenerate, or None."""
    length = targets.shape[2]
    if length < SHORTEST_JUDGED:
        return None
    late = targets[:, :, length // 2 :]
    if bool((late == late[..., :1]).all()):
        return "every position of the second half points at the same position"
    positions = torch.arange(length // 2, length)
    if bool((late == positions).all()):
        return "every position points at itself"
    # Kolmogorov-Smirnov distance from uniform over the past, against its 1% point.
    quantile = ((positions - late + 0.5) / (positions + 1)).flatten().double().sort().values
    expected = (torch.arange(len(quantile)) + 0.5) / len(quantile)
    distance = float((quantile - expected).abs().max())
    if distance < 1.63 / len(quantile) ** 0.5:
        return "targets are spread uniformly over the past"
    return None
