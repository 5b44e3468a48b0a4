"""Does the contract refuse planted faults, each with its reason, and pass models that keep it?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import LayerShape, Mixer, Trunk
from workflow.bench import contract, registry
from workflow.bench.contract import LENGTH, SYMBOLS, Subject


class Good(Mixer):
    """A causal running mean with a projection."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        count = torch.arange(1, x.shape[1] + 1).unsqueeze(-1)
        return self.linear(x.cumsum(1) / count), carry


class Leaky(Good):
    """Sees one token ahead."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x.roll(-1, dims=1), carry)


class LateLeak(Good):
    """Sees the future from position 200 on only."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        late = (torch.arange(x.shape[1]) >= 200).unsqueeze(-1)
        return y + late * x.mean(1, keepdim=True), carry


class AcrossBatch(Good):
    """Mixes the sequences of a batch."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y - x.mean(0, keepdim=True), carry


class Remembers(Good):
    """Carries something from one call to the next."""

    memory = 0.0

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        self.memory += 1.0
        return y * self.memory, carry


class Random(Good):
    """Draws noise from a source that no seed reaches, in training."""

    source = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y + torch.randn(x.shape, generator=self.source) * self.training, carry


class Explodes(Good):
    """Yields NaN from position 40 on."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y.masked_fill((torch.arange(x.shape[1]) >= 40).unsqueeze(-1), torch.nan), carry


class Narrow(Good):
    """Loses the last position."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x[:, :-1], carry)


class Unused(Good):
    """Has weights that nothing uses."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.spare = nn.Linear(shape.width, shape.width)


class Drops(Good):
    """Dropout that never ends."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return nn.functional.dropout(y, 0.5, self.training), carry


class Forgets(Good):
    """Keeps a part of its weights outside the state_dict."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.hidden = [torch.randn(shape.width)]

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y * self.hidden[0], carry


class EvenOnly(Good):
    """Needs an even length."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        pairs = x.unflatten(1, (x.shape[1] // 2, 2))
        return super().forward(pairs.flatten(1, 2), carry)


class Clamps(nn.Module):
    """Cuts what is too long instead of refusing it."""

    def __init__(self, inner: Trunk) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.inner(tokens[:, :LENGTH].clamp(max=SYMBOLS - 1))
        return logits


def trunk(mixer: Callable[[LayerShape], Mixer], layers: int) -> Trunk:
    sizes = {"layers": layers, "width": 256, "heads": 4, "ffn_width": 904}
    return Trunk(mixer, symbols=SYMBOLS, length=LENGTH, learned_positions=False, **sizes)


def failed(
    mixer: Callable[[LayerShape], Mixer], wrap: Callable[[Trunk], nn.Module] = lambda model: model
) -> dict[str, str]:
    """The checks that a planted model fails, with their reasons."""
    subject = Subject("planted", lambda layers: wrap(trunk(mixer, layers)))
    return {found.name: found.reason for found in contract.check_subject(subject) if not found.ok}


def test_a_model_that_keeps_the_contract_passes() -> None:
    assert failed(Good) == {}


@pytest.mark.parametrize(
    ("mixer", "check", "reason"),
    [
        (Leaky, "causal", r"^output 0 changes by .* when tokens from 1 on change$"),
        (LateLeak, "causal", r"^output 200 changes by .* when tokens from 201 on change$"),
        (AcrossBatch, "independent of batch", r"^sequence 0 alone differs by .* from itself in a batch of 3$"),
        (Remembers, "repeatable", r"^two inference calls on the same tokens differ$"),
        (Random, "repeatable", r"^two training passes of one seed differ in the gradient of "),
        (Explodes, "finite", r"^logits are not finite from position 40 in inference mode$"),
        (Unused, "gradients", r"^no gradient reaches blocks.0.mixer.spare.weight$"),
        (Drops, "same in training", r"^training mode without noise differs by .* from inference$"),
        (Forgets, "saved and loaded", r"^a model loaded from saved weights gives other outputs"),
        (EvenOnly, "any length", r"^at N = 1: "),
        (Narrow, "shapes", r"raised RuntimeError: The size of tensor"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_planted_fault_is_refused_with_its_reason(mixer: type[Mixer], check: str, reason: str) -> None:
    found = failed(mixer)
    assert check in found
    assert re.search(reason, found[check]), found[check]


def test_a_model_that_clamps_its_input_is_refused() -> None:
    assert failed(Good, Clamps) == {"bad input": f"N = {LENGTH + 1} > length {LENGTH} is accepted without an error"}


def test_a_model_of_another_size_fails_parity() -> None:
    subject = Subject("small", lambda layers: trunk(Good, 1))
    found = {check.name: check.reason for check in contract.check_subject(subject)}
    assert "parameters without position tables; accepted: 3,200,000 within 10%" in found["parity"]


@pytest.mark.parametrize("name", registry.names())
def test_every_registered_model_keeps_the_contract(name: str) -> None:
    found = contract.check(name)
    assert [check for check in found if not check.ok] == []
    assert len(found) >= 5


def test_untrained_controls_are_exempt_from_causality() -> None:
    assert "causal" not in {check.name for check in contract.check("oracle-copy")}
    assert "causal" in {check.name for check in contract.check("uniform")}


def test_an_unknown_model_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'transformer'"):
        contract.check("transfomer")
