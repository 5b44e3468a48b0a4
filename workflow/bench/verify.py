"""`pointer-bench verify PATH...`: can these rows be trusted, are all there, and if not, what is to be measured again?

A PATH is a row, a folder of rows, or a results folder. Rows that a report sets side by side are one comparison: the
rows of each manifest of a results folder, each machine below `reference`, else all rows of a folder. Every file is
checked alone (readable, closed schema, digest, clock, numbers that fit each other, files beside it), then against the
others (workflow.bench.audit). Notes tell what a reader should know; only problems fail.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import audit, provenance
from workflow.bench.audit import Finding, Placed
from workflow.bench.cell import RUNS, Cell
from workflow.bench.rows import AlteredError, RowError, UnreadableError, read_row
from workflow.bench.settings import from_dict
from workflow.bench.store import attachment, file_hash, names_row

MANIFEST = "manifest.txt"
KEPT = "reference"  # a folder of rows to commit: weights and large traces are left out of it
KINDS: dict[type[RowError], str] = {UnreadableError: "unreadable", AlteredError: "altered", RowError: "schema"}
RUN_AGAIN = "snakemake --cores 4"


@dataclass
class Checked:
    """What was read and found. `broken` are files that hold no sound row."""

    rows: dict[str, Placed] = field(default_factory=dict)
    broken: dict[str, Finding] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def read(self, path: Path) -> Placed | None:
        """The row of a file, read once; None where there is none that can be trusted."""
        name = str(path)
        if name not in self.rows and name not in self.broken:
            try:
                self.rows[name] = Placed(name, read_row(path))
            except RowError as error:
                self.broken[name] = Finding(KINDS[type(error)], str(error), paths=(name,))
        return self.rows.get(name)

    def problems(self) -> list[Finding]:
        """What makes rows unfit to be judged, each once."""
        return [*self.broken.values(), *dict.fromkeys(f for f in self.findings if not f.note)]

    def notes(self) -> list[Finding]:
        """What a reader should know."""
        return list(dict.fromkeys(f for f in self.findings if f.note))


def check(paths: Sequence[Path], cells: Sequence[Cell] = (), manifests: Sequence[Path] = ()) -> Checked:
    """Reads and checks all rows of `paths`; `cells` and the lines of `manifests` must be among them.

    Raises InputError for a path that is not there, or where no row is.
    """
    found = Checked()
    sets = [of for path in paths for of in comparisons(path)]
    for files, listed in sets:
        rows = [row for file in files if file.is_file() and (row := found.read(file)) is not None]
        if listed:
            found.findings += _missing(files)
        found.findings += _together(rows)
    if not found.rows and not found.broken:
        raise InputError.about("PATH", ", ".join(map(str, paths)), "row files, or folders of them", "the command line")
    every = list(found.rows.values())
    found.findings += [*audit.every(every), *_attached(every), *audit.overlaps(_once(every))]
    found.findings += [*_absent(cells, every), *(f for m in manifests for f in _missing(_listed(m, Path())))]
    found.findings += _told(every)
    return found


def comparisons(path: Path) -> Iterator[tuple[list[Path], bool]]:
    """The files of each comparison below a path, and whether a manifest says that all of them must be there."""
    if path.is_file():
        yield [path], False
    elif (path / "runs").is_dir():
        listed = [
            _listed(m, path.parent) for m in (path / MANIFEST, *sorted(path.glob(f"*/{MANIFEST}"))) if m.is_file()
        ]
        yield from ((files, True) for files in listed)
        yield from (([file], False) for file in sorted(set(_files(path / "runs")).difference(*listed)))
        yield from ((_files(folder), False) for folder in sorted((path / KEPT).glob("*/")))
    elif path.is_dir():
        yield _files(path), False
    else:
        raise InputError.about("PATH", str(path), "a file or a folder that exists", "the command line")


def _files(folder: Path) -> list[Path]:
    """The row files below a folder; what lies beside a row has a second ending, the store a hidden folder."""
    found = folder.rglob("*.json")
    inside = ((path, path.relative_to(folder).parts) for path in found if names_row(path))
    return sorted(path for path, parts in inside if not any(part.startswith(".") for part in parts))


def _listed(manifest: Path, root: Path) -> list[Path]:
    """The rows that a manifest names, below `root`. Raises InputError where it cannot be read."""
    try:
        return [root / line for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InputError.about("manifest", str(manifest), "a file with one row path a line", "`--manifest`") from None


def _together(rows: Sequence[Placed]) -> Iterator[Finding]:
    """What is wrong between the rows of one comparison."""
    yield from audit.sources(rows)
    yield from audit.twins(rows)
    yield from audit.turns(rows)


def _once(rows: Iterable[Placed]) -> list[Placed]:
    """The rows, those that are byte for byte another's copy (as in `reference`) once."""
    return list({placed.row["digest"]: placed for placed in rows}.values())


def _missing(files: Iterable[Path]) -> Iterator[Finding]:
    for file in files:
        if not file.is_file():
            yield Finding("missing", f"{file}: listed, and not there", paths=(str(file),))


