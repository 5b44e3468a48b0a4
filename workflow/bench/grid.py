"""What the Snakefile asks: tiers, their rows, and a row's options, sources, threads, priority. Loads no Snakemake.

A tier is planned when a target first needs it, so that additions which only suit one tier break no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import config, estimate, pipeline, plan, provenance
from workflow.bench.cell import Cell, threads
from workflow.bench.sources import content_hash
from workflow.bench.store import Store
from workflow.bench.validation import read_yaml

RESULTS = "results"
STORE = Path(RESULTS) / ".store"
PIPELINE = Path(RESULTS) / ".pipeline"


class Grid:
    """All tiers under the user's additions (`--config` and `--configfile`); `chosen` is what `all` makes."""

    def __init__(self, added: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
        """`files` are those of `--configfile`, read once more because Snakemake lets a key stand twice."""
        for file in files:
            config.checked(read_yaml(file), str(file))
        self.chosen, self._tiers = config.tiers(added)
        self._plan = cache(self._cells)
        self._cell: dict[str, tuple[Cell, int]] = {}

    @property
    def folders(self) -> list[str]:
        """Where each tier's frame, tables and figures go."""
        return [folder(name) for name in self._tiers]

    def rows(self, results: str) -> list[str]:
        """The row files of the tier whose results folder this is."""
        return [cell.path for cell in self._plan(tier_name(results))]

    def rows_hash(self, results: str) -> str:
        """What changes when a row joins or leaves a tier: its config stays the same when a model joins the registry."""
        return content_hash((), *self.rows(results))

    def experiments(self, results: str) -> set[str]:
        """The experiments of the tier whose results folder this is."""
        return {name for name, block in self._tiers[tier_name(results)]["experiments"].items() if block is not None}

    def tier_json(self, results: str) -> str:
        """The tier's whole config, devices resolved, for `pointer-bench plan --config`."""
        return json.dumps(plan.settled(self._tiers[tier_name(results)]), sort_keys=True)

    def argv(self, path: str) -> list[str]:
        """The options of `pointer-bench run` for a row file."""
        return self.find(path)[0].argv()

    def sources(self, path: str) -> str:
        """The hash of what makes a row: Snakemake makes the row again when it changes."""
        return provenance.sources_of(self.find(path)[0])

    def priority(self, path: str) -> int:
        """Higher for rows that come earlier in their tier."""
        return self.find(path)[1]

    def timing(self, path: str) -> bool:
        """Whether a row must be measured alone on its machine."""
        return self.find(path)[0].timing

    def threads(self, path: str, cores: int | None) -> int:
        """What a job claims of `--cores`: all of it where it must run alone. Without cores to share, what it uses."""
        cell = self.find(path)[0]
        if cores is None:
            return threads(cell.threads)
        return cores if cell.timing else plan.rule_threads(cell.threads, cores)

    def find(self, path: str) -> tuple[Cell, int]:
        """A row's cell and priority; raises InputError for a row that no tier holds."""
        for name in (None, self.chosen, *self._tiers):
            if path in self._cell:
                return self._cell[path]
            if name is not None:
                self._try(name)
        raise InputError.about("row", path, "a line that `pointer-bench plan` prints", "the target, or the config")

    def begin(self, outputs: Iterable[str]) -> list[str]:
        """Takes the lock of the results folder for the rows among `outputs`; returns lines that tell time and disk.

        Raises pipeline.PipelineBusyError if another pipeline runs there.
        """
        cells = [self._cell[path][0] for path in outputs if path in self._cell]
        pipeline.Pipeline.begin(PIPELINE, cells, Store(STORE))
        return estimate.summary(cells, Store(STORE)) if cells else []

    def _cells(self, name: str) -> list[Cell]:
        cells = plan.cells(self._tiers[name])
        for place, cell in enumerate(cells):
            self._cell.setdefault(cell.path, (cell, len(cells) - place))
        return cells

    def _try(self, name: str) -> None:
        try:
            self._plan(name)
        except InputError:
            return  # that tier is not what was asked for, or its own target will say so


def folder(tier: str) -> str:
    """results for the default tier, results/<tier> for any other."""
    return RESULTS if tier == config.BASE else f"{RESULTS}/{tier}"


def tier_name(results: str) -> str:
    """The tier whose results folder this is."""
    return config.BASE if results == RESULTS else results.removeprefix(f"{RESULTS}/")
