"""Mixers with one fault each, and one without, for the tests of the contract."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointer.trunk import LayerShape, Mixer, Trunk
from workflow.bench.measure.causality import SYMBOLS
from workflow.bench.measure.contract import PARITY_LENGTH


class Good(Mixer):
    """A causal running mean with a projection."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        count = torch.arange(1, x.shape[1] + 1).unsqueeze(-1)
        return self.linear(x.cumsum(1) / count), carry


class StartsAtZero(Good):
    """Starts as no branch at all: nothing passes its projection before the first step."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        nn.init.zeros_(self.linear.weight)


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


class DropsByName(Good):
    """Dropout as a module."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.drop = nn.Dropout(0.1)


class Forgets(Good):
    """Keeps a part of its weights outside the state_dict."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.hidden = [torch.randn(shape.width)]

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return y * self.hidden[0], carry


class Counts(Good):
    """Counts its training passes where no checkpoint looks, for later."""

    _passes = 0

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        self._passes += self.training
        return super().forward(x, carry)


class Lists(Good):
    """Keeps its last inputs in a list in a dictionary."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.seen: dict[str, list[Tensor]] = {"inputs": []}

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        self.seen["inputs"].append(x.detach())
        return super().forward(x, carry)


class Closure(Good):
    """Halves its output from the fourth training pass on, which it counts out of sight."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        passes = itertools.count()
        self.factor = lambda: 1 if next(passes) < 3 else 2

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        return (y / self.factor() if self.training else y), carry


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
        self.linear = nn.Sequential(
            nn.Linear(shape.width, 16 * shape.width), nn.Linear(16 * shape.width, shape.width)
        )  # type: ignore[assignment]


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


class Outside(Good):
    """Multiplies N x N numbers where nobody counts."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x, carry)
        numbers = x.detach().numpy()
        squares = np.tril(numbers @ numbers.transpose(0, 2, 1)) @ numbers
        return y + 1e-3 * torch.from_numpy(squares), carry


class Understates(Outside):
    """Declares less than that."""

    def flops(self, batch: int, length: int) -> tuple[int, int]:
        return 10 * batch * length, 20 * batch * length


class KeepsOutputs(Good):
    """Keeps its output for tokens that it has seen, in inference."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.kept: dict[bytes, Tensor] = {}

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        if self.training:
            return super().forward(x, carry)
        key = x.numpy().tobytes()
        if key not in self.kept:
            self.kept[key] = super().forward(x, carry)[0]
        return self.kept[key], carry


class Seeds(Good):
    """Sets the seed that everybody draws from."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        torch.manual_seed(0)
        return super().forward(x, carry)


class InPlace(Good):
    """Changes its input."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        y, carry = super().forward(x.clone(), carry)
        with torch.no_grad():
            x.mul_(2)
        return y, carry


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
