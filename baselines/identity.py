"""How fast is the trunk alone?

Control without mixing: the feed-forward, widened to equal parameters, does everything. No model on
this trunk can be faster, and none that uses context may score like it. Cost: nothing.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pointer.trunk import LayerShape, Mixer


class Identity(Mixer):
    """Add zero to the residual stream."""

    one_mode = True

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (zeros[B, N, d] that occupy one number, carry)."""
        return x.new_zeros(()).expand_as(x), carry
