"""`pointer-dense`: the formula as printed with the offset table and its optimiser, nothing else.

Every position scores all positions of its past, as in `pointer.formula`, and a learned table adds a
score for "how far back". It needs neither candidates nor credit, because every offset is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pointer.block import TableBlock
from pointer.formula import FormulaMixer, FormulaSettings
from pointer.settings import TableSettings


@dataclass(frozen=True)
class DenseSettings(FormulaSettings, TableSettings):
    """Settings of `pointer-dense`: the formula's, and those of the offset table."""


class DensePointerMixer(TableBlock, FormulaMixer):
    """The formula's block with an offset table; settings are `DenseSettings`."""

    Settings = DenseSettings

    def by_offset(self) -> Tensor:
        """See FormulaMixer.by_offset."""
        return self.offset_table
