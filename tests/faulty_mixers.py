"""Mixers with one fault each, and one without, for the tests of the contract."""

import itertools

import numpy as np
import torch
from torch import nn

from pointer.trunk import Mixer
from workflow.bench.measure.causality import SYMBOLS
from workflow.bench.measure.contract import PARITY_LENGTH


class Good(Mixer):
    """A causal running mean with a projection; others change what it has, sees or shows."""

    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)
        self.adds(shape)

    def adds(self, shape):
        pass

    def sees(self, x):
        return x

    def shows(self, y, x):
        return y

    def forward(self, x, carry):
        seen = self.sees(x)
        count = torch.arange(1, seen.shape[1] + 1).unsqueeze(-1)
        return self.shows(self.linear(seen.cumsum(1) / count), x), carry


class StartsAtZero(Good):
    """Starts as no branch at all: nothing passes its projection before the first step."""

    def adds(self, shape):
        nn.init.zeros_(self.linear.weight)


class Leaky(Good):
    """Sees one token ahead."""

    def sees(self, x):
        return x.roll(-1, dims=1)


class LateLeak(Good):
    """Sees the future from position 200 on only."""

    def shows(self, y, x):
        return y + (torch.arange(x.shape[1]) >= 200).unsqueeze(-1) * x.mean(1, keepdim=True)


class LongLeak(Good):
    """Sees the future in sequences that are longer than one of its chunks."""

    def shows(self, y, x):
        return y + x.mean(1, keepdim=True) if x.shape[1] > 1024 else y


class GatedLeak(Good):
    """Sees the future through a gate that training has yet to open."""

    def adds(self, shape):
        self.gate = nn.Parameter(torch.zeros(1))

    def shows(self, y, x):
        return y + self.gate * x.mean(1, keepdim=True)


class AcrossBatch(Good):
    """Mixes the sequences of a batch."""

    def shows(self, y, x):
        return y - x.mean(0, keepdim=True)


class Remembers(Good):
    """Carries something from one call to the next."""

    memory = 0.0

    def shows(self, y, x):
        self.memory += 1.0
        return y * self.memory


class Random(Good):
    """Draws noise from a source that no seed reaches, in training."""

    source = torch.Generator().manual_seed(1)

    def shows(self, y, x):
        return y + torch.randn(x.shape, generator=self.source) * self.training


class Explodes(Good):
    """Yields NaN from position 40 on."""

    def shows(self, y, x):
        return y.masked_fill((torch.arange(x.shape[1]) >= 40).unsqueeze(-1), torch.nan)


class Unused(Good):
    """Has weights that nothing uses."""

    def adds(self, shape):
        self.spare = nn.Linear(shape.width, shape.width)


class Drops(Good):
    """Dropout that never ends."""

    def shows(self, y, x):
        return nn.functional.dropout(y, 0.5, self.training)


class DropsByName(Good):
    """Dropout as a module."""

    def adds(self, shape):
        self.drop = nn.Dropout(0.1)


class Forgets(Good):
    """Keeps a part of its weights outside the state_dict."""

    def adds(self, shape):
        self.hidden = [torch.randn(shape.width)]

    def shows(self, y, x):
        return y * self.hidden[0]


class Counts(Good):
    """Counts its training passes where no checkpoint looks, for later."""

    _passes = 0

    def shows(self, y, x):
        self._passes += self.training
        return y


class Lists(Good):
    """Keeps its last inputs in a list in a dictionary."""

    def adds(self, shape):
        self.seen = {"inputs": []}

    def shows(self, y, x):
        self.seen["inputs"].append(x.detach())
        return y


class Closure(Good):
    """Halves its output from the fourth training pass on, which it counts out of sight."""

    def adds(self, shape):
        passes = itertools.count()
        self.factor = lambda: 1 if next(passes) < 3 else 2

    def shows(self, y, x):
        return y / self.factor() if self.training else y


