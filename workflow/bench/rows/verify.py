"""Read rows and check them: `pointer-bench verify PATH...`.

A PATH is a row, a folder of rows, or a results folder, of which one's own rows are read. Rows that
a report sets side by side are one comparison: those of a manifest, else all of a folder. Notes say
what a reader should know; only problems fail. The claims of the report use the same checks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.cell import LIMITS, RUNS, Cell, from_dict
from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import (
    Row,
    RowError,
    attachment,
    file_hash,
    parse,
    provenance,
    row_files,
    row_texts,
    skipped_words,
)
from workflow.bench.sessions import by_file

MANIFEST = "manifest.txt"
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
        entry = EXPERIMENTS.get(self.row["experiment"])
        return entry is not None and entry.timing

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


class Finding(NamedTuple):
    """What a check found: `rows` are to be measured again. A note is no reason for distrust."""

    check: str
    message: str
    rows: tuple[Placed, ...] = ()
    note: bool = False
    paths: tuple[str, ...] = ()  # files without a readable row


class Checked(NamedTuple):
    """The rows that can be trusted, what was found, and why other files were skipped."""

    rows: list[Placed]
    findings: list[Finding]
    skipped: Counter[str]

    def problems(self, *, note: bool = False) -> list[Finding]:
        """Return what makes rows unfit to be judged (or the notes)."""
        return [finding for finding in self.findings if finding.note == note]


def check(paths: Sequence[Path], cells: Sequence[Cell] = ()) -> Checked:
    """Read and check all rows of `paths`; a row of each of `cells` must be there."""
    sound: dict[str, Placed] = {}
    found, skipped = list[Finding](), Counter[str]()
    for files in itertools.chain.from_iterable(_comparisons(path, skipped) for path in paths):
        for file in files:
            if not file.is_file():
                message = f"{file}: listed, and not there"
                found.append(Finding("missing", message, paths=(str(file),)))
        rows = []
        for path, text in row_texts(filter(Path.is_file, files)):
            try:
                rows.append(Placed(str(path), parse(text, path)))
            except RowError as error:
                found.append(Finding(error.kind, str(error), paths=(str(path),)))
        sound.update((placed.path, placed) for placed in rows)
        found += [*mixed_sources(rows), *duplicates(rows)]
    if not sound and not found:
        names = ", ".join(map(str, paths))
        raise InputError.about("PATH", names, "row files, or folders of them", "the command line")
    rows = list(sound.values())
    once = {placed.row["digest"]: placed for placed in rows}  # copies of a row, as in reference
    found += [*single(rows), *overlaps(once.values())]
    found += [*_attached(rows), *_absent(cells, rows), *_noted(rows)]
    return Checked(rows, list(dict.fromkeys(found)), skipped)  # two manifests may list one file


def _comparisons(path: Path, skipped: Counter[str]) -> Iterator[list[Path]]:
    """Yield the files of each comparison, those of a manifest although they are missing."""
    manifests = [m for m in (path / MANIFEST, *sorted(path.glob(f"*/{MANIFEST}"))) if m.is_file()]
    if path.is_file():
        yield [path]
    elif manifests or (path / "runs").is_dir():
        known: set[Path] = set()
        for manifest in manifests:
            lines = manifest.read_text(encoding="utf-8", errors="replace").splitlines()
            files = [path.parent / line for line in lines if line.strip()]
            known.update(files)
            yield files
        yield from ([file] for file in row_files(path / "runs", skipped) if file not in known)
    elif path.is_dir():
        yield row_files(path, skipped)
    else:
        raise InputError.about("PATH", str(path), "a file or a folder that exists", "the command")


def _absent(cells: Sequence[Cell], rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield the planned cells that no row is of, wherever its file is."""
    present = set()
    for placed in rows:
        with contextlib.suppress(InputError):  # settings of another version of the suite
            present.add(from_dict(placed.row["settings"]).key(placed.row["data_hash"]))
    for path, planned in by_file(cells).items():
        lacking = [cell for cell in planned if cell.key() not in present]
        if lacking:
            message = f"{path}: planned, and {len(lacking)} of its {len(planned)} cells lack a row"
            yield Finding("missing", message, paths=(path,))


