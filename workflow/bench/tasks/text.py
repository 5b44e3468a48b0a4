"""Bytes of real text: a language model over V = 256 symbols, each position predicts the next one.

    text "for i in"   position  0 1 2 3 4 5 6
                      token     f o r _ i _ i
                      target    o r _ i _ i n

The text is Tiny Shakespeare (1,115,394 bytes of Shakespeare's plays, public domain, as collected in
Andrej Karpathy's char-rnn, 2015), stored beside this file, or a file named by `data` (such as
enwik8). In order, 90% are for training, 5% for checks during training and traces, 5% for the
evaluation. A sequence starts at a random byte of its split. A row's `data_hash` identifies the
text.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from pointer.errors import InputError
from workflow.bench.tasks.base import Drawn, Task
from workflow.bench.validation import Text, Whole

ByteArray = NDArray[np.uint8]
VOCABULARY = 256
SPLIT_OF = {"trace": "check", "timing": "train"}  # streams without a split of their own
CUTS = (0.90, 0.95)
SHAKESPEARE = Path(__file__).with_name("shakespeare.txt")


@dataclass(frozen=True)
class Corpus:
    """A text by splits, uint8 each, and the hash of all of it."""

    splits: dict[str, ByteArray]
    data_hash: str

    def frequency(self) -> NDArray[np.float64]:
        """Return float64[256], the share of each byte in the training split."""
        return np.bincount(self.splits["train"], minlength=VOCABULARY) / len(self.splits["train"])


@functools.cache
def corpus(data: str) -> Corpus:
    """Return the text at a path (empty: Shakespeare); raise InputError if it cannot be read."""
    try:
        content = Path(data or SHAKESPEARE).read_bytes()
    except OSError as error:
        accepted = f"a file that can be read ({error.strerror})"
        raise InputError.about(
            "data", data, accepted, "`--data`, or `data` in the config"
        ) from error
    text = np.frombuffer(content, dtype=np.uint8)
    first, second = (int(cut * len(text)) for cut in CUTS)
    splits = {"train": text[:first], "check": text[first:second], "evaluate": text[second:]}
    return Corpus(splits, hashlib.sha256(content).hexdigest()[:16])


class Bytes(Task):
    """Predict the next byte."""

    question = "how many bits a byte of real text takes"
    own_length = 1024
    own_symbols = VOCABULARY
    fixed_symbols = True
    step_tokens = 1024
    evaluate_symbols = 50_000

    name: Literal["bytes"] = "bytes"
    data: Text = Field(default="", description="the text, a file; empty: Tiny Shakespeare")

    ahead: Whole = Field(
        default=1,
        ge=0,
        le=1,
        description="bytes ahead that are wanted; 0: the byte itself, as in the public code",
    )

    def check(self) -> None:
        """Accept all sizes: the text is read when a row is measured."""

    @property
    def supervised(self) -> int:
        """All of them."""
        return self.length

    @property
    def chance(self) -> float:
        """The share of the most frequent byte of the training text."""
        return float(corpus(self.data).frequency().max())

    def facts(self, loss: float | None = None) -> dict[str, Any]:
        """Return bits a byte, those of guessing by frequency, and which text it was."""
        text = corpus(self.data)
        known = text.frequency()[text.frequency() > 0]
        return {
            "bits_per_byte": None if loss is None else loss / math.log(2),
            "bits_per_byte_guessing": float(-(known * np.log2(known)).sum()),
            "data_hash": text.data_hash,
        }

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return N-byte pieces of the stream's split; raise InputError if it is too short."""
        text = corpus(self.data).splits[SPLIT_OF.get(stream, stream)]
        if len(text) <= self.length:
            wanted = f"a text with more than {self.length:,} bytes for {stream}"
            accepted = f"{wanted}, not {len(text):,}"
            raise InputError.about("data", self.data, accepted, "`--data` or `--length`")
        starts = rng.integers(len(text) - self.length, size=count)
        places = starts[:, None] + np.arange(self.length)
        return text[places].astype(np.int64), text[places + self.ahead].astype(np.int64)
