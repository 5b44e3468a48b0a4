"""Does the trained model still look at the past alone? Asked of the very model whose score a row is about to publish.

The contract is checked on other models, before any training; what shows only after many
steps, or at a row's own length, shows here.
"""

from __future__ import annotations

from torch import nn

from workflow.bench.measure import devices, models
from workflow.bench.measure.contract_checks import changed_from, logits_of
from workflow.bench.outcomes import Outcome
from workflow.bench.settings import Settings
from workflow.bench.verdicts import BREAKS

SHARE = 1e-3  # of the largest logit: rounding stays far below, a leak worth having far above
SEQUENCES = 2  # at most: they are run twice


class Leaks(Outcome):
    """The trained model sees the future."""


def audit(model: nn.Module, settings: Settings) -> None:
    """Raises Leaks where, in inference, changing the second half of sequences changes an output of the first half.

    Settings resolved. Untrained controls are left out: some are told what is to come.
    """
    if not models.is_trained(model) or settings.length < 2:
        return
    task, device = models.task_of(settings), devices.resolve(settings.device)
    tokens = task.batch_of("check", 0, min(SEQUENCES, settings.batch))[0]
    middle = task.length // 2
    changed, model = changed_from(tokens, middle, task.symbols), model.eval()
    before, after = (logits_of(model, given.to(device)).float() for given in (tokens, changed))
    apart = (after - before)[:, :middle].abs().amax(dim=(0, 2))
    wrong = (apart > SHARE * before.abs().max()).nonzero()
    if len(wrong):
        position = int(wrong[0])
        raise Leaks(
            f"{BREAKS}the trained model's output {position} differs by {float(apart[position]):.2g} when "
            f"tokens from {middle} on change: it sees the future"
        )
