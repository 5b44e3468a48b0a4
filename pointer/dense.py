"""`pointer-dense`: the printed formula plus the offset table and its optimiser.

The table scores "how far back". All offsets are scored: no candidates, no credit.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pointer.block import TableBlock
from pointer.formula import FormulaMixer, FormulaSettings
from pointer.settings import TableSettings


@dataclass(frozen=True)
class DenseSettings(FormulaSettings, TableSettings):
    """Settings of `pointer-dense`: the formula's and the offset table's."""


class DensePointerMixer(TableBlock, FormulaMixer):
    """The formula's block with an offset table; settings are `DenseSettings`."""

    Settings = DenseSettings

    def by_offset(self) -> Tensor:
        """See FormulaMixer.by_offset."""
        return self.offset_table
