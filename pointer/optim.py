"""The optimisers of every model: AdamW for weights, TableMomentum for offset tables.

Adam scales each coordinate by its own gradient, so thousands of noise offsets of a table walk as
fast as the true one. `TableMomentum` divides by the root mean square of a whole row, which keeps
the offsets' relative gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.01


class TableMomentum(torch.optim.Optimizer):
    """table -= step * mean of gradient / rms(gradient), the rms over a row float[..., length]."""

    def __init__(
        self,
        params: Iterable[Tensor],
        step: float = 0.05,
        momentum: float = 0.9,
        eps: float = 1e-12,
    ) -> None:
        super().__init__(params, {"lr": step, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every table that has a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group)

    def _update(self, table: Tensor, group: dict[str, Any]) -> None:
        assert table.grad is not None
        mean = self.state[table].setdefault("momentum", torch.zeros_like(table))
        rms = table.grad.square().mean(-1, keepdim=True).sqrt() + group["eps"]
        mean.mul_(group["momentum"]).add_(table.grad / rms, alpha=1 - group["momentum"])
        table.sub_(mean, alpha=group["lr"])


def optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Return AdamW at `lr` for all but the tables, then the mixers' own optimisers.

    A mixer may define `table_optimizer()`, which returns an optimiser or None, and `own_rates(lr)`,
    the parameters that AdamW trains at rates of their own without weight decay. `initial_lr` keeps
    each group's base rate, for the schedule.
    """
    own: list[torch.optim.Optimizer] = []
    rates: dict[nn.Parameter, float] = {}
    mixers: list[Any] = list(model.modules())
    for mixer in mixers:
        optimizer = mixer.table_optimizer() if hasattr(mixer, "table_optimizer") else None
        if optimizer is not None:
            own.append(optimizer)
        if hasattr(mixer, "own_rates"):
            rates.update(mixer.own_rates(lr))
    taken = {id(p) for p in rates}
    for optimizer in own:
        taken.update(id(p) for group in optimizer.param_groups for p in group["params"])
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    groups: list[dict[str, Any]] = [{"params": rest}]
    for rate in sorted(set(rates.values())):
        alike = [p for p, own_rate in rates.items() if own_rate == rate]
        groups.append({"params": alike, "lr": rate, "weight_decay": 0.0})
    adam = torch.optim.AdamW(groups, lr=lr, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    for optimizer in (adam, *own):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [adam, *own]