class EvenOnly(Good):
    """Needs an even length."""

    def sees(self, x):
        return x.unflatten(1, (x.shape[1] // 2, 2)).flatten(1, 2)


class Pooled(Good):
    """Returns one vector for all positions; the trunk's sum would broadcast it."""

    def shows(self, y, x):
        return y[:, :1]


class Lonely(Good):
    """Returns y without the carry."""

    def forward(self, x, carry):
        return super().forward(x, carry)[0]


class KnowsLength(Good):
    """Reads no later token, but how many there are."""

    def shows(self, y, x):
        return y / x.shape[1]


class Normalises(Good):
    """Batch statistics in training: they leak the future and the batch, unseen in inference."""

    def adds(self, shape):
        self.norm = nn.BatchNorm1d(shape.width)

    def sees(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Heavy(Good):
    """Twice the parameters that a whole model may have."""

    def adds(self, shape):
        wide = 16 * shape.width
        self.linear = nn.Sequential(nn.Linear(shape.width, wide), nn.Linear(wide, shape.width))


class Hidden(Good):
    """Calls its weights a position table."""

    def adds(self, shape):
        self.secret_table = nn.Parameter(torch.randn(shape.width, shape.width))

    def sees(self, x):
        return x @ self.secret_table


class Square(Good):
    """Averages by an N x N matrix and says that it is linear."""

    def forward(self, x, carry):
        weights = torch.ones(x.shape[1], x.shape[1]).tril()
        return self.linear(weights / weights.sum(-1, keepdim=True) @ x), carry


class Deep(Good):
    """Sees one token ahead in its fourth layer, which small models do not have."""

    def adds(self, shape):
        self.ahead = int(shape.layer == 3)

    def sees(self, x):
        return x.roll(-self.ahead, dims=1)


class LateInTraining(Good):
    """Sees one token ahead once a tenth of training is done."""

    ahead = 0

    def set_progress(self, done):
        self.ahead = int(done > 0.1)

    def sees(self, x):
        return x.roll(-self.ahead, dims=1)


class FourTogether(Good):
    """Centres a batch of four or more."""

    def sees(self, x):
        return x - x.mean(0) if len(x) >= 4 else x


class Stale(Good):
    """Keeps its output for a shape that it has seen in inference."""

    def adds(self, shape):
        self.kept = {}

    def shows(self, y, x):
        return y if self.training or len(x) == 1 else self.kept.setdefault(x.shape, y)


class Outside(Good):
    """Multiplies N x N numbers where nobody counts."""

    def shows(self, y, x):
        numbers = x.detach().numpy()
        squares = np.tril(numbers @ numbers.transpose(0, 2, 1)) @ numbers
        return y + 1e-3 * torch.from_numpy(squares)


class Understates(Outside):
    """Declares less than that."""

    def flops(self, batch, length):
        return 10 * batch * length, 20 * batch * length


class KeepsOutputs(Good):
    """Keeps its output for tokens that it has seen, in inference."""

    def adds(self, shape):
        self.kept = {}

    def forward(self, x, carry):
        if self.training:
            return super().forward(x, carry)
        key = x.numpy().tobytes()
        if key not in self.kept:
            self.kept[key] = super().forward(x, carry)[0]
        return self.kept[key], carry


class Seeds(Good):
    """Sets the seed that everybody draws from."""

    def sees(self, x):
        torch.manual_seed(0)
        return x


class InPlace(Good):
    """Changes its input."""

    def sees(self, x):
        seen = x.clone()
        with torch.no_grad():
            x.mul_(2)
        return seen


class Lazy(Good):
    """Makes a parameter in its first forward pass."""

    def sees(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(x.shape[-1]))
        return x * self.late


class Filters(Good):
    """A parameter as long as N that is not called a table."""

    def adds(self, shape):
        self.filter = nn.Parameter(torch.zeros(shape.length))


class WideTable(Good):
    """A network under a table's name, as wide as the length at which parity is counted."""

    def adds(self, shape):
        self.up_table = nn.Parameter(torch.zeros(shape.width, PARITY_LENGTH))


class Complex(Good):
    """A complex parameter, two numbers an entry."""

    def adds(self, shape):
        self.spectrum = nn.Parameter(torch.zeros(4, dtype=torch.complex64))


class Told(Good):
    """Has a setting that would be told the copy task's distance."""

    def __init__(self, shape, *, distance=1):
        super().__init__(shape)


class Slow(Good):
    """Calls a rotary base its period."""

    period = 10_000


class Quits(Good):
    """Ends the process."""

    def sees(self, x):
        raise SystemExit(0)


class Doubles(Good):
    """Returns another type than it was given."""

    def shows(self, y, x):
        return y.double()


class Unbuildable(Good):
    """Cannot be made."""

    def __init__(self, shape):
        raise ValueError("no such thing")


class Clamps(nn.Module):
    """Cuts what is too long instead of refusing it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens):
        return self.inner(tokens[:, : self.inner.length].clamp(max=SYMBOLS - 1))
