"""Where a model points: targets, hop distances and chains (paper section 3.2, interpretability)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import Trunk


@dataclass(frozen=True)
class Trace:
    """targets: int64[L, B, H, N], the one position that each position of each layer and pointer head points at (targets
    <= own position).
    """

    targets: Tensor

    @property
    def hops(self) -> Tensor:
        """Hop distances in tokens, int64[L, B, H, N]: position minus target."""
        return torch.arange(self.targets.shape[3]) - self.targets

    def hops_mean(self) -> list[float]:
        """Mean hop distance of each layer, tokens."""
        return [float(layer.double().mean()) for layer in self.hops]

    def hops_max(self) -> list[int]:
        """Longest hop of each layer, tokens."""
        return [int(layer.max()) for layer in self.hops]

    def chain(self, position: int, *, batch: int = 0, head: int = 0) -> list[int]:
        """The positions visited from `position` at the top layer down to the root below layer 0: L + 1 of them.

        Raises InputError for a position that is not in the sequence.
        """
        length = self.targets.shape[3]
        if not 0 <= position < length:
            raise InputError.about("position", position, f"0 to {length - 1}", "`--position`")
        chain = [position]
        for layer in reversed(self.targets[:, batch, head]):
            chain.append(int(layer[chain[-1]]))
        return chain

    def warnings(self) -> list[str]:
        """One line for each layer, counted from 1 below, whose pointer is degenerate."""
        found = [(number, degeneracy(layer)) for number, layer in enumerate(self.targets, start=1)]
        return [f"degenerate pointer in layer {number}: {what}" for number, what in found if what]


@torch.no_grad()
def trace(model: nn.Module, tokens: Tensor) -> Trace:
    """Runs the model on tokens int64[B, N] in hard inference and records every layer's targets.

    Raises InputError for a model whose mixers do not point (their carry is not int64[B, H, N]).
    """
    carries: list[Tensor] = []
    mixers = model.mixers if isinstance(model, Trunk) else []
    hooks = [m.register_forward_hook(lambda _m, _i, output: carries.append(_targets(output[1]))) for m in mixers]
    training = model.training
    try:
        model.eval()(tokens)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not carries or not all(isinstance(c, Tensor) and c.dtype == torch.int64 and c.dim() == 3 for c in carries):
        raise InputError.about(
            "model", type(model).__name__, "a model whose mixers point, such as pointer", "`--model`"
        )
    return Trace(torch.stack(carries).cpu())


def _targets(carry: Any) -> Any:
    """The targets of a mixer's carry: a Pointed, or the bare tensor."""
    return getattr(carry, "targets", carry)


def degeneracy(targets: Tensor) -> str | None:
    """Says how one layer's pointers, int64[B, H, N], are degenerate, or None. Too short sequences are not judged."""
    length = targets.shape[2]
    if length < 64:
        return None
    late = targets[:, :, length // 2 :]
    if bool((late == late[..., :1]).all()):
        return "every position of the second half points at the same position"
    positions = torch.arange(length // 2, length)
    if bool((late == positions).all()):
        return "every position points at itself"
    quantile = ((positions - late + 0.5) / (positions + 1)).flatten().double().sort().values
    expected = (torch.arange(len(quantile)) + 0.5) / len(quantile)
    distance = float((quantile - expected).abs().max())  # Kolmogorov-Smirnov, against uniform over the past
    if distance < 1.63 / len(quantile) ** 0.5:  # its 1% point: larger for a pointer that is not uniform
        return "targets are spread uniformly over the past"
    return None
