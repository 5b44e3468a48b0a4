"""Read rows and check them: `pointer-bench verify PATH...`.

A PATH is a row, a folder of rows, or a results folder. Rows that a report sets side by side are one
comparison: those of a manifest, of each folder below `reference`, else all of a folder. Notes say
what a reader should know; only problems fail.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench.cell import RUNS, Cell, from_dict
from workflow.bench.rows import (
    Row,
    RowError,
    attachment,
    checks,
    file_hash,
    parse,
    provenance,
    row_files,
    row_texts,
    skipped_words,
)
from workflow.bench.rows.checks import Finding, Placed
from workflow.bench.sessions import by_file

MANIFEST = "manifest.txt"


@dataclass
class Checked:
    """Rows by their file (None: not sound), what was found, and why other files were skipped."""

    rows: dict[str, Placed | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def read(self, path: Path, text: str) -> Placed | None:
        """Return the row of a file or a line, read once; None where it cannot be trusted."""
        name = str(path)
        if name not in self.rows:
            try:
                self.rows[name] = Placed(name, parse(text, path))
            except RowError as error:
                self.rows[name] = None
                self.findings.append(Finding(error.kind, str(error), paths=(name,)))
        return self.rows[name]

    def sound(self) -> list[Placed]:
        """Return the rows that can be trusted."""
        return [placed for placed in self.rows.values() if placed is not None]

    def problems(self, *, note: bool = False) -> list[Finding]:
        """Return what makes rows unfit to be judged (or the notes), each once."""
        return [finding for finding in dict.fromkeys(self.findings) if finding.note == note]


def check(
    paths: Sequence[Path], cells: Sequence[Cell] = (), manifests: Sequence[Path] = ()
) -> Checked:
    """Read and check all rows of `paths`; `cells` and the lines of manifests must be there."""
    checked = Checked()
    for path in paths:
        for files in _comparisons(path, checked):
            texts = row_texts(file for file in files if file.is_file())
            read = [checked.read(file, text) for file, text in texts]
            rows = [placed for placed in read if placed is not None]
            checked.findings += [*checks.mixed_sources(rows), *checks.duplicates(rows)]
    for manifest in manifests:
        checked.findings += _missing(_listed(manifest, Path()))
    if not checked.rows and not checked.findings:
        names = ", ".join(map(str, paths))
        raise InputError.about("PATH", names, "row files, or folders of them", "the command line")
    rows = checked.sound()
    once = {placed.row["digest"]: placed for placed in rows}  # copies of a row, as in reference
    checked.findings += [*checks.single(rows), *checks.overlaps(once.values())]
    checked.findings += [*_attached(rows), *_absent(cells, rows), *_noted(rows)]
    return checked


def _comparisons(path: Path, checked: Checked) -> Iterator[list[Path]]:
    """Yield the files of each comparison; note the listed ones that are missing."""
    manifests = [m for m in (path / MANIFEST, *sorted(path.glob(f"*/{MANIFEST}"))) if m.is_file()]
    if path.is_file():
        yield [path]
    elif manifests or (path / "runs").is_dir():
        known: set[Path] = set()
        for manifest in manifests:
            files = _listed(manifest, path.parent)
            checked.findings += _missing(files)
            known.update(files)
            yield files
        yield from ([f] for f in row_files(path / "runs", checked.skipped) if f not in known)
        yield from (row_files(f, checked.skipped) for f in sorted((path / "reference").glob("*/")))
    elif path.is_dir():
        yield row_files(path, checked.skipped)
    else:
        accepted = "a file or a folder that exists"
        raise InputError.about("PATH", str(path), accepted, "the command line")


def _listed(manifest: Path, root: Path) -> list[Path]:
    """Return the rows that a manifest names, below `root`; InputError where it is unreadable."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        accepted = "a file with one row path a line"
        raise InputError.about("manifest", str(manifest), accepted, "`--manifest`") from None
    return [root / line for line in lines if line.strip()]


def _missing(files: Iterable[Path]) -> Iterator[Finding]:
    for file in files:
        if not file.is_file():
            yield Finding("missing", f"{file}: listed, and not there", paths=(str(file),))


def _absent(cells: Sequence[Cell], rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield the planned cells that no row is of, wherever its file is."""
    present = set()
    for placed in rows:
        with contextlib.suppress(InputError):  # settings of another version of the suite
            present.add(from_dict(placed.row["settings"]).key(placed.row["data_hash"]))
    for path, planned in by_file(cells).items():
        lacking = [cell.label() for cell in planned if cell.key() not in present]
        if lacking:
            of = f"{len(lacking)} of its {len(planned)} cells" if planned[1:] else "this cell"
            message = f"{path}: planned, and no row is of {of}"
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
    counts = ", ".join(f"{n} {status}" for status, n in failed.items())
    warned = [placed for placed in rows if placed.row["warnings"]]
    first = f"{warned[0].path}: {warned[0].row['warnings'][0]}" if warned else ""
    dirty = sum(placed.row["git_dirty"] is True for placed in rows)
    outdated = sum(_outdated(placed.row) for placed in rows)
    other = "were made by other sources than this folder's"
    for count, kind, message in (
        (len(failed), "status", f"not finished: {counts}"),
        (len(warned), "warning", f"{len(warned)} rows hold warnings, such as {first}"),
        (dirty, "uncommitted", f"{dirty} rows were made with uncommitted changes"),
        (outdated, "outdated", f"{outdated} rows {other}"),
    ):
        if count:
            yield Finding(kind, message, note=True)


def _outdated(row: Row) -> bool:
    try:
        return bool(row["source_hash"] != provenance.sources(from_dict(row["settings"])))
    except InputError:
        return True  # a model that is no more


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
            snakemake = ["snakemake", "--cores", "4", *directory, *options]
            commands.append([*snakemake, "--", f"{runs}{row}"])
        elif path in typed:
            commands.append([*shlex.split(typed[path]), "--out", path])
    return commands


def as_json(checked: Checked, config: Sequence[str] = ()) -> str:
    """Return, for programs, numbers of files, and every finding with its files and commands."""
    content: dict[str, Any] = {"rows": len(checked.sound()), "skipped": dict(checked.skipped)}
    for key, note in (("problems", False), ("notes", True)):
        content[key] = []
        for finding in checked.problems(note=note):
            entry: dict[str, Any] = {"check": finding.check, "message": finding.message}
            entry["files"] = [*(placed.path for placed in finding.rows), *finding.paths]
            content[key].append(entry | {"rerun": rerun(finding, config)})
    return json.dumps(content, indent=1, ensure_ascii=False)


def as_text(checked: Checked, config: Sequence[str] = ()) -> str:
    """Return, for people, a line a finding, the commands below it, and the sum."""
    lines = []
    problems, notes = checked.problems(), checked.problems(note=True)
    for finding in (*problems, *notes):
        lines.append(f"{'note: ' if finding.note else ''}{finding.check}: {finding.message}")
        lines += [f"    again: {shlex.join(command)}" for command in rerun(finding, config)]
    total = f"{len(checked.sound())} rows: "
    total += f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "clean"
    total += f", {len(notes)} note{'s' * (len(notes) != 1)}" if notes else ""
    return "\n".join([*lines, ", ".join([total, *skipped_words(checked.skipped)])])
