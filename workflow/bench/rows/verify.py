"""Read rows and check them: `pointer-bench verify PATH...`.

A PATH is a row, a folder of rows, or a results folder. Rows that a report sets side by side are one
comparison: the rows of each manifest, each folder below `reference`, else all rows of a folder.
Every file is checked alone (readable, schema, digest, numbers), then against the others
(workflow.bench.rows.checks). Notes say what a reader should know; only problems fail.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench.plan import RUNS, Cell
from workflow.bench.rows import (
    AlteredError,
    Row,
    RowError,
    UnreadableError,
    attachment,
    checks,
    file_hash,
    names_row,
    provenance,
    read_row,
)
from workflow.bench.rows.checks import Finding, Placed
from workflow.bench.settings import Settings

MANIFEST = "manifest.txt"
KINDS: dict[type[RowError], str] = {
    UnreadableError: "unreadable",
    AlteredError: "altered",
    RowError: "schema",
}


@dataclass
class Checked:
    """What was read and found; `broken` are files without a sound row, `skipped` counts others."""

    rows: dict[str, Placed] = field(default_factory=dict)
    broken: dict[str, Finding] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)  # each once, in order
    skipped: Counter[str] = field(default_factory=Counter)

    def read(self, path: Path) -> Placed | None:
        """Return the row of a file, read once; None where there is none that can be trusted."""
        name = str(path)
        if name not in self.rows and name not in self.broken:
            try:
                self.rows[name] = Placed(name, read_row(path))
            except RowError as error:
                self.broken[name] = Finding(KINDS[type(error)], str(error), paths=(name,))
        return self.rows.get(name)

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        self.findings.update(dict.fromkeys(findings))

    def problems(self) -> list[Finding]:
        """Return what makes rows unfit to be judged."""
        return [*self.broken.values(), *(f for f in self.findings if not f.note)]

    def notes(self) -> list[Finding]:
        """Return what a reader should know."""
        return [f for f in self.findings if f.note]


def check(paths: Sequence[Path], cells: Sequence[Cell] = (), manifests: Sequence[Path] = ()) -> Checked:
    """Read and check all rows of `paths`; `cells` and the lines of manifests must be among them.

    Raise InputError for a path that is not there, or where no row is.
    """
    found = Checked()
    for path in paths:
        for files, listed in _comparisons(path, found.skipped):
            rows = [row for file in files if file.is_file() and (row := found.read(file))]
            if listed:
                found.add(_missing(files))
            found.add(checks.mixed_sources(rows))
            found.add(checks.duplicates(rows))
    for manifest in manifests:
        found.add(_missing(_listed(manifest, Path())))
    every = list(found.rows.values())
    if not every and not found.broken and not found.findings:
        accepted = "row files, or folders of them"
        raise InputError.about("PATH", ", ".join(map(str, paths)), accepted, "the command line")
    once = {placed.row["digest"]: placed for placed in every}  # copies of a row, as in reference
    found.add(checks.single(every))
    found.add(checks.overlaps(once.values()))
    found.add(_attached(every))
    found.add(_absent(cells, every))
    found.add(_noted(every))
    return found


def _comparisons(path: Path, skipped: Counter[str]) -> Iterator[tuple[list[Path], bool]]:
    """Yield the files of each comparison, and whether a manifest says that all must be there."""
    manifests = [m for m in (path / MANIFEST, *sorted(path.glob(f"*/{MANIFEST}"))) if m.is_file()]
    if path.is_file():
        yield [path], False
    elif manifests or (path / "runs").is_dir():
        listed = [_listed(manifest, path.parent) for manifest in manifests]
        yield from ((files, True) for files in listed)
        known = {file for files in listed for file in files}
        yield from (([f], False) for f in _files(path / "runs", skipped) if f not in known)
        for folder in sorted((path / "reference").glob("*/")):
            yield _files(folder, skipped), False
    elif path.is_dir():
        yield _files(path, skipped), False
    else:
        accepted = "a file or a folder that exists"
        raise InputError.about("PATH", str(path), accepted, "the command line")


def _files(folder: Path, skipped: Counter[str]) -> list[Path]:
    """Return the row files below a folder, linked folders included; count the other JSON files."""
    files = []
    entered = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        inner = [name for name in folders if os.path.realpath(Path(place, name)) not in entered]
        folders[:] = [name for name in inner if not name.startswith(".")]
        skipped["hidden folder"] += len(inner) - len(folders)
        entered |= {os.path.realpath(Path(place, name)) for name in folders}
        for path in (Path(place, name) for name in names if name.endswith(".json")):
            if path.name.startswith("."):
                skipped["hidden file"] += 1
            elif names_row(path):
                files.append(path)
            else:
                skipped["trace beside a row"] += 1
    return sorted(files)


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


def _absent(cells: Sequence[Cell], rows: Sequence[Placed]) -> Iterator[Finding]:
    """Yield the planned cells that no row is of, wherever its file is."""
    present = {_key(placed) for placed in rows}
    for cell in cells:
        if cell.settings.key() not in present:
            message = f"{cell.path}: planned, and no row is of this cell"
            yield Finding("missing", message, paths=(cell.path,))


def _key(placed: Placed) -> str | None:
    try:
        return Settings(**placed.row["settings"]).key()
    except (InputError, TypeError):
        return None  # settings of another version of the suite


def _attached(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Yield files beside a row that are not those that it was sealed with; absent ones as notes."""
    for placed in rows:
        sealed = placed.row.get("files_sha256") or {}
        for kind, name in (placed.row["files"] or {}).items():
            path = attachment(Path(placed.path), name)
            if not path.is_file():
                message = f"{path}: the row's {kind} is not there"
                yield Finding("attachment", message, (placed,), note=True)
            elif kind in sealed and file_hash(path) != sealed[kind]:
                message = f"{path}: not the {kind} that the row was sealed with"
                yield Finding("attachment", message, (placed,))