def _absent(cells: Sequence[Cell], rows: Sequence[Placed]) -> Iterator[Finding]:
    """The planned cells that no row is of, wherever its file lies."""
    present = {_setting_key(placed) for placed in rows}
    for cell in cells:
        if cell.key() not in present:
            yield Finding("missing", f"{cell.path}: planned, and no row is of this cell", paths=(cell.path,))


def _setting_key(placed: Placed) -> str | None:
    """The cell's key by its settings, taken as they are."""
    try:
        return from_dict(placed.row["settings"]).key()
    except InputError:
        return None  # settings of another version of the suite


def _attached(rows: Iterable[Placed]) -> Iterator[Finding]:
    """Files beside a row that are gone, or not those that it was sealed with."""
    for placed in rows:
        for kind, name in (placed.row["files"] or {}).items():
            path, sealed = attachment(Path(placed.path), name), (placed.row.get("files_sha256") or {}).get(kind)
            if not path.is_file():
                left_out = KEPT in path.parts
                yield Finding("attachment", f"{path}: the row's {kind} is not there", (placed,), note=left_out)
            elif sealed and file_hash(path) != sealed:
                yield Finding("attachment", f"{path}: not the {kind} that the row was sealed with", (placed,))


def _told(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Notes on all rows: how they ended, doubtful timings, uncommitted or outdated sources."""
    failed = Counter(p.row["status"] for p in rows if p.row["status"] != "ok")
    if failed:
        yield Finding(
            "status", f"not finished: {', '.join(f'{n} {status}' for status, n in failed.items())}", note=True
        )
    for placed in rows:
        yield from (Finding("warning", f"{placed.path}: {text}", note=True) for text in placed.row["warnings"])
    dirty = sum(placed.row["git_dirty"] is True for placed in rows)
    if dirty:
        yield Finding("uncommitted", f"{dirty} rows were made with uncommitted changes", note=True)
    outdated = sum(_outdated(placed.row) for placed in rows)
    if outdated:
        yield Finding("outdated", f"{outdated} rows were made by other sources than this folder's", note=True)


def _outdated(row: dict[str, Any]) -> bool:
    try:
        return bool(row["source_hash"] != provenance.sources_of(from_dict(row["settings"])))
    except InputError:
        return True  # a model or an experiment that is no more


def rerun(finding: Finding, config: Sequence[str] = ()) -> list[str]:
    """The commands that make good what a finding says; none for a note."""
    if finding.note:
        return []
    if finding.check == "duplicate":
        return [f"rm -f {shlex.quote(placed.path)}" for placed in finding.rows]
    known: list[tuple[str, Placed | None]] = [(placed.path, placed) for placed in finding.rows]
    return [_again(path, placed, config) for path, placed in [*known, *((path, None) for path in finding.paths)]]


def _again(path: str, placed: Placed | None, config: Sequence[str]) -> str:
    """A row of the pipeline goes out of the store as well, or it would come back from there."""
    root, slash, inside = path.rpartition(f"{RUNS}/")
    if slash:
        gone = [path] if Path(path).exists() else []
        gone += (
            [f"{root}results/.store/{key}-{placed.row['source_hash']}.json" for key in _keys(placed)] if placed else []
        )
        steps = [f"rm -f {shlex.join(gone)}"] if gone else []
        steps += [f"cd {shlex.quote(root)}"] if root else []
        options = f" --configfile {shlex.join(config)}" if config else ""
        return " && ".join([*steps, f"{RUN_AGAIN}{options} -- {shlex.quote(slash + inside)}"])
    if placed is not None:
        return f"{placed.row['command']} --out {shlex.quote(path)}"
    return f"git checkout -- {shlex.quote(path)}" if KEPT in Path(path).parts else f"rm -f {shlex.quote(path)}"


def _keys(placed: Placed | None) -> list[str]:
    key = _setting_key(placed) if placed else None
    return [key] if key else []


def as_json(found: Checked, config: Sequence[str] = ()) -> str:
    """For programs: numbers of rows, and every finding with its files and commands."""

    def listed(findings: Iterable[Finding]) -> list[dict[str, Any]]:
        return [
            {
                "check": f.check,
                "what": f.what,
                "files": [*(p.path for p in f.rows), *f.paths],
                "rerun": rerun(f, config),
            }
            for f in findings
        ]

    content = {"rows": len(found.rows), "problems": listed(found.problems()), "notes": listed(found.notes())}
    return json.dumps(content, indent=1, ensure_ascii=False)


def as_text(found: Checked, config: Sequence[str] = ()) -> str:
    """For people: a line a finding, what to type below it, and the sum."""
    lines = []
    for finding in (*found.problems(), *found.notes()):
        lines.append(f"{'note: ' if finding.note else ''}{finding.check}: {finding.what}")
        lines += [f"    again: {command}" for command in rerun(finding, config)]
    counted: Callable[[int, str], str] = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"  # noqa: E731
    problems, notes = len(found.problems()), len(found.notes())
    said = f"{counted(len(found.rows), 'row')}: {counted(problems, 'problem') if problems else 'clean'}"
    return "\n".join([*lines, said + (f", {counted(notes, 'note')}" if notes else "")])
