"""Experiment `two_hop`: what does the chain give where no single pointer reaches?

The copy task beyond the reach of one layer: with `window` and `k` alike a layer points at most R = window - 1 back, so
that a distance D in R < D <= 2R takes two hops, and one beyond 6 R cannot be had by adding up the hops of six layers.

    R = 31, D = 48    position  i-48 ........ i-24 ........ i
                      layer a   i-24 points at i-48, so its state holds that symbol
                      layer b   i points at i-24 and reads it there

The chain's encoding tells a layer how far the lower one went, which may help it to choose the rest; candidates from
the chain let a layer go on from where the lower one ended. `reach` holds every layer's table to the window, also where
a layer has room for more shared offsets. Cells are those of `ablation`.
"""

from __future__ import annotations

from workflow.bench.ablation import run

__all__ = ["run"]
