"""The page's tables: every row with its provenance, and the report's tables, as plain data for DataTables."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.report import estimates, models, summary, tables
from workflow.report.frame import unpack
from workflow.report.layout import Table, base
from workflow.report.page.chart import number
from workflow.report.task_summary import RECALL

# Column -> its heading and the unit it is divided by.
TEXTS = (
    "experiment",
    "model",
    "length",
    "distance",
    "device",
    "machine",
    "dtype",
    "threads",
    "seed",
    "repeat",
    "status",
)
MEASURES = {
    "tokens_per_s": ("training, tokens/s", 1),
    "step_ms": ("step, ms", 1),
    "inference_tokens_per_s": ("inference, tokens/s", 1),
    "peak_memory_bytes": ("peak, MiB", 2**20),
    "saved_bytes": ("kept, MiB", 2**20),
    "flops_step": ("step, GFLOP", 10**9),
    "accuracy": ("accuracy", 1),
    "loss": ("loss, nats", 1),
    "tokens_to_95": ("tokens to 95%", 1),
}
FILTERS = ("experiment", "model", "length", "distance", "device", "machine", "seed", "status")
TOLD = ("started", "ended", "git_commit", "git_dirty", "source_hash", "digest", "command", "settings", "warnings")
MACHINE = ["machine", "device_name", "ram_bytes"]
MADE_OF = {  # a table -> the experiments whose rows it sums up; any other table sums up all
    "training_time": ("efficiency",),
    "throughput": ("efficiency",),
    "speedup": ("efficiency",),
    "memory": ("efficiency",),
    "copy_accuracy": ("copy",),
    "copy_loss": ("copy",),
    "hops": ("interpretability",),
    "operations": ("complexity",),
    "recall": RECALL,
    "scaling": ("efficiency", "complexity"),
    "mixers": ("mixers",),
}


@dataclass(frozen=True)
class Listing:
    """A table for the page's script.

    `told` is one index a line into `provenance`; `data_csv` has the numbers that `lines` rounds.
    """

    name: str
    title: str
    columns: list[dict[str, Any]]
    lines: list[list[Any]]
    notes: list[str] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    provenance: list[str] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    data_csv: str = ""


def rows(frame: pd.DataFrame) -> Listing:
    """Every row of the frame; failures stand among the others, with their reason."""
    named = _named(frame)
    columns = [_column(name, name, name in ("length", "distance", "threads", "seed", "repeat")) for name in TEXTS]
    columns += [_column("reason", "reason", False)]
    columns += [_column(key, title, True) for key, (title, _) in MEASURES.items()]
    units = {key: unit for key, (_, unit) in MEASURES.items()}
    cells = zip(*(named[c["key"]] for c in columns), strict=True)
    lines = [[_cell(v, units.get(c["key"])) for v, c in zip(row, columns, strict=True)] for row in cells]
    return Listing("rows", "All rows", columns, lines, filters=list(FILTERS))


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, its models named with their changed settings."""
    parts = [summary.of(frame, experiment) for experiment in frame["experiment"].unique()]
    return pd.concat(parts).sort_index() if parts else frame


def _column(key: str, title: str, numeric: bool) -> dict[str, Any]:
    return {"key": key, "title": title, "numeric": numeric}


def _cell(value: Any, unit: float | None) -> Any:
    if pd.isna(value):
        return None
    if unit is not None:
        return number(value / unit)
    return value if isinstance(value, str) else int(value)


@dataclass
class Pool:
    """Texts that many rows share, each once."""

    texts: dict[str, int] = field(default_factory=dict)

    def index(self, text: str) -> int:
        """Where the text stands."""
        return self.texts.setdefault(text, len(self.texts))


