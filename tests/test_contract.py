"""Does the contract refuse planted faults, each with its reason, and pass models that keep it?"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import LayerShape, Mixer, Trunk
from workflow.bench import registry
from workflow.bench.measure import contract
from workflow.bench.measure.contract import PARITY_LENGTH
from workflow.bench.measure.subject import LENGTH, SYMBOLS, Subject
from workflow.bench.outcomes import EnvironmentFault


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


class LongLeak(Good):
    """Sees the future in sequences that are longer than one of its chunks."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return (y + x.mean(1, keepdim=True) if x.shape[1] > 1024 else y), carry


class GatedLeak(Good):
    """Sees the future through a gate that training has yet to open."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y + self.gate * x.mean(1, keepdim=True), carry


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


class Pooled(Good):
    """Returns one vector for all positions; the trunk's sum would broadcast it."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y[:, :1], carry


class Lonely(Good):
    """Returns y without the carry."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x, carry)[0]  # type: ignore[return-value]


class KnowsLength(Good):
    """Reads no later token, but how many there are."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y / x.shape[1], carry


class Normalises(Good):
    """Batch statistics in training: they leak the future and the batch, unseen in inference."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.norm = nn.BatchNorm1d(shape.width)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(self.norm(x.transpose(1, 2)).transpose(1, 2), carry)


class Heavy(Good):
    """Twice the parameters that a whole model may have."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.linear = nn.Sequential(nn.Linear(shape.width, 16 * shape.width), nn.Linear(16 * shape.width, shape.width))  # type: ignore[assignment]


class Hidden(Good):
    """Calls its weights a position table."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.secret_table = nn.Parameter(torch.randn(shape.width, shape.width))

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x @ self.secret_table, carry)


class Square(Good):
    """Averages by an N x N matrix and says that it is linear."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        weights = torch.ones(x.shape[1], x.shape[1]).tril()
        return self.linear(weights / weights.sum(-1, keepdim=True) @ x), carry


class Deep(Good):
    """Sees one token ahead in its fourth layer, which small models do not have."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.ahead = int(shape.layer == 3)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x.roll(-self.ahead, dims=1), carry)


class LateInTraining(Good):
    """Sees one token ahead once a tenth of training is done."""

    ahead = 0

    def set_progress(self, done: float) -> None:
        self.ahead = int(done > 0.1)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x.roll(-self.ahead, dims=1), carry)


class FourTogether(Good):
    """Centres a batch of four or more."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x - x.mean(0) if len(x) >= 4 else x, carry)


class Stale(Good):
    """Keeps its output for a shape that it has seen in inference."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.kept: dict[Any, Tensor] = {}

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        if self.training or len(x) == 1:
            return super().forward(x, carry)
        if x.shape not in self.kept:
            self.kept[x.shape] = super().forward(x, carry)[0]
        return self.kept[x.shape], carry


class Lazy(Good):
    """Makes a parameter in its first forward pass."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(x.shape[-1]))
        return super().forward(x * self.late, carry)


class Filters(Good):
    """A parameter as long as N that is not called a table."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.filter = nn.Parameter(torch.zeros(shape.length))


class WideTable(Good):
    """A network under a table's name, as wide as the length at which parity is counted."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.up_table = nn.Parameter(torch.zeros(shape.width, PARITY_LENGTH))


class Complex(Good):
    """A complex parameter, two numbers an entry."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.spectrum = nn.Parameter(torch.zeros(4, dtype=torch.complex64))


class Told(Good):
    """Has a setting that would be told the copy task's distance."""

    def __init__(self, shape: LayerShape, *, distance: int = 1) -> None:
        super().__init__(shape)


class Slow(Good):
    """Calls a rotary base its period."""

    period = 10_000


class Quits(Good):
    """Ends the process."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        raise SystemExit(0)


class Doubles(Good):
    """Returns another type than it was given."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return super().forward(x, carry)[0].double(), carry


class Unbuildable(Good):
    """Cannot be made."""

    def __init__(self, shape: LayerShape) -> None:
        raise ValueError("no such thing")


