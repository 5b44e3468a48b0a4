"""All settings of the Pointer mixers, with defaults and ranges; nothing else states them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pointer.errors import MIXER_SETTINGS, InputError, check_range

Credit = Literal["none", "candidates", "fft"]
SOURCES = ("offsets", "chain", "content", "blocks")  # of candidates, joined by +
COMBINATIONS = "offsets, or offsets+ and any of chain, content, blocks, joined by +"


def ranged(default: Any, low: float, high: float) -> Any:
    """Return a dataclass field that accepts low to high, inclusive."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class BlockSettings:
    """Settings of every Pointer block; a value out of range raises InputError."""

    pointer_heads: int = ranged(1, 1, 64)  # the paper's one target a position; more: future work
    score_width: int = ranged(32, 1, 1024)  # r: width of queries and keys
    chain: bool = True  # the lower layer's pointer enters scoring
    gate: bool = True  # the target's feature is weighted by sigmoid(W x)
    value: bool = False  # aggregate a projection of the hidden state instead of the state itself
    hard: bool = True  # straight-through argmax in training; False: the softmax average
    # Gumbel noise on the scores at the start of training; unit noise drowns them if K is large
    noise: float = ranged(0.3, 0, 10)
    noise_until: float = ranged(0.7, 1e-6, 1)  # fraction of training after which there is none
    temperature: float = ranged(1.0, 1e-3, 100)  # of the gradient's softmax

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.metadata:
                check_range(setting.name, getattr(self, setting.name), **setting.metadata)


@dataclass(frozen=True)
class TableSettings(BlockSettings):
    """Settings of every Pointer block with an offset table."""

    # > 0: the offset table under AdamW at this multiple of the learning rate; 0: TableMomentum
    table_rate: float = ranged(0.0, 0, 1000)
    table_step: float = ranged(0.05, 0, 10)  # TableMomentum's step
    table_momentum: float = ranged(0.9, 0, 0.999)


@dataclass(frozen=True)
class CandidateSettings(TableSettings):
    """Settings of `pointer`: which K candidates are scored, and how the others learn."""

    candidates: str = "offsets"  # sources: offsets, and what pointer.sources adds
    k: int = ranged(64, 1, 4096)  # K, candidates per position, layer and head, of all sources
    window: int = 32  # the nearest offsets are always candidates; the rest are the table's best
    reach: int = 0  # the table offers offsets below this alone; 0: all
    credit: Credit = "fft"  # none: the table is frozen; candidates: scored offsets learn; fft: all
    credit_channels: int = ranged(0, 0, 4096)  # a fresh run of them each call; 0: what N needs
    credit_every: int = ranged(1, 1, 1000)  # training steps between two credits
    fused: bool = True  # False: plain torch instead of the compiled kernel

    chain_window: int = ranged(
        4, 1, 1024
    )  # chain: positions around the lower target; its target is one more
    content: int = ranged(24, 1, 4096)  # content: candidates in all
    content_rounds: int = 8  # of hashing, each with an equal share of the candidates
    content_bits: int = ranged(0, 0, 24)  # of a hash; 0: as many as fill buckets at full length
    # of the keys' causal convolution; a match proposes as many positions, itself the first
    content_taps: int = ranged(3, 1, 64)
    content_taps_rate: float = ranged(30.0, 0.01, 1000)  # multiple of the learning rate for taps
    content_scale: float = ranged(8.0, 1e-3, 1000)  # of the cosines, at the start
    # a query starts as its own position's key: equal tokens collide in every hash
    content_shared: bool = True
    content_credit: bool = True  # queries and keys learn from all earlier positions
    block: int = ranged(16, 1, 1024)  # blocks: positions of a block, all of them candidates
    block_region: int = ranged(8, 1, 1024)  # blocks around the lower target that are compared

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_candidates()
        check_range("content_rounds", self.content_rounds, 1, self.content)
        together = self.content_rounds * self.content_taps
        if self.content % together:
            accepted = f"a multiple of content_rounds x content_taps, {together}"
            raise InputError.about("content", self.content, accepted, MIXER_SETTINGS)
        check_range("window", self.window, 1, self.k - self.proposed)
        check_range("reach", self.reach, self.window if self.reach else 0, 2**22)

    def _check_candidates(self) -> None:
        sources = self.candidates.split("+")
        for source in sources:
            if source not in SOURCES:
                raise InputError.unknown("candidates", source, SOURCES, MIXER_SETTINGS)
        if sources[0] != "offsets" or len(set(sources)) < len(sources):
            raise InputError.about("candidates", self.candidates, COMBINATIONS, MIXER_SETTINGS)

    @property
    def proposed(self) -> int:
        """How many of the K candidates are proposed per position, beside the shared offsets."""
        chain = self.chain_window + 1 if self.uses("chain") else 0
        content = self.content if self.uses("content") else 0
        block = self.block if self.uses("blocks") else 0
        return chain + content + block

    def uses(self, source: str) -> bool:
        """Return whether candidates come from `source`."""
        return source in self.candidates.split("+")
