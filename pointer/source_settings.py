"""Settings of the candidates that each position has for itself (pointer.sources). In a file of their own: rows of the
shared offsets alone do not rest on them."""

from __future__ import annotations

from dataclasses import dataclass

from pointer.checks import WHERE, check_range
from pointer.errors import InputError


@dataclass(frozen=True)
class SourceSettings:
    """What `candidates: offsets+chain+content+blocks` adds to the settings of `pointer`, by source."""

    chain_window: int = 4  # chain: positions around the lower layer's target; the target's target is one more
    content: int = 24  # content: candidates in all
    content_rounds: int = 8  # of hashing, each with an equal share of the candidates
    content_bits: int = 0  # of a hash; 0: so many that a bucket holds a round's candidates at full length
    content_taps: int = 3  # of the keys' causal convolution; what is found proposes so many positions, itself the first
    content_taps_rate: float = 30.0  # multiple of the learning rate at which the taps move
    content_scale: float = 8.0  # of the cosines, at the start
    content_shared: bool = True  # a query starts as its own position's key, so that equal tokens meet in every hash
    content_credit: bool = True  # queries and keys learn from all earlier positions (pointer.content_credit)
    block: int = 16  # blocks: positions of a block, all of them candidates
    block_region: int = 8  # blocks: how many blocks around the lower layer's target the block pointer chooses from

    def check_sources(self) -> None:
        """Raises InputError for a value out of range."""
        check_range("chain_window", self.chain_window, 1, 1024)
        check_range("content", self.content, 1, 4096)
        check_range("content_rounds", self.content_rounds, 1, self.content)
        check_range("content_bits", self.content_bits, 0, 24)
        check_range("content_taps", self.content_taps, 1, 64)
        check_range("content_taps_rate", self.content_taps_rate, 0.01, 1000)
        together = self.content_rounds * self.content_taps
        if self.content % together:
            accepted = f"a multiple of content_rounds x content_taps, {together}"
            raise InputError.about("content", self.content, accepted, WHERE)
        check_range("content_scale", self.content_scale, 1e-3, 1000)
        check_range("block", self.block, 1, 1024)
        check_range("block_region", self.block_region, 1, 1024)