class Clamps(nn.Module):
    """Cuts what is too long instead of refusing it."""

    def __init__(self, inner: Trunk) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.inner(tokens[:, : self.inner.length].clamp(max=SYMBOLS - 1))
        return logits


def trunk(mixer: Callable[[LayerShape], Mixer], length: int = LENGTH, layers: int = 2, width: int = 64) -> Trunk:
    ffn_width = 4 if mixer is Heavy else round(3.53 * width)
    return Trunk(
        mixer,
        symbols=SYMBOLS,
        length=length,
        learned_positions=False,
        layers=layers,
        width=width,
        heads=4,
        ffn_width=ffn_width,
    )


def planted(mixer: Callable[[LayerShape], Mixer], wrap: Callable[[Trunk], nn.Module] = lambda model: model) -> Subject:
    """A mixer on the trunk as a model under test, sized as the registry sizes it (6 layers of 256 in full)."""
    return Subject(
        "planted", lambda length: wrap(trunk(mixer, length)), lambda length: wrap(trunk(mixer, length, 6, 256))
    )


def failed(
    mixer: Callable[[LayerShape], Mixer], wrap: Callable[[Trunk], nn.Module] = lambda model: model
) -> dict[str, str]:
    """The checks that a planted model fails, with their reasons."""
    return {found.name: found.reason for found in contract.check_subject(planted(mixer, wrap)) if not found.ok}


def test_a_model_that_keeps_the_contract_passes() -> None:
    assert failed(Good) == {}