def _attached(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield files beside a row that it was not sealed with, and a note on absent ones."""
    absent: Counter[str] = Counter()
    for placed in rows:
        sealed = placed.row.get("files_sha256") or {}
        for kind, name in (placed.row["files"] or {}).items():
            path = attachment(Path(placed.path), name)
            if not path.is_file():
                absent[kind] += 1
            elif kind in sealed and file_hash(path) != sealed[kind]:
                message = f"{path}: not the {kind} that the row was sealed with"
                yield Finding("attachment", message, (placed,))
    for kind, count in absent.items():
        yield Finding("attachment", f"{count} rows lie without their {kind}", note=True)


def _noted(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Yield notes, one a kind: rows not finished, with warnings, of changed or other sources."""
    failed = Counter(p.row["status"] for p in rows if p.row["status"] != "ok")
    warned = [f"{p.path}: {p.row['warnings'][0]}" for p in rows if p.row["warnings"]]
    dirty = sum(placed.row["git_dirty"] is True for placed in rows)
    outdated = len(rows)
    for placed in rows:
        with contextlib.suppress(InputError):  # of a model that is no more
            sources = provenance.sources(from_dict(placed.row["settings"]))
            outdated -= placed.row["source_hash"] == sources
    counts = ", ".join(f"{n} {status}" for status, n in failed.items())
    notes = {
        "status": (failed, f"not finished: {counts}"),
        "warning": (warned, f"{len(warned)} rows hold warnings, such as {' '.join(warned[:1])}"),
        "uncommitted": (dirty, f"{dirty} rows were made with uncommitted changes"),
        "outdated": (outdated, f"{outdated} rows were made by other sources than this folder's"),
    }
    for kind, (there, message) in notes.items():
        if there:
            yield Finding(kind, message, note=True)


def single(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield what contradicts itself within a row."""
    for placed in rows:
        faults = "; ".join(filter(None, [_faulty_times(placed), *_faulty_numbers(placed.row)]))
        if faults:
            yield Finding("contradiction", f"{placed.path}: {faults}", (placed,))


def _faulty_times(placed: Placed) -> str:
    try:
        start, end = placed.span
    except (ValueError, TypeError) as error:
        return f"started or ended is no time ({error})"
    seconds = (start - end).total_seconds()
    return f"ended {seconds:.3g} s before it started" if seconds > 0 else ""


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


def mixed_sources(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Yield rows of one comparison that other sources, or other packages, have made; tasks and the
    variants of a model, with a convolution or other settings, need not share theirs."""
    groups: dict[tuple[str, ...], list[tuple[str, Placed]]] = defaultdict(list)
    for key, placed in itertools.product(SOURCES, rows):
        row, value = placed.row, placed.row.get(key)
        task = str((row["settings"].get("task") or {}).get("name", ""))
        mixer = row["settings"].get("mixer")
        compared = []
        if key == "versions":
            value = ", ".join(f"{name} {(value or {}).get(name)}" for name in VERSIONS)
        elif key == "shared_hash":
            compared = [task]
        else:
            variant = json.dumps(mixer, sort_keys=True) if mixer else ""
            convolution = registry.CONVOLUTIONS[row["settings"].get("short_convolution", "source")]
            compared = [row["model"] + convolution, variant, row["device"], task]
        if value:
            groups[key, row["machine"], row["experiment"], *compared].append((value, placed))
    for (key, machine, *names), made in groups.items():
        newest, _ = max(made, key=lambda pair: pair[1].row["started"])
        older = tuple(placed for value, placed in made if value != newest)
        if older:
            cells = " ".join(filter(None, names))
            count = f"{cells} on {machine}: {len(older)} of {len(made)} rows"
            message = f"{count} come from other {SOURCES[key]} than the newest ({key})"
            yield Finding("sources", message, older)


def duplicates(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield rows of one cell on one machine, which a report would take for repeats."""
    cells: dict[Any, list[Placed]] = defaultdict(list)
    for placed in rows:
        row = placed.row
        used = {key: value for key, value in row["settings"].items() if key not in LIMITS}
        process = row["machine"], row["session"], row["attempt"]
        cells[process, json.dumps(used, sort_keys=True)].append(placed)
    for group in cells.values():
        if len(group) > 1:
            names = " and ".join(p.path for p in group)
            message = f"{group[0].name} is there {len(group)} times: {names}"
            yield Finding("duplicate", message, tuple(group[1:]))


def rerun(finding: Finding, config: Sequence[str] = ()) -> list[list[str]]:
    """Return the commands that mend a problem; none for a note."""
    if finding.note:
        return []
    if finding.check == "duplicate":
        return [["rm", "-f", placed.file] for placed in finding.rows]
    typed = {placed.file: placed.row["command"] for placed in finding.rows}
    commands: list[list[str]] = []
    for path in [*typed, *finding.paths]:
        root, runs, row = path.rpartition(f"{RUNS}/")
        if finding.check != "missing" and (runs or path not in typed):
            commands.append(["rm", "-f", path])
        if runs:  # a row of the pipeline
            directory = ["--directory", root] if root else []
            options = ["--configfile", *config] if config else []
            commands.append(["snakemake", "--cores", "4", *directory, *options, "--", runs + row])
        elif path in typed:
            commands.append([*shlex.split(typed[path]), "--out", path])
    return commands


def as_json(checked: Checked, config: Sequence[str] = ()) -> str:
    """Return, for programs, numbers of files, and every finding with its files and commands."""
    content: dict[str, Any] = {"rows": len(checked.rows), "skipped": dict(checked.skipped)}
    content |= {"problems": [], "notes": []}
    for finding in checked.findings:
        entry: dict[str, Any] = {"check": finding.check, "message": finding.message}
        entry["files"] = [*(placed.path for placed in finding.rows), *finding.paths]
        entry["rerun"] = rerun(finding, config)
        content["notes" if finding.note else "problems"].append(entry)
    return json.dumps(content, indent=1, ensure_ascii=False)


def as_text(checked: Checked, config: Sequence[str] = ()) -> str:
    """Return, for people, a line a finding, the commands below it, and the sum."""
    lines = []
    problems, notes = checked.problems(), checked.problems(note=True)
    for finding in (*problems, *notes):
        lines.append(f"{'note: ' if finding.note else ''}{finding.check}: {finding.message}")
        lines += [f"    again: {shlex.join(command)}" for command in rerun(finding, config)]
    total = f"{len(checked.rows)} rows: "
    total += f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "clean"
    total += f", {len(notes)} note{'s' * (len(notes) != 1)}" if notes else ""
    return "\n".join([*lines, ", ".join([total, *skipped_words(checked.skipped)])])
