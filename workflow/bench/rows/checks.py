"""Check rows that are already read: each by itself, and each against the others.

`pointer-bench verify` and the claims of the report use the same checks.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import Row

MEASURED = ("ok", "diverged", "unsupported")  # their times are the worker's, within the lock
NO_NUMBERS = ("error", "oom", "timeout", "unsupported")
NUMBERS = ("step_ms", "inference_ms", "accuracy", "loss", "bits_per_byte", "flops_step")
COPIED = ("experiment", "device", "dtype", "seed", "repeat")  # settings that are keys as well
SOURCES = {  # what made a row, by the key that tells
    "versions": "packages",
    "shared_hash": "task, recipe, trunk or clock",
    "source_hash": "sources",
}
VERSIONS = ("torch", "numpy", "numba", "python")
LIMITS = ("timeout_s", "memory_limit_bytes")  # settings that change no number
TOLERANCE_S = 1.0  # a wall clock that is set back moves times by less
ROUNDING = 1e-6


@dataclass(frozen=True)
class Placed:
    """A row and the file that it was read from."""

    path: str
    row: Row = field(compare=False)

    @property
    def timing(self) -> bool:
        """Whether it had to run alone on its machine."""
        experiment = EXPERIMENTS.get(self.row["experiment"])
        return experiment is not None and experiment.timing

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end; raises ValueError for what is no time, or has no time zone."""
        start, end = (datetime.fromisoformat(self.row[key]) for key in ("started", "ended"))
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError("without a time zone")
        return start, end

    @property
    def file(self) -> str:
        """The file that a pipeline makes: the row's own, or its session's."""
        folder = Path(self.path).parent
        return f"{folder}.jsonl" if folder.name == self.row["session"] else self.path

    @property
    def name(self) -> str:
        """The row in words."""
        row = self.row
        cell = f"{row['experiment']} {row['model']} {row['axis']}={row['x']}"
        return f"{cell} seed {row['seed']} repeat {row['repeat']}"


@dataclass(frozen=True)
class Finding:
    """What a check found: `rows` are to be measured again. A note is no reason for distrust."""

    check: str
    message: str
    rows: tuple[Placed, ...] = ()
    note: bool = False
    paths: tuple[str, ...] = ()  # files without a readable row


def single(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield what contradicts itself within a row."""
    for placed in rows:
        faults = [*_faulty_times(placed), *_faulty_numbers(placed.row)]
        if faults:
            yield Finding("contradiction", f"{placed.path}: {'; '.join(faults)}", (placed,))


def _faulty_times(placed: Placed) -> list[str]:
    try:
        start, end = placed.span
    except (ValueError, TypeError) as error:
        return [f"started or ended is no time ({error})"]
    seconds = (start - end).total_seconds()
    return [f"ended {seconds:.3g} s before it started"] if seconds > 0 else []


def _faulty_numbers(row: Row) -> Iterator[str]:
    settings = row["settings"]
    for key in COPIED:
        if settings.get(key, row[key]) != row[key]:
            yield f"settings.{key} is not {key}"
    # A model outside the suite is NAME=package.module:Class in the settings.
    if settings.get("model", row["model"]).partition("=")[0] != row["model"]:
        yield "settings.model is not model"
    if not row["machine"].isprintable():
        yield "machine holds control characters"
    if row["status"] in NO_NUMBERS:
        yield from (f"{row['status']}, yet with {key}" for key in NUMBERS if row[key] is not None)
    accuracy, low, high = row["accuracy"], row["accuracy_low"], row["accuracy_high"]
    if accuracy is None:
        if (low, high) != (None, None):
            yield "an interval without an accuracy"
        return
    if not row["n_evaluated"]:
        yield "accuracy of no evaluated symbol"
    if None not in (low, high) and not low - ROUNDING <= accuracy <= high + ROUNDING:
        yield "accuracy lies outside its interval"


def overlaps(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield timing rows that ran while another row of the suite ran on the same machine. The rows
    of a session ran together: one stands for all."""
    machines: dict[Any, dict[Any, tuple[datetime, datetime, Placed]]] = defaultdict(dict)
    for placed in rows:
        if placed.row["status"] in MEASURED and not _faulty_times(placed):
            machine = placed.row["machine"], placed.row.get("host")
            process = placed.row["session"] or placed.path, placed.row["attempt"]
            machines[machine].setdefault(process, (*placed.span, placed))
    for processes in machines.values():
        running: list[tuple[datetime, Placed]] = []
        for start, end, placed in sorted(processes.values(), key=lambda span: span[:2]):
            running = [(until, other) for until, other in running if until > start]
            for until, other in running:
                seconds = (min(until, end) - start).total_seconds()
                timed = sorted((p for p in (placed, other) if p.timing), key=lambda p: p.path)
                if seconds > TOLERANCE_S and timed:
                    both = f"{placed.name} ({placed.path}) and {other.name} ({other.path})"
                    where = f"for {seconds:.3g} s on {placed.row['machine']}"
                    yield Finding("overlap", f"{both} ran at once {where}", tuple(timed))
            running.append((end, placed))


def mixed_sources(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield rows of one comparison that other sources, or other packages, have made.

    Tasks do not share their sources, nor need the variants of a model.
    """
    groups: dict[tuple[str, ...], list[Placed]] = defaultdict(list)
    for placed in rows:
        row = placed.row
        task = str((row["settings"].get("task") or {}).get("name", ""))
        mixer = row["settings"].get("mixer") or {}
        variant = row["model"], json.dumps(mixer, sort_keys=True) if mixer else "", row["device"]
        place = row["machine"], row["experiment"]
        groups["versions", *place].append(placed)
        groups["shared_hash", *place, task].append(placed)
        groups["source_hash", *place, *variant, task].append(placed)
    for key in SOURCES:
        for (kind, machine, *names), group in groups.items():
            if kind == key:
                yield from _mixed(key, machine, names, group)


def _mixed(key: str, machine: str, names: list[str], group: list[Placed]) -> Iterator[Finding]:
    made: dict[str, list[Placed]] = defaultdict(list)
    for placed in group:
        value = placed.row.get(key)
        if isinstance(value, dict):
            value = ", ".join(f"{name} {value.get(name)}" for name in VERSIONS)
        if value:
            made[value].append(placed)
    if len(made) > 1:
        newest = max(made, key=lambda value: max(p.row["started"] for p in made[value]))
        older = [p for value, placed in made.items() if value != newest for p in placed]
        cells = " ".join(name for name in names if name)
        count = f"{cells} on {machine}: {len(older)} of {len(group)} rows"
        message = f"{count} come from other {SOURCES[key]} than the newest ({key})"
        yield Finding("sources", message, tuple(older))


def duplicates(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield rows of one cell on one machine, which a report would take for repeats."""
    cells: dict[tuple[str, ...], list[Placed]] = defaultdict(list)
    for placed in rows:
        row = placed.row
        used = {key: value for key, value in row["settings"].items() if key not in LIMITS}
        process = str((row["session"], row["attempt"]))
        cells[row["machine"], process, json.dumps(used, sort_keys=True)].append(placed)
    for group in cells.values():
        if len(group) > 1:
            names = " and ".join(p.path for p in group)
            message = f"{group[0].name} is there {len(group)} times: {names}"
            yield Finding("duplicate", message, tuple(group[1:]))
