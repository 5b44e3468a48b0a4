"""Do rows fit themselves and each other? The checks behind `pointer-bench verify`, on rows that are already read.

A comparison is a list of rows that a report sets side by side. Nothing here reads a file; workflow.bench.verify does,
and workflow.report.claims asks for GRAVE before it judges.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pointer.errors import InputError
from workflow.bench import outside, registry
from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import Row

MEASURED = ("ok", "diverged", "unsupported")  # their times come from the worker, so from inside the machine's lock
VERSIONS = ("torch", "numpy", "numba", "python")
COPIED = ("experiment", "model", "device", "dtype", "seed", "repeat")  # of the settings, into keys of their own
RECIPE = (
    *("batch", "symbols", "threads", "tokens", "lr", "stop_accuracy", "evaluate_symbols"),
    *("warmup_steps", "timed_steps", "timeout_s", "memory_limit_bytes"),
)  # rows that differ in these alone are twins: a report would take them for repeats
CLOCKS_DIFFER = timedelta(minutes=10)  # what two machines' clocks may be apart
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

    def name(self) -> str:
        """The row in words."""
        row = self.row
        size = f"D={row['distance']}" if row["distance"] else f"N={row['length']}"
        return f"{row['experiment']} {row['model']} {size} seed {row['seed']} repeat {row['repeat']}"


@dataclass(frozen=True)
class Finding:
    """What a check has to say: `rows` are the ones to measure again. A note is no reason to distrust a number."""

    check: str
    what: str
    rows: tuple[Placed, ...] = ()
    note: bool = False
    paths: tuple[str, ...] = field(default=())  # files without a readable row


def every(rows: Sequence[Placed]) -> Iterator[Finding]:
    """What holds of each row alone."""
    for placed in rows:
        yield from clock(placed)
        yield from numbers(placed)


def overlaps(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Timing rows that ran while anything else of the suite did on the same machine."""
    machines = _grouped((placed for placed in rows if placed.row["status"] in MEASURED), "machine")
    for group in machines.values():
        running: list[tuple[datetime, Placed]] = []
        for start, end, placed in sorted(_spans(group), key=lambda span: span[:2]):
            running = [(until, other) for until, other in running if until > start]
            for until, other in running:
                if placed.timing or other.timing:
                    yield _overlap(placed, other, (min(until, end) - start).total_seconds())
            running.append((end, placed))


def _spans(rows: Iterable[Placed]) -> Iterator[tuple[datetime, datetime, Placed]]:
    for placed in rows:
        try:
            start, end = placed.span
        except ValueError:
            continue  # `clock` says so
        if end > start:
            yield start, end, placed


def _overlap(placed: Placed, other: Placed, seconds: float) -> Finding:
    timed = tuple(sorted((p for p in (placed, other) if p.timing), key=lambda p: p.path))
    what = (
        f"{placed.name()} ran for {seconds:.3g} s while {other.name()} ({other.path}) did, on {placed.row['machine']}"
    )
    return Finding("overlap", what, timed)