def _noted(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Yield notes on all rows: how they ended, warnings, uncommitted changes."""
    failed = Counter(p.row["status"] for p in rows if p.row["status"] != "ok")
    if failed:
        counts = ", ".join(f"{n} {status}" for status, n in failed.items())
        yield Finding("status", f"not finished: {counts}", note=True)
    for placed in rows:
        for warning in placed.row["warnings"]:
            yield Finding("warning", f"{placed.path}: {warning}", note=True)
    dirty = sum(placed.row["git_dirty"] is True for placed in rows)
    if dirty:
        yield Finding("uncommitted", f"{dirty} rows were made with uncommitted changes", note=True)
    outdated = sum(_outdated(placed.row) for placed in rows)
    if outdated:
        message = f"{outdated} rows were made by other sources than this folder's"
        yield Finding("outdated", message, note=True)


def _outdated(row: Row) -> bool:
    try:
        return bool(row["source_hash"] != provenance.source_hash(row["settings"]["model"]))
    except (InputError, KeyError):
        return True  # a model that is no more


def rerun(finding: Finding, config: Sequence[str] = ()) -> list[list[str]]:
    """Return the commands that mend a problem; none for a note."""
    if finding.note:
        return []
    if finding.check == "duplicate":
        return [["rm", "-f", placed.path] for placed in finding.rows]
    commands: list[list[str]] = []
    for path in [*(placed.path for placed in finding.rows), *finding.paths]:
        root, _, row = path.rpartition(f"{RUNS}/")
        if row != path:  # a row of the pipeline
            directory = ["--directory", root] if root else []
            options = ["--configfile", *config] if config else []
            if Path(path).exists():
                commands.append(["rm", "-f", path])
            snakemake = ["snakemake", "--cores", "4", *directory, *options]
            commands.append([*snakemake, "--", f"{RUNS}/{row}"])
        elif path in finding.paths:
            commands.append(["rm", "-f", path])
    for placed in finding.rows:
        if f"{RUNS}/" not in placed.path:
            commands.append([*shlex.split(placed.row["command"]), "--out", placed.path])
    return commands


def as_json(found: Checked, config: Sequence[str] = ()) -> str:
    """Return, for programs, numbers of rows, and every finding with its files and commands."""
    kinds = {"problems": found.problems(), "notes": found.notes()}
    content: dict[str, Any] = {"rows": len(found.rows), "skipped": dict(found.skipped)}
    for kind, findings in kinds.items():
        content[kind] = [
            {
                "check": finding.check,
                "message": finding.message,
                "files": [*(placed.path for placed in finding.rows), *finding.paths],
                "rerun": rerun(finding, config),
            }
            for finding in findings
        ]
    return json.dumps(content, indent=1, ensure_ascii=False)


def as_text(found: Checked, config: Sequence[str] = ()) -> str:
    """Return, for people, a line a finding, the commands below it, and the sum."""
    lines = []
    for finding in (*found.problems(), *found.notes()):
        lines.append(f"{'note: ' if finding.note else ''}{finding.check}: {finding.message}")
        lines += [f"    again: {shlex.join(command)}" for command in rerun(finding, config)]
    problems, notes = len(found.problems()), len(found.notes())
    parts = [f"{problems} problem{'s' * (problems != 1)}" if problems else "clean"]
    if notes:
        parts.append(f"{notes} note{'s' * (notes != 1)}")
    skipped = [f"{count} skipped ({reason})" for reason, count in found.skipped.items() if count]
    rows = len(found.rows)
    return "\n".join([*lines, f"{rows} row{'s' * (rows != 1)} read: {', '.join(parts + skipped)}"])