def provenance(frame: pd.DataFrame) -> dict[str, Any]:
    """For each row what its dialog says: TOLD and two indices, into `versions` and into `machines`."""
    versions, machines, told = Pool(), Pool(), []
    for row in _named(frame)[[*TOLD, "versions", *MACHINE]].to_dict("records"):
        shared = [versions.index(_versions(row["versions"])), machines.index(_machine(row))]
        told.append([None if pd.isna(row[key]) else str(row[key]) for key in TOLD] + shared)
    return {
        "keys": [key.replace("_", " ") for key in TOLD],
        "rows": told,
        "versions": list(versions.texts),
        "machines": list(machines.texts),
    }


def _versions(cell: Any) -> str:
    installed = unpack(cell) or {}
    return ", ".join(f"{name} {installed[name]}" for name in sorted(installed)) or "unknown"


def _machine(row: dict[Hashable, Any]) -> str:
    ram = f", {row['ram_bytes'] / 2**30:.1f} GiB RAM" if pd.notna(row["ram_bytes"]) else ""
    device = f", {row['device_name']}" if pd.notna(row["device_name"]) and row["device_name"] != row["machine"] else ""
    return f"{row['machine']}{device}{ram}"


def report_tables(frame: pd.DataFrame, names: Iterable[str] = tables.NAMES) -> list[Listing]:
    """The named tables of the report, in its order. Raises InputError for a name that it lacks."""
    wanted = set(names)
    for name in wanted:
        if name not in tables.NAMES:
            raise InputError.unknown("table", name, tables.NAMES, "`--tables`")
    named, numbers = _named(frame), estimates.build(frame)
    return [_listed(tables.make(name, numbers, frame), named) for name in tables.NAMES if name in wanted]


def _listed(table: Table, named: pd.DataFrame) -> Listing:
    """One table, each line with the provenance of the rows of its model."""
    wide = table.wide
    columns = [_column(str(name), str(name), _numeric(wide[name])) for name in wide.columns]
    pool = Pool()
    found = named[named["experiment"].isin(MADE_OF.get(table.name, tuple(named["experiment"].unique())))]
    said = {model: _said(group) for model, group in found.groupby("model")}
    told = [pool.index(said.get(model, "the paper's figures")) for model in wide.get("model", [])]
    filters = [name for name in ("quantity", "model", "machine", "device") if name in wide]
    return Listing(
        table.name, table.title, columns, wide.to_numpy().tolist(), list(table.notes), told, list(pool.texts), filters,
        table.data.to_csv(index=False),
    )  # fmt: skip


def _numeric(column: pd.Series) -> bool:
    """Whether its cells start like numbers, failures left out."""
    cells = [str(cell) for cell in column]
    return any(re.match(r"[-+]?\d", cell) for cell in cells) and all(
        re.match(r"[-+]?[\d–]|n/a|never|\D*\[\d+\]$|oom|error|timeout|diverged|unsupported|no pair", cell)
        for cell in cells
    )


def places(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The versions and the machines of rows, each once."""
    versions = sorted({_versions(cell) for cell in rows["versions"].unique()})
    return versions, sorted({_machine(row) for row in rows[MACHINE].drop_duplicates().to_dict("records")})


def _said(rows: pd.DataFrame) -> str:
    """Where the numbers of a line come from."""
    commits = sorted({commit[:12] for commit in rows["git_commit"].dropna()})
    versions, machines = places(rows)
    threads = sorted({int(n) for n in rows["threads"].dropna()})
    counted = ", ".join(map(str, threads)) or "not set"
    return (
        f"{len(rows)} row{'s' if len(rows) != 1 else ''} of {rows['model'].iloc[0]}\n"
        f"commit {', '.join(commits) or 'unknown'}\n"
        f"machine {'; '.join(machines)}\nthreads {counted}\nversions {'; '.join(versions)}"
    )


def model_names(frame: pd.DataFrame) -> Sequence[str]:
    """Every model of the rows and the paper's two, in the order of the legends."""
    names = {*_named(frame)["model"], "pointer", "transformer"}
    rank = {name: n for n, name in enumerate(models.ordered({base(name) for name in names}))}
    return sorted(names, key=lambda name: (rank[base(name)], name))