def sources(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Rows of one comparison that different sources, or different versions of packages, have made."""
    yield from _mixed(
        rows, ("machine", "experiment", "task"), "shared_hash", "task, recipe, trunk or clock", _key("shared_hash")
    )
    for alike in _by(rows, _idle).values():  # variants that other parts of a model make have other sources by right
        key = _key("source_hash")
        yield from _mixed(alike, ("machine", "experiment", "model", "task"), "source_hash", "sources", key)
    yield from _mixed(rows, ("machine", "experiment"), "versions", "packages", _versions)


def _idle(placed: Placed) -> tuple[str, ...]:
    settings = placed.row["settings"]
    try:
        return registry.idle(
            settings.get("model", placed.row["model"]), placed.row["device"], settings.get("mixer", {})
        )
    except InputError:
        return ()  # a model that is no more


def _key(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _versions(row: Row) -> str:
    return ", ".join(f"{name} {row['versions'][name]}" for name in VERSIONS if name in row["versions"])


def _mixed(
    rows: Sequence[Placed], by: tuple[str, ...], check: str, words: str, value: Callable[[Row], Any]
) -> Iterator[Finding]:
    for key, group in _grouped(rows, *by).items():
        named = " ".join(dict.fromkeys(str(part) for part in key[1:] if part))
        seen: dict[Any, list[Placed]] = defaultdict(list)
        for placed in group:
            if value(placed.row):
                seen[value(placed.row)].append(placed)
        if len(seen) > 1:
            newest = max(seen, key=lambda made: max(p.row["started"] for p in seen[made]))
            older = tuple(p for made, made_by in seen.items() if made != newest for p in made_by)
            what = f"{named} on {key[0]}: {len(older)} of {sum(map(len, seen.values()))} rows"
            yield Finding("sources", f"{what} come from other {words} than the newest ({check})", older)


def twins(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Two rows of one cell, and two seeds that are one."""
    for group in _by(rows, _cell).values():
        if len(group) > 1:
            same = len({_frozen(p.row["settings"]) for p in group}) == 1
            what = "twice" if same else f"with different {', '.join(_differ(group))}"
            names = " and ".join(p.path for p in group)
            yield Finding("duplicate", f"{group[0].name()} is there {what}: {names}", tuple(group[1:]))
    for group in _by(rows, _seeded).values():
        if len({p.row["seed"] for p in group}) > 1:
            seeds = " and ".join(str(p.row["seed"]) for p in group)
            yield Finding("duplicate", f"{group[0].name()}: seeds {seeds} draw the same numbers", tuple(group[1:]))


def _cell(placed: Placed) -> Hashable:
    """All that makes a cell, the recipe left out."""
    row, settings = placed.row, placed.row["settings"]
    resolved = [row[key] for key in ("machine", "device", "dtype", "threads", "length", "distance", *COPIED)]
    return _frozen([resolved, {key: value for key, value in settings.items() if key not in (*RECIPE, "length")}])


def _seeded(placed: Placed) -> Hashable:
    """The same, with the numbers that a seed stands for in place of the seed."""
    row, settings = placed.row, placed.row["settings"]
    drawn = [row[key] for key in ("seed_data", "seed_init", "seed_order")]
    if None in drawn:
        return placed.path
    resolved = [row[key] for key in ("machine", "device", "dtype", "threads", "length", "distance", "experiment")]
    return _frozen([drawn, resolved, {key: value for key, value in settings.items() if key != "seed"}])


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _differ(group: Sequence[Placed]) -> list[str]:
    known = {key for p in group for key in p.row["settings"]}
    return sorted(key for key in known if len({_frozen(p.row["settings"].get(key)) for p in group}) > 1)


def turns(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Whether repeat 1 of every model was timed before repeat 2 of any, at each length (a note: it may drift)."""
    timed = [p for p in rows if p.timing and p.row["status"] == "ok"]
    for key, group in _grouped(timed, "machine", "device", "dtype", "threads", "length", "seed").items():
        begun = _grouped(group, "repeat")
        last = {repeat[0]: max(p.row["started"] for p in of) for repeat, of in begun.items()}
        first = {repeat[0]: min(p.row["started"] for p in of) for repeat, of in begun.items()}
        late = [r for r in last if any(later > r and first[later] < last[r] for later in first)]
        if late:
            where = f"N={key[4]} on {key[0]}, {key[1]}"
            yield Finding(
                "turns",
                f"{where}: models of repeat {late[0]} were still timed after repeat {late[0] + 1} began",
                note=True,
            )


def clock(placed: Placed) -> Iterator[Finding]:
    """Times that no clock can have given."""
    try:
        start, end = placed.span
    except ValueError as error:
        yield Finding("clock", f"{placed.path}: started or ended is no time ({error})", (placed,))
        return
    if end < start:
        yield Finding(
            "clock", f"{placed.path}: ended {(start - end).total_seconds():.3g} s before it started", (placed,)
        )
    elif end > datetime.now(UTC) + CLOCKS_DIFFER:
        yield Finding("clock", f"{placed.path}: ended in the future, {placed.row['ended']}", (placed,))
    elif placed.row["status"] == "ok" and (said := _seconds(placed.row)) > (end - start).total_seconds() + 1:
        took = (end - start).total_seconds()
        yield Finding("clock", f"{placed.path}: holds {said:.3g} s of measured work and took {took:.3g} s", (placed,))


def _seconds(row: Row) -> float:
    """The seconds of work that a row's own numbers add up to."""
    timed = (row["steps"] or 0) * (row["step_ms_mean"] or 0) / 1000
    return max(timed, row["train_seconds"] or 0)


def _told(row: Row, key: str) -> Any:
    """What the settings of a row say of a key; the name alone of a model outside the repository."""
    told = row["settings"].get(key, row[key])
    own = outside.split(told) if key == "model" else None
    return own[0] if own else told


def numbers(placed: Placed) -> Iterator[Finding]:
    """Numbers of a row that contradict each other: a digest can be made anew, a whole row less easily."""
    row = placed.row
    wrong = [f"settings.{key} is not {key}" for key in COPIED if _told(row, key) != row[key]]
    wrong += _wrong_rates(row) + _wrong_scores(row)
    if (
        row["status"] == "ok"
        and row["tokens_used"]
        and row["tokens_budget"]
        and row["tokens_used"] > row["tokens_budget"]
    ):
        wrong.append("tokens_used exceeds tokens_budget")
    if wrong:
        yield Finding("numbers", f"{placed.path}: {'; '.join(wrong)}", (placed,))


def _wrong_rates(row: Row) -> list[str]:
    wrong = []
    for time, rate in (("step_ms", "tokens_per_s"), ("inference_ms", "inference_tokens_per_s")):
        low, middle, high, mean = (row[f"{time}{end}"] for end in ("_q20", "", "_q80", "_mean"))
        if None not in (low, middle, high) and not low <= middle <= high:
            wrong.append(f"{time} lies outside its own percentiles")
        if None not in (mean, row[rate]) and not _close(row[rate] * mean, 1000.0 * row["batch"] * row["length"]):
            wrong.append(f"{rate} does not follow from {time}_mean")
    return wrong


def _wrong_scores(row: Row) -> list[str]:
    wrong, accuracy, n = [], row["accuracy"], row["n_evaluated"]
    low, high, right = row["accuracy_low"], row["accuracy_high"], row["correct_by_sequence"]
    if None not in (accuracy, low, high) and not low - ROUNDING <= accuracy <= high + ROUNDING:
        wrong.append("accuracy lies outside its own interval")
    if None not in (accuracy, n) and right and not _close(sum(right), accuracy * n):
        wrong.append("accuracy does not follow from correct_by_sequence")
    return wrong


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _grouped(rows: Iterable[Placed], *keys: str) -> dict[tuple[Any, ...], list[Placed]]:
    found: dict[tuple[Any, ...], list[Placed]] = defaultdict(list)
    for placed in rows:
        found[tuple(placed.row.get(key) for key in keys)].append(placed)
    return found


def _by(rows: Iterable[Placed], key: Callable[[Placed], Hashable]) -> dict[Hashable, list[Placed]]:
    found: dict[Hashable, list[Placed]] = defaultdict(list)
    for placed in rows:
        found[key(placed)].append(placed)
    return found
