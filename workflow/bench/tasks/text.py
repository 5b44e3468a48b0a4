"""Bytes of real text: a language model over V = 256 symbols, every position wanted one step ahead.

    text "for i in"   position  0 1 2 3 4 5 6
                      token     f o r _ i _ i
                      target    o r _ i _ i n

The text is the Python standard library's own source files, present on every machine that runs this,
or a file that `data` names (enwik8, say). Source files go to a split whole, by a hash of their
contents: 8 of 10 to training, 1 to the checks during training and the traces, 1 to the evaluation;
a single file is cut in that order at 90% and 95%, as enwik8 is. A sequence starts at a random byte
of its split. `data_hash` in a row says which text it was: rows of different texts, such as two
versions of Python, do not compare.
"""

from __future__ import annotations

import functools
import hashlib
import math
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from pointer.errors import InputError
from workflow.bench.tasks.base import Drawn, Task
from workflow.bench.validation import Text

ByteArray = NDArray[np.uint8]
VOCABULARY = 256
SPLIT_OF = {"trace": "check", "timing": "train"}  # streams without a split of their own
SHARES = {"train": 8, "check": 9, "evaluate": 10}  # of 10 hash values, a split has those below
CUTS = (0.90, 0.95)  # of a single file
NOT_EVERYWHERE = {  # folders that not every machine has
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "__pycache__",
}
MACHINES_OWN = "_sysconfigdata"  # how this very Python was built


@dataclass(frozen=True)
class Corpus:
    """A text by splits, uint8 each, and the hash of all of it."""

    splits: dict[str, ByteArray]
    data_hash: str

    def frequency(self) -> NDArray[np.float64]:
        """Return float64[256]: how often each byte stands in the training split."""
        return np.bincount(self.splits["train"], minlength=VOCABULARY) / len(self.splits["train"])


def library_files(folder: Path) -> list[Path]:
    """Return the standard library's source files, sorted, without tests and what is installed on
    top."""
    files = []
    for path in folder.rglob("*.py"):
        own = path.name.startswith(MACHINES_OWN)
        if not own and NOT_EVERYWHERE.isdisjoint(path.relative_to(folder).parts):
            files.append(path)
    return sorted(files)


def split_by_file(contents: Iterable[bytes]) -> dict[str, ByteArray]:
    """Put each file whole into one split, chosen by its contents, so that equal files never stand
    on two sides."""
    parts: dict[str, list[bytes]] = {name: [] for name in SHARES}
    for content in contents:
        drawn = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % SHARES["evaluate"]
        split = next(name for name, share in SHARES.items() if drawn < share)
        parts[split].append(content)
    return {name: np.frombuffer(b"".join(part), dtype=np.uint8) for name, part in parts.items()}


def split_by_place(content: bytes) -> dict[str, ByteArray]:
    """Return the first 90% as train, the next 5% as check, the last 5% as evaluate."""
    text = np.frombuffer(content, dtype=np.uint8)
    first, second = (int(cut * len(text)) for cut in CUTS)
    return {"train": text[:first], "check": text[first:second], "evaluate": text[second:]}


@functools.cache
def corpus(data: str) -> Corpus:
    """Return the text of a path, or the standard library's for an empty one; raise InputError for
    a file that cannot be read."""
    if not data:
        files = library_files(Path(sysconfig.get_paths()["stdlib"]))
        contents = [path.read_bytes() for path in files]
        return Corpus(split_by_file(contents), _hash(contents))
    try:
        content = Path(data).read_bytes()
    except OSError as error:
        accepted = f"a file that can be read ({error.strerror})"
        raise InputError.about(
            "data", data, accepted, "`--data`, or `data` in the config"
        ) from error
    return Corpus(split_by_place(content), _hash([content]))


def _hash(contents: Iterable[bytes]) -> str:
    """Return 16 hexadecimal digits over files and their borders."""
    seal = hashlib.sha256()
    for content in contents:
        seal.update(hashlib.sha256(content).digest())
    return seal.hexdigest()[:16]


class Bytes(Task):
    """Predict the next byte."""

    question = "how many bits a byte of real text takes"
    own_length = 1024
    own_symbols = VOCABULARY
    fixed_symbols = True
    step_tokens = 1024
    evaluate_symbols = 50_000

    name: Literal["bytes"] = "bytes"
    data: Text = Field(
        default="", description="the text, a file; empty: the Python standard library's sources"
    )

    def check(self) -> None:
        """Accept all sizes: the text is read where a row is measured."""

    @property
    def supervised(self) -> int:
        """All of them."""
        return self.length

    @property
    def chance(self) -> float:
        """The most frequent byte of the training text."""
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
        """Return pieces of the stream's split; raise InputError where it holds none of N."""
        text = corpus(self.data).splits[SPLIT_OF.get(stream, stream)]
        if len(text) <= self.length:
            wanted = f"a text with more than {self.length:,} bytes for {stream}"
            accepted = f"{wanted}, not {len(text):,}"
            raise InputError.about("data", self.data, accepted, "`--data` or `--length`")
        starts = rng.integers(len(text) - self.length, size=count)
        drawn = text[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return np.ascontiguousarray(drawn[:, :-1]), np.ascontiguousarray(drawn[:, 1:])
