"""Putting a table together: blocks of cells under one another, with the footnotes and machine codes that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from workflow.report.layout import NOT_RUN, Footnotes, Machines, Table, spread


class Draft:
    """Blocks of a wide table that share footnotes and machine codes."""

    def __init__(self, machines: Iterable[str]) -> None:
        """machines: all that the report knows."""
        self.footnotes, self.machines, self.blocks = Footnotes(), Machines(machines), list[pd.DataFrame]()

    def add(self, quantity: str, cells: pd.DataFrame, column: str, show: Callable[[Any], str], *labels: str) -> None:
        """One block: `quantity` stands in its first column where the table has several."""
        block = spread(cells, ["model", *labels], column, show, self.footnotes, self.machines)
        block.insert(0, "quantity", quantity)
        self.blocks.append(block)

    def table(self, name: str, title: str, data: pd.DataFrame, *notes: str) -> Table:
        """The blocks under one another; the quantity's column goes where there is only one."""
        filled = [block for block in self.blocks if len(block)] or self.blocks[:1]
        wide = pd.concat(filled, ignore_index=True).fillna(NOT_RUN)
        if wide["quantity"].nunique() == 1:
            wide = wide.drop(columns="quantity")
        return Table(name, title, _numbers_last(wide), data, (*notes, *self.machines.lines(), *self.footnotes.lines()))


def _numbers_last(wide: pd.DataFrame) -> pd.DataFrame:
    """Blocks may have different lengths: their columns in ascending order behind the labels."""
    labels = [column for column in wide.columns if not column.isdigit()]
    return wide[labels + sorted((column for column in wide.columns if column.isdigit()), key=int)]


def beside(cells: pd.DataFrame, published: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The cells, with the paper's figure for the same model and length or distance, and its source, in columns."""
    theirs = published[["model", axis, "value", "source"]].rename(columns={"value": "paper", "source": "paper_source"})
    return cells.astype({"model": "object"}).merge(
        theirs.astype({axis: cells[axis].dtype}), on=["model", axis], how="left"
    )
