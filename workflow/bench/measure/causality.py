"""Check that outputs depend only on their own past, before training and after it.

The contract checks small and full-sized models before anything is published; `audit` examines the
very model whose score a row is about to publish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pointer.optim import optimizers
from workflow.bench import registry
from workflow.bench.measure import devices
from workflow.bench.measure.models import is_trained
from workflow.bench.measure.training import set_progress, supervised_loss
from workflow.bench.outcomes import Outcome
from workflow.bench.tasks.base import Task

SYMBOLS, LENGTH = 20, 257
ODD = 131  # a length without divisors
TOLERANCE = 1e-5
STIR_STD = 0.1
CUTS = [*range(1, 9), *range(9, LENGTH, 8), *range(LENGTH - 4, LENGTH)]
PREFIXES = (1, 2, 64, ODD, LENGTH - 1)
LONG = 2051  # faults of chunks and of blocks show beyond their size
LONG_CUTS = [300, 511, 512, 513, 1023, 1024, 1025, 1537, 2048, 2049]
LONG_PREFIXES = (LENGTH, 1500)
# Multiples of even and of odd chunks, where a leak inside a chunk shows, by mode.
BLOCKS = {"inference": (128, 384, 512, 960, 2048), "training": (384, 1024)}
SHARES = (0.07, 0.19, 0.31, 0.43, 0.57, 0.68, 0.79, 0.96)  # of a length, where futures are changed
TOKENS_AT_ONCE = 16 * LENGTH
MEASURED, MEASURED_CUTS = 333, (8, 64, 131, 257)  # one cut for each sequence of a batch of 4
STEPS, STEP_LENGTH, LEARNING_RATE = 4, 96, 1e-2
LOOSE = 3e-5  # logits of trained models are larger
# Of the largest logit: rounding error is far below this share, a real leak far above it.
AUDIT_SHARE = 1e-3


class Broken(Exception):
    """A model fails a check; the message tells its author how."""


@dataclass(frozen=True)
class Subject:
    """A model under test with SYMBOLS symbols, initialised differently each time it is built."""

    name: str
    build: Callable[[int], nn.Module]  # length -> a small model (2 layers of 64)
    full: Callable[[int], nn.Module]  # length -> a model of the measured size
    trained: bool = True
    control: bool = False
    cost: registry.Cost = "linear"  # the class that its registry entry declares
    variant: bool = False  # has settings other than the defaults of its mixer
    causal: bool = True  # False: a control that says that it sees the future

    def small(self) -> nn.Module:
        """Return a small model in inference mode."""
        return self.build(LENGTH).eval()

    def stirred(self, length: int = LENGTH) -> nn.Module:
        """Return a small model with zero parameters drawn at random: faults behind a gate show."""
        model = self.build(length).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if not bool(parameter.any()):
                    parameter.normal_(std=STIR_STD)
        return model


def random_tokens(batch: int, length: int) -> Tensor:
    """Return fixed random tokens, int64[batch, length]."""
    generator = np.random.default_rng([batch, length])
    return torch.from_numpy(generator.integers(SYMBOLS, size=(batch, length)))


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the logits float[B, N, V] of tokens int64[B, N], in the model's present mode."""
    with torch.no_grad():
        try:
            logits: Tensor = model(tokens)
        except Exception as error:
            error.add_note(f"at N = {tokens.shape[1]}")
            raise
    return logits


