"""Every setting of the Pointer mixers, each an ablation switch; a default is stated here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from pointer.errors import InputError

CREDITS = ("none", "candidates", "fft")
SOURCES = ("offsets", "chain", "content")  # where candidates come from; joined by +
COMBINATIONS = "offsets, or offsets+chain, offsets+content, offsets+chain+content"
WHERE = "`--set`, or `mixer` in the config"


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
        _check_range("pointer_heads", self.pointer_heads, 1, 64)
        _check_range("score_width", self.score_width, 1, 1024)
        _check_range("noise", self.noise, 0, 10)
        _check_range("noise_until", self.noise_until, 1e-6, 1)
        _check_range("temperature", self.temperature, 1e-3, 100)
        _check_range("table_rate", self.table_rate, 0, 1000)
        _check_range("table_step", self.table_step, 0, 10)
        _check_range("table_momentum", self.table_momentum, 0, 0.999)


@dataclass(frozen=True)
class CandidateSettings(PointerSettings):
    """Settings of `pointer`: which K candidates are scored, and how the others learn."""

    candidates: str = "offsets"  # where they come from: offsets, then +chain (pointer.proposals), +content
    k: int = 64  # K, candidates per position, layer and head, of all sources together
    window: int = 32  # the nearest offsets, always candidates; the rest are the best of the offset table
    chain_window: int = 4  # source chain: positions around the lower layer's target; the target's target is one more
    content: int = 24  # source content: candidates in all (pointer.content)
    content_rounds: int = 24  # of hashing, each with content / rounds candidates
    content_bits: int = 0  # of a hash; 0: so many that a bucket holds a round's candidates at full length
    content_taps: int = 3  # of the keys' causal convolution
    content_scale: float = 8.0  # of the cosines, at the start
    content_credit: bool = True  # queries and keys learn from all earlier positions (pointer.content_credit)
    credit: str = "fft"  # none: the table is frozen; candidates: scored offsets learn; fft: all do (pointer.credit)
    credit_channels: int = 32  # channels that carry the credit, a fresh run of them each time
    credit_every: int = 1  # training steps between two credits
    fused: bool = True  # False: plain torch instead of the compiled kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        named = self.candidates.split("+")
        for source in named:
            if source not in SOURCES:
                raise InputError.unknown("candidates", source, SOURCES, WHERE)
        if named[0] != "offsets" or len(set(named)) < len(named):
            raise InputError.about("candidates", self.candidates, COMBINATIONS, WHERE)
        _check_range("k", self.k, 1, 4096)
        _check_range("chain_window", self.chain_window, 1, 1024)
        _check_range("window", self.window, 1, self.k - self.proposed)
        _check_range("content", self.content, 1, 4096)
        _check_range("content_rounds", self.content_rounds, 1, self.content)
        _check_range("content_bits", self.content_bits, 0, 24)
        _check_range("content_taps", self.content_taps, 1, 64)
        _check_range("content_scale", self.content_scale, 1e-3, 1000)
        _check_range("credit_channels", self.credit_channels, 1, 4096)
        _check_range("credit_every", self.credit_every, 1, 1000)
        if self.credit not in CREDITS:
            raise InputError.unknown("credit", self.credit, CREDITS, WHERE)

    @property
    def followed(self) -> int:
        """How many of the K candidates come from the chain, for every position its own."""
        return (self.chain_window + 1) * self.uses("chain")

    @property
    def proposed(self) -> int:
        """How many of the K candidates are positions of their own for every position, instead of shared offsets."""
        return self.followed + self.content * self.uses("content")

    def uses(self, source: str) -> bool:
        """Whether candidates come from that source."""
        return source in self.candidates.split("+")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError.about(name, value, f"{low} to {high}", WHERE)
