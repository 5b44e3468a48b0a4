"""Mixers with one fault each, and one without, for the tests of the contract."""

import itertools

import numpy as np
import torch
from torch import nn

from pointer.trunk import Mixer
from workflow.bench.measure.contract import PARITY_LENGTH


class Good(Mixer):
    """A causal running mean with a projection; others change what it has, sees or shows."""

    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)
        for name, value in self.has(shape).items():
            setattr(self, name, value)

    def has(self, shape):
        return {}  # further attributes

    def sees(self, x):
        return x

    def shows(self, y, x):
        return y

    def forward(self, x, carry):
        seen = self.sees(x)
        count = torch.arange(1, seen.shape[1] + 1).unsqueeze(-1)
        return self.shows(self.linear(seen.cumsum(1) / count), x), carry


def other(name, **changed):
    return type(name, (Good,), changed)


def zeros(shape):
    linear = nn.Linear(shape.width, shape.width)
    nn.init.zeros_(linear.weight)
    return linear


def wide(shape):
    width = 16 * shape.width
    return nn.Sequential(nn.Linear(shape.width, width), nn.Linear(width, shape.width))


def unmade(self, shape):
    raise ValueError("no such thing")


def after(position, x):
    return (torch.arange(x.shape[1]) >= position).unsqueeze(-1)


def ahead(self, x):
    return x.roll(-self.ahead, dims=1)


# No branch at all at the start: nothing passes its projection before the first step.
StartsAtZero = other("StartsAtZero", has=lambda self, shape: {"linear": zeros(shape)})

# These see the future: always by one token, from a position on, through a gate that training has
# yet to open, in a layer that small models do not have.
Leaky = other("Leaky", ahead=1, sees=ahead)
LateLeak = other("LateLeak", shows=lambda self, y, x: y + after(200, x) * x.mean(1, keepdim=True))
GatedLeak = other(
    "GatedLeak",
    has=lambda self, shape: {"gate": nn.Parameter(torch.zeros(1))},
    shows=lambda self, y, x: y + self.gate * x.mean(1, keepdim=True),
)
Deep = other("Deep", has=lambda self, shape: {"ahead": int(shape.layer == 3)}, sees=ahead)
# Reads no later token, but how many there are.
KnowsLength = other("KnowsLength", shows=lambda self, y, x: y / x.shape[1])

# These mix the sequences of a batch: always, by statistics in training, four or more.
AcrossBatch = other("AcrossBatch", shows=lambda self, y, x: y - x.mean(0, keepdim=True))
Normalises = other(
    "Normalises",
    has=lambda self, shape: {"norm": nn.BatchNorm1d(shape.width)},
    sees=lambda self, x: self.norm(x.transpose(1, 2)).transpose(1, 2),
)
FourTogether = other("FourTogether", sees=lambda self, x: x - x.mean(0) if len(x) >= 4 else x)

Explodes = other("Explodes", shows=lambda self, y, x: y.masked_fill(after(40, x), torch.nan))
# Needs an even length.
EvenOnly = other("EvenOnly", sees=lambda self, x: x.unflatten(1, (-1, 2)).flatten(1, 2))
# One vector for all positions: the trunk's sum would broadcast it.
Pooled = other("Pooled", shows=lambda self, y, x: y[:, :1])
# y without the carry.
Lonely = other("Lonely", forward=lambda self, x, carry: Good.forward(self, x, carry)[0])
Doubles = other("Doubles", shows=lambda self, y, x: y.double())
# Noise from a source that no seed reaches, in training.
Random = other(
    "Random",
    source=torch.Generator().manual_seed(1),
    shows=lambda self, y, x: y + torch.randn(x.shape, generator=self.source) * self.training,
)
Drops = other("Drops", shows=lambda self, y, x: nn.functional.dropout(y, 0.5, self.training))
DropsByName = other("DropsByName", has=lambda self, shape: {"drop": nn.Dropout(0.1)})

# Parameters that nothing uses, too many, under a table's name, as long as N under another name,
# as wide as the length at which parity is counted, complex.
Unused = other("Unused", has=lambda self, shape: {"spare": nn.Linear(shape.width, shape.width)})
Heavy = other("Heavy", has=lambda self, shape: {"linear": wide(shape)})
Hidden = other(
    "Hidden",
    has=lambda self, shape: {"secret_table": nn.Parameter(torch.randn(shape.width, shape.width))},
    sees=lambda self, x: x @ self.secret_table,
)
Filters = other(
    "Filters", has=lambda self, shape: {"filter": nn.Parameter(torch.zeros(shape.length))}
)
WideTable = other(
    "WideTable",
    has=lambda self, shape: {"up_table": nn.Parameter(torch.zeros(shape.width, PARITY_LENGTH))},
)
Complex = other(
    "Complex",
    has=lambda self, shape: {"spectrum": nn.Parameter(torch.zeros(4, dtype=torch.complex64))},
)

# A part of the weights outside the state_dict.
Forgets = other(
    "Forgets",
    has=lambda self, shape: {"hidden": [torch.randn(shape.width)]},
    shows=lambda self, y, x: y * self.hidden[0],
)
# Cannot be made.
Unbuildable = other("Unbuildable", has=unmade)
# Keeps its output for a shape that it has seen in inference.
Stale = other(
    "Stale",
    has=lambda self, shape: {"kept": {}},
    shows=lambda self, y, x: (
        y if self.training or len(x) == 1 else self.kept.setdefault(x.shape, y)
    ),
)
# Calls a rotary base its period.
Slow = other("Slow", period=10_000)


class LateInTraining(Good):
    """Sees one token ahead once a tenth of training is done."""

    ahead, sees = 0, ahead

    def set_progress(self, done):
        self.ahead = int(done > 0.1)


class Remembers(Good):
    """Carries something from one call to the next."""

    memory = 0.0

    def shows(self, y, x):
        self.memory += 1.0
        return y * self.memory


class Counts(Good):
    """Counts its training passes where no checkpoint looks, for later."""

    _passes = 0

    def shows(self, y, x):
        self._passes += self.training
        return y


class Lists(Good):
    """Keeps its last inputs in a list in a dictionary."""

    def has(self, shape):
        return {"seen": {"inputs": []}}

    def shows(self, y, x):
        self.seen["inputs"].append(x.detach())
        return y


class Closure(Good):
    """Halves its output from the fourth training pass on, which it counts out of sight."""

    def __init__(self, shape):
        super().__init__(shape)
        passes = itertools.count()
        self.factor = lambda: 1 if next(passes) < 3 else 2

    def shows(self, y, x):
        return y / self.factor() if self.training else y


class Square(Good):
    """Averages by an N x N matrix and says that it is linear."""

    def forward(self, x, carry):
        weights = torch.ones(x.shape[1], x.shape[1]).tril()
        return self.linear(weights / weights.sum(-1, keepdim=True) @ x), carry


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

    def has(self, shape):
        return {"kept": {}}

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


class Told(Good):
    """Has a setting that would be told the copy task's distance."""

    def __init__(self, shape, *, distance=1):
        super().__init__(shape)


class Quits(Good):
    """Ends the process."""

    def sees(self, x):
        raise SystemExit(0)


class NearTie(Good):
    """No fault: chooses by what is zero but for the rounding of a sum over all positions."""

    def sees(self, x):
        everything = x.sum(1, keepdim=True)
        rounding = (x + everything) - everything - x
        return torch.where(rounding.abs() > 1e-9, -x, x)
