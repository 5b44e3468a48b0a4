"""Projections, heads and settings of multi-head baselines.

An attention baseline subclasses `HeadMixer` and implements `attend`; its projections have 4 d^2
parameters.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pointer.errors import MIXER_SETTINGS, InputError
from pointer.trunk import INIT_STD, LayerShape, Mixer


def input_projection(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear map without bias, normal with std 1/sqrt(inputs)."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=inputs**-0.5)
    return linear


def output_projection(shape: LayerShape) -> nn.Linear:
    """Return the map d -> d to the residual stream, std INIT_STD / sqrt(2L) as in GPT-2."""
    linear = nn.Linear(shape.width, shape.width, bias=False)
    nn.init.normal_(linear.weight, std=INIT_STD / (2 * shape.layers) ** 0.5)
    return linear


def head_width(shape: LayerShape) -> int:
    """Return the channels e of a head; raise InputError if heads do not divide the width."""
    if shape.width % shape.heads:
        accepted = f"a divisor of the width {shape.width}"
        raise InputError.about("heads", shape.heads, accepted, "`heads` of the model")
    return shape.width // shape.heads


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return float[B, N, H e] as a view float[B, H, N, e]."""
    by_head: Tensor = x.unflatten(-1, (heads, -1))
    return by_head.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Map float[B, H, N, e] to float[B, N, H e]."""
    return x.transpose(1, 2).flatten(2)


class HeadMixer(Mixer):
    """A mixer with queries, keys and values from one projection, and an output projection."""

    one_mode = True

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        head_width(shape)
        self.heads = shape.heads
        self.qkv = input_projection(shape.width, 3 * shape.width)
        self.out = output_projection(shape)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e], causally in N."""
        raise NotImplementedError

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend(q, k, v))), carry


def whole_numbers(name: str, value: str | int, count: int) -> tuple[int, ...]:
    """Return `count` integers >= 1 from one, or text like "64,64,128"; else raise InputError."""
    accepted = f"one integer >= 1, or {count} of them with commas between"
    try:
        numbers = [int(part) for part in str(value).split(",")]
    except ValueError:
        raise InputError.about(name, value, accepted, MIXER_SETTINGS) from None
    numbers = numbers * count if len(numbers) == 1 else numbers
    if len(numbers) != count or min(numbers) < 1:
        raise InputError.about(name, value, accepted, MIXER_SETTINGS)
    return tuple(numbers)


def at_least(name: str, value: int, least: int) -> int:
    """Return the value; raise InputError if it is below `least`."""
    if value < least:
        raise InputError.about(name, value, f"an integer >= {least}", MIXER_SETTINGS)
    return value