@pytest.mark.parametrize(
    ("mixer", "check", "reason"),
    [
        (Leaky, "causal", r"^output 0 differs by .* when tokens from 1 on change: it sees the future$"),
        (LateLeak, "causal", r"^output 200 differs by .* when tokens from 201 on change: it sees the future$"),
        (LongLeak, "causal", r"^output 0 differs by .* when tokens from 300 on change: it sees the future$"),
        (GatedLeak, "causal", r"^output 0 differs by .* when tokens from 1 on change: it sees the future$"),
        (KnowsLength, "causal", r"^output 0 differs by .* with only 1 tokens given instead of 257$"),
        (AcrossBatch, "independent of batch", r"^output 0 differs by .* when sequence 0 is run alone"),
        (Remembers, "repeatable", r"^two inference calls on the same tokens differ at position 0: it keeps state or"),
        (Normalises, "same in training", r"^output 0 differs by .* in training mode \("),
        (Pooled, "shapes", r"^the mixer of layer 0 returns y \[3, 1, 64\] for x \[3, 10, 64\]; they must be the same$"),
        (Lonely, "shapes", r"^the mixer of layer 0 returns Tensor; expected a pair \(y, carry\)$"),
        (Heavy, "parity", r"^12,\d{3},\d{3} parameters without position tables; accepted: 3,200,000 within 10%"),
        (Hidden, "parity", r"^blocks.0.mixer.secret_table \[256, 256\] is not counted, being a position table"),
        (
            Square,
            "cost",
            r"^counted work of a training step grows [23]\.\d+-fold .* allows 2.02: say `cost: quadratic`$",
        ),
        (Unbuildable, "builds", r"^raised ValueError: no such thing \(test_contract.py, line \d+\)$"),
        (Random, "repeatable", r"^two training passes of one seed differ in the gradient of "),
        (Explodes, "finite", r"^logits are not finite from position 40 in inference mode, N = 131$"),
        (
            Deep,
            "as measured",
            r"^output 7 differs by .* when tokens from 8 on change, at full size .*: it sees the future$",
        ),
        (
            LateInTraining,
            "as measured",
            r"^output \d differs by .* when tokens from 8 on change, .*: it sees the future$",
        ),
        (
            FourTogether,
            "as measured",
            r"^output 0 differs by .* when sequence 0 is run alone instead of in a batch of 4",
        ),
        (Stale, "as measured", r"^output 8 differs by .* when sequence 0 is run alone instead of in a batch of 4"),
        (Lazy, "parity", r"^blocks.0.mixer.late is created in the first forward pass: not counted, not tr"),
        (Filters, "parity", r"^blocks.0.mixer.filter \[2048\] grows with N: .* whose name must end in `_table`$"),
        (WideTable, "parity", r"^blocks.0.mixer.up_table \[256, 2048\] is not counted, being a position table"),
        (Complex, "parity", r"^blocks.0.mixer.spectrum is complex and would count once"),
        (Told, "builds", r"^rename the setting `distance`: that name is reserved and would receive the copy"),
        (Slow, "builds", r"^Slow.period is 10000: that name is reserved .* accepted: 1 to 16"),
        (Quits, "shapes", r"^raised SystemExit: 0 \(test_contract.py, line \d+\)$"),
        (Doubles, "shapes", r"^the mixer of layer 0 returns torch.float64 for torch.float32$"),
        (Unused, "gradients", r"^no gradient reaches blocks.0.mixer.spare.weight$"),
        (Drops, "same in training", r"^output 0 differs by .* in training mode \(at the end of all schedules\)"),
        (Forgets, "saved and loaded", r"^a model loaded from saved weights gives other outputs"),
        (EvenOnly, "any length", r"^at N = 1: raised .* \(test_contract.py, line \d+\)$"),
        (Narrow, "shapes", r"^the mixer of layer 0 returns y \[3, 9, 64\] for x"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_planted_fault_is_refused_with_its_reason(mixer: type[Mixer], check: str, reason: str) -> None:
    function = getattr(contract, check.replace(" ", "_"))
    assert function in contract.applicable(planted(mixer))
    found = contract.run_check(function, planted(mixer))
    assert (found.name, found.ok) == (check, False)
    assert re.search(reason, found.reason), found.reason


def test_what_differs_at_every_call_is_not_called_a_view_of_the_future() -> None:
    assert failed(Remembers).keys() == {"repeatable"}
    assert failed(Explodes).keys() == {"finite"}


def test_checks_come_one_by_one() -> None:
    """Whoever waits sees what is done."""
    assert next(contract.check_subject(planted(Good))) == ("builds", True, "")


def test_a_loop_that_costs_more_in_its_backward_pass_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    work = iter([SimpleNamespace(forward=1.0, step=3.0), SimpleNamespace(forward=2.0, step=10.0)])
    monkeypatch.setattr(contract.flops, "count", lambda *_: next(work))
    found = contract.run_check(contract.cost, planted(Good))
    assert found.reason.startswith("counted work of a training step grows 3.33-fold")
    assert found.reason.endswith("x[:, i] in a loop has a gradient as large as x, x.unbind(1) has not")


def test_a_model_that_clamps_its_input_is_refused() -> None:
    assert failed(Good, Clamps) == {"bad input": f"N = {LENGTH + 1} > length {LENGTH} is accepted without an error"}


def test_a_model_that_cannot_be_built_fails_once() -> None:
    assert set(failed(Unbuildable)) == {"builds"}


def test_a_machine_without_memory_is_no_verdict_on_the_model() -> None:
    class Huge(Good):
        def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
            raise MemoryError("no memory")

    with pytest.raises(EnvironmentFault, match="MemoryError: no memory"):
        contract.run_check(contract.finite, planted(Huge))


@pytest.mark.parametrize("name", registry.names())
def test_every_registered_model_keeps_the_contract(name: str) -> None:
    found = list(contract.check(name))
    assert [check for check in found if not check.ok] == []
    assert len(found) >= 5


@pytest.mark.parametrize("mixer", [{"candidates": "offsets+content"}, {"credit": "none"}, {"hard": False, "k": 40}])
def test_a_variant_keeps_what_makes_its_numbers_fair(mixer: dict[str, Any]) -> None:
    found = list(contract.check("pointer", mixer))
    assert [check for check in found if not check.ok] == []
    assert {"causal", "independent of batch", "parity", "cost"} <= {check.name for check in found}


def test_a_bad_setting_is_no_fault_of_the_model() -> None:
    with pytest.raises(InputError, match="window is 99; accepted: 1 to 64"):
        contract.check("pointer", {"window": 99})


def test_untrained_controls_are_exempt_from_causality() -> None:
    assert "causal" not in {check.name for check in contract.check("oracle-copy")}
    assert "causal" in {check.name for check in contract.check("uniform")}


def test_an_unknown_model_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'transformer'"):
        contract.check("transfomer")
