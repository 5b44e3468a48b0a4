"""What multi-head baselines share: initialised projections, splitting a width into heads, and reading list settings.

A baseline of the attention kind subclasses `HeadMixer` and writes `attend`; its four projections cost 4 d^2 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import INIT_STD, LayerShape, Mixer

WHERE = "`--set`, or `mixer` in the config"


def input_projection(inputs: int, outputs: int) -> nn.Linear:
    """A linear map without bias, normal with GPT-2's std."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=INIT_STD)
    return linear


def output_projection(shape: LayerShape) -> nn.Linear:
    """The map d -> d back to the residual stream; std scaled by 1/sqrt(2L), as GPT-2 does for residual outputs."""
    linear = nn.Linear(shape.width, shape.width, bias=False)
    nn.init.normal_(linear.weight, std=INIT_STD / (2 * shape.layers) ** 0.5)
    return linear


def head_width(shape: LayerShape) -> int:
    """Channels e of one head. Raises InputError where heads do not divide the width."""
    if shape.width % shape.heads:
        raise InputError.about("heads", shape.heads, f"a divisor of the width {shape.width}", "`heads` of the model")
    return shape.width // shape.heads


def split_heads(x: Tensor, heads: int) -> Tensor:
    """float[B, N, H e] -> float[B, H, N, e], a view."""
    by_head: Tensor = x.unflatten(-1, (heads, -1))
    return by_head.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """float[B, H, N, e] -> float[B, N, H e]."""
    return x.transpose(1, 2).flatten(2)


class HeadMixer(Mixer):
    """Queries, keys and values from one projection, `attend`, output projection."""

    one_mode = True

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        head_width(shape)
        self.heads = shape.heads
        self.qkv = input_projection(shape.width, 3 * shape.width)
        self.out = output_projection(shape)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v: float[B, H, N, e] -> float[B, H, N, e], causal in N."""
        raise NotImplementedError

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """x: float[B, N, d] -> (float[B, N, d], carry unchanged)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend(q, k, v))), carry


def whole_numbers(name: str, value: str | int | Sequence[int], count: int) -> tuple[int, ...]:
    """`count` integers >= 1 from a sequence, one for all, or text such as "64,64,128" (the command line's form).

    Raises InputError for anything else.
    """
    accepted = f"one integer >= 1, or {count} of them with commas between"
    try:
        numbers = [int(part) for part in (str(value).split(",") if isinstance(value, str | int) else value)]
    except ValueError:
        raise InputError.about(name, value, accepted, WHERE) from None
    numbers = numbers * count if len(numbers) == 1 else numbers
    if len(numbers) != count or min(numbers) < 1:
        raise InputError.about(name, value, accepted, WHERE)
    return tuple(numbers)


def at_least(name: str, value: int, least: int) -> int:
    """The value, or InputError where it is below `least`."""
    if value < least:
        raise InputError.about(name, value, f"an integer >= {least}", WHERE)
    return value