def require_same(
    logits: Tensor, expected: Tensor, condition: str, tolerance: float = TOLERANCE
) -> None:
    """Raise Broken with the first position where two logits float[B, N, V] differ."""
    if not bool(torch.isfinite(expected).all()):
        raise Broken("logits are not finite")
    difference = (logits - expected).abs().amax(dim=(0, 2))
    wrong = (~(difference <= tolerance)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        by = float(difference[position])
        raise Broken(f"output {position} differs by {by:.2g} {condition}")


class Leaks(Outcome):
    """The trained model sees the future."""


def audit(model: nn.Module, task: Task, device: torch.device, dtype: str = "float32") -> None:
    """Raise Leaks if later tokens change outputs, at the row's length and dtype, in either mode."""
    if not is_trained(model) or task.length < 2:
        return
    tokens, _ = task.batch_of("check", 0, 1)
    for training in (False, True):
        model.train(training)
        with devices.precision(device, dtype):
            cuts = cut_points(task.length)
            for cut, before, after in pasts(
                model, tokens.to(device), cuts, task.symbols, task.batch
            ):
                difference = (after - before).abs().amax(dim=(0, 2))
                wrong = (difference > AUDIT_SHARE * before.abs().max()).nonzero()
                if len(wrong):
                    position = int(wrong[0])
                    by = f"{float(difference[position]):.2g}" + " in training mode" * training
                    leak = f"output {position} differs by {by} when tokens from {cut} on change"
                    raise Leaks(f"fails the contract: the model's {leak}: it sees the future")
    model.eval()


def cut_points(length: int) -> list[int]:
    """Return positions from which to change a future: the middle, and others on no even border."""
    odd = {min(length - 1, int(share * length) | 1) for share in SHARES}
    return sorted(odd | {length // 2})


def pasts(
    model: nn.Module, tokens: Tensor, cuts: Sequence[int], symbols: int, together: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each cut with the logits float[1, cut, V] before it, as is and with its future changed.

    tokens: int64[1, N]; `together` sequences run in a batch. In training mode both runs have the
    same batch and random numbers, so that they compare.
    """
    accelerators = [tokens.device] if tokens.device.type == "cuda" else []
    for start in range(0, len(cuts), together):
        group = cuts[start : start + together]
        changed = torch.cat([changed_from(tokens, cut, symbols) for cut in group])
        copies = len(group) if model.training else 1
        logits = []
        for batch in (tokens.repeat(copies, 1), changed):
            with torch.random.fork_rng(devices=accelerators):
                torch.manual_seed(0)
                logits.append(logits_of(model, batch).float())
        before, after = logits[0].expand(len(group), -1, -1), logits[1]
        for row, cut in enumerate(group):
            yield cut, before[row : row + 1, :cut], after[row : row + 1, :cut]


def causal(subject: Subject) -> None:
    """Outputs before position i do not depend on tokens from i on (1e-5), in both modes."""
    short = random_tokens(1, LENGTH)
    _require_causal(subject.stirred(LENGTH), short, CUTS, PREFIXES)
    long = random_tokens(1, LONG)
    _require_causal(subject.stirred(LONG), long, LONG_CUTS, LONG_PREFIXES)
    model = subject.stirred(max(BLOCKS["inference"]))
    set_progress(model, 0.0)  # noise is on
    for mode, lengths in BLOCKS.items():
        model.train(mode == "training")
        for length in lengths:
            condition = f"of {length} on change, in {mode}: it sees the future"
            _require_past(model, random_tokens(1, length), cut_points(length), condition)


def _require_causal(
    model: nn.Module, tokens: Tensor, cuts: Sequence[int], prefixes: Sequence[int]
) -> None:
    """Change tokens int64[1, N] from each of `cuts` on; cut them to each length of `prefixes`."""
    _require_past(model, tokens, cuts, "on change: it sees the future")
    before, length = logits_of(model, tokens), tokens.shape[1]
    for i in prefixes:
        condition = f"with only {i} tokens given instead of {length}"
        require_same(logits_of(model, tokens[:, :i]), before[:, :i], condition)


def _require_past(model: nn.Module, tokens: Tensor, cuts: Sequence[int], condition: str) -> None:
    """Raise Broken if logits before a cut of tokens int64[1, N] change with its future."""
    together = max(1, TOKENS_AT_ONCE // tokens.shape[1])
    for cut, before, after in pasts(model, tokens, cuts, SYMBOLS, together):
        if not bool(((after - before).abs() <= TOLERANCE).all()):
            # Run it alone, so that the rest of the batch is not blamed on the future.
            for _, before_alone, alone in pasts(model, tokens, [cut], SYMBOLS, 1):
                require_same(alone, before_alone, f"when tokens from {cut} {condition}")


def changed_from(tokens: Tensor, i: int, symbols: int = SYMBOLS) -> Tensor:
    """Return tokens int64[B, N] with every one from position i on replaced by another."""
    changed = tokens.clone()
    later = changed[:, i:]
    shift = np.random.default_rng(i).integers(1, symbols, size=tuple(later.shape))
    changed[:, i:] = (later + torch.from_numpy(shift).to(later)) % symbols
    return changed


def independent_of_batch(subject: Subject) -> None:
    """Outputs depend neither on the rest of the batch nor on earlier calls (inference, 1e-5)."""
    model, tokens = subject.stirred(), random_tokens(3, ODD)
    together = logits_of(model, tokens)
    for row in (0, 2):
        alone = logits_of(model, tokens[row : row + 1])
        condition = f"when sequence {row} is run alone instead of in a batch of 3"
        require_same(alone, together[row : row + 1], condition)


def as_measured(subject: Subject) -> None:
    """At full size and after some training steps, all of the above holds, in training mode too."""
    model = _trained_briefly(subject.full(MEASURED))
    tokens = random_tokens(len(MEASURED_CUTS), MEASURED)
    before = logits_of(model, tokens)
    sequences = zip(tokens.split(1), MEASURED_CUTS, strict=True)
    changed = torch.cat([changed_from(sequence, cut) for sequence, cut in sequences])
    after = logits_of(model, changed)
    trained = f"at full size and after {STEPS} training steps"
    for row, cut in enumerate(MEASURED_CUTS):
        one = slice(row, row + 1)
        condition = f"when sequence {row} is run alone instead of in a batch of 4, {trained}"
        require_same(logits_of(model, tokens[one]), before[one], condition, LOOSE)
        require_same(logits_of(model, changed[one]), after[one], condition, LOOSE)
        if subject.causal:
            condition = f"when tokens from {cut} on change, {trained}: it sees the future"
            require_same(after[one, :cut], before[one, :cut], condition, LOOSE)
    if not subject.variant and not getattr(model, "relaxes", False):
        condition = "in training mode against inference, at full size"
        require_same(logits_of(model.train(), tokens), before, condition, LOOSE)


def _trained_briefly(model: nn.Module) -> nn.Module:
    """Train STEPS steps at a high rate; return the model in inference mode, schedules ended."""
    steppers = optimizers(model.train(), LEARNING_RATE)
    for step in range(STEPS):
        set_progress(model, step / STEPS)
        tokens = random_tokens(4, STEP_LENGTH + step)  # other tokens each time
        for optimizer in steppers:
            optimizer.zero_grad(set_to_none=True)
        supervised_loss(model(tokens), tokens.roll(3, dims=1)).backward()
        for optimizer in steppers:
            optimizer.step()
    set_progress(model, 1.0)
    return model.eval()
