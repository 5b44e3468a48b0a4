"""Every setting of the Pointer mixers, each an ablation switch; a default is stated here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from pointer.checks import WHERE, check_range
from pointer.errors import InputError
from pointer.source_settings import SourceSettings

CREDITS = ("none", "candidates", "fft")
SOURCES = ("offsets", "chain", "content", "blocks")  # where candidates come from; joined by +
COMBINATIONS = "offsets, or offsets+ and any of chain, content, blocks, joined by +"


@dataclass(frozen=True)
class PointerSettings:
    """Settings of the block that `pointer` and `pointer-dense` share."""

    pointer_heads: int = 1  # the paper's one target a position; more are its future work
    score_width: int = 32  # r: width of queries and keys
    chain: bool = True  # the lower layer's pointer enters scoring
    gate: bool = True  # the target's feature is weighted by sigmoid(W x)
    value: bool = False  # aggregate a projection of the hidden state instead of the hidden state itself
    hard: bool = True  # straight-through argmax in training; False: the softmax average
    noise: float = (
        0.3  # Gumbel noise on the scores at the start of training; unit noise drowns near-zero scores when K is large
    )
    noise_until: float = 0.7  # fraction of training after which there is no noise
    temperature: float = 1.0  # of the gradient's softmax
    table_rate: float = 0.0  # > 0: the offset table under AdamW at this multiple of the learning rate; 0: TableMomentum
    table_step: float = 0.05  # TableMomentum's step
    table_momentum: float = 0.9

    def __post_init__(self) -> None:
        check_range("pointer_heads", self.pointer_heads, 1, 64)
        check_range("score_width", self.score_width, 1, 1024)
        check_range("noise", self.noise, 0, 10)
        check_range("noise_until", self.noise_until, 1e-6, 1)
        check_range("temperature", self.temperature, 1e-3, 100)
        check_range("table_rate", self.table_rate, 0, 1000)
        check_range("table_step", self.table_step, 0, 10)
        check_range("table_momentum", self.table_momentum, 0, 0.999)


@dataclass(frozen=True)
class CandidateSettings(SourceSettings, PointerSettings):
    """Settings of `pointer`: which K candidates are scored, and how the others learn."""

    candidates: str = "offsets"  # where they come from: offsets, and what pointer.sources adds
    k: int = 64  # K, candidates per position, layer and head, of all sources together
    window: int = 32  # the nearest offsets, always candidates; the rest are the best of the offset table
    reach: int = 0  # the table offers offsets below this alone; 0: all
    credit: str = "fft"  # none: the table is frozen; candidates: scored offsets learn; fft: all do (pointer.credit)
    credit_channels: int = 0  # channels that carry the credit, a fresh run of them each time; 0: what N needs
    credit_every: int = 1  # training steps between two credits
    fused: bool = True  # False: plain torch instead of the compiled kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_sources()
        named = self.candidates.split("+")
        for source in named:
            if source not in SOURCES:
                raise InputError.unknown("candidates", source, SOURCES, WHERE)
        if named[0] != "offsets" or len(set(named)) < len(named):
            raise InputError.about("candidates", self.candidates, COMBINATIONS, WHERE)
        check_range("k", self.k, 1, 4096)
        check_range("window", self.window, 1, self.k - self.proposed)
        check_range("reach", self.reach, self.window if self.reach else 0, 2**22)
        check_range("credit_channels", self.credit_channels, 0, 4096)
        check_range("credit_every", self.credit_every, 1, 1000)
        if self.credit not in CREDITS:
            raise InputError.unknown("credit", self.credit, CREDITS, WHERE)

    @property
    def proposed(self) -> int:
        """How many of the K candidates are positions of their own for every position, instead of shared offsets."""
        chain, content, blocks = (self.uses(source) for source in SOURCES[1:])
        return (self.chain_window + 1) * chain + self.content * content + self.block * blocks

    def uses(self, source: str) -> bool:
        """Whether candidates come from that source."""
        return source in self.candidates.split("+")
