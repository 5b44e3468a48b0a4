"""Row files become one tidy frame, a line a row and a column a key of the schema; or rows to keep,
a line each of <folder>/<machine>/rows.jsonl, small traces beside the path that the line names."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.bench import tasks
from workflow.bench.cell import Trunk
from workflow.bench.rows import (
    LINES,
    Record,
    as_json,
    attachment,
    parse,
    read_rows,
    row_texts,
    skipped_words,
    write_atomically,
)

WHERE = "the command line"
LEARNED = 0.95  # the final accuracy from which on tokens_to_95 and seconds_to_95 count
LARGEST_TRACE_BYTES = 300_000  # of a trace that the repository keeps
DTYPES = {"integer": "Int64", "number": "Float64", "string": "string", "boolean": "boolean"}
FORMULA = re.compile(r"[=+@\t\r]|-(?![\d.]+(e[+-]?\d+)?$)")  # and no negative number
SIZES = tuple(name for name, field in tasks.parameters().items() if field.annotation is int)
ORDER = [
    "experiment", "model", "length", "x", "machine", "device", "dtype", "seed", "repeat", "digest",
]  # fmt: skip


def tidy(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a sorted frame of the schema's columns, `path`, and `learned`: 95% at the end.
    Nested keys are text, but a task's sizes are columns."""
    types = {}
    for key, declared in Record.model_json_schema()["properties"].items():
        kinds = [part.get("type") for part in (declared, *declared.get("anyOf", ()))]
        types[key] = next((DTYPES[kind] for kind in kinds if kind in DTYPES), "string")
    types |= dict.fromkeys(SIZES, "Int64") | {"path": "string", "learned": "boolean"}
    records = []
    for row in rows:
        task, trunk = row.get("task") or {}, row.get("trunk")
        flat = {**row, "task": task.get("name"), **{key: task.get(key) for key in SIZES}}
        flat["trunk"] = str(Trunk(**trunk)) if trunk else None
        nested = [key for key, value in flat.items() if isinstance(value, list | dict)]
        flat |= {key: json.dumps(flat[key], sort_keys=True, ensure_ascii=False) for key in nested}
        records.append(flat)
    frame = pd.DataFrame(records or None, columns=list(types)).astype(types)
    frame["learned"] = (frame["accuracy"] >= LEARNED).astype("boolean")
    return frame.sort_values(ORDER, ignore_index=True)


def unpack(cell: Any) -> Any:
    """Return the value of a nested cell; None where it is missing."""
    return json.loads(cell) if isinstance(cell, str) else None


def listed_rows(manifest: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return path and row of every row in the files that a manifest names, one a line. Raise
    InputError for missing files, RowError for a row that is not sound."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        accepted = "a readable list of row files"
        raise InputError.about("--manifest", str(manifest), accepted, WHERE) from error
    listed = [Path(line) for line in lines if line.strip()]
    missing = [str(path) for path in listed if not path.is_file()]
    if missing:
        count, names = f"{len(missing)} of {len(listed)} rows of {manifest}", ", ".join(missing)
        raise InputError(f"{count} are missing: {names}")
    return [(path, parse(text, path)) for path, text in row_texts(listed)]


def collect(manifest: Path, out: Path, benchmarks: Path | None = None) -> pd.DataFrame:
    """Write `out/rows.parquet` and `.csv` of a manifest's rows and the mixers' benchmarks."""
    rows = [row | {"path": str(path)} for path, row in listed_rows(manifest)]
    frame = tidy([*rows, *(mixer_rows(benchmarks) if benchmarks else [])])
    save(frame, out / "rows.parquet")
    return frame


def save(table: pd.DataFrame, path: Path) -> list[Path]:
    """Write a table to `path`, and as CSV beside it; return the files."""
    files = [path, path.with_suffix(".csv")]
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    files[1].write_text(csv_text(table), encoding="utf-8")
    return files


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, with an apostrophe before a text that a spreadsheet would compute."""
    safe = frame.copy()
    for column in safe.select_dtypes(["object", "string"]):
        safe[column] = safe[column].map(
            lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell
        )
    return safe.to_csv(index=False)


def load(path: Path) -> pd.DataFrame:
    """Return the frame of `collect`, or of a folder of rows; raise InputError for neither."""
    if path.is_dir():
        return tidy(row | {"path": str(file)} for file, row in rows_below(path))
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        accepted = "a whole rows.parquet, made by `collect`, or a folder of rows"
        raise InputError.about("--rows", str(path), accepted, WHERE) from error


def rows_below(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return path and row of all rows below a folder, and say on stderr what is there."""
    skipped = Counter[str]()
    rows = read_rows(folder, skipped)
    if not rows:
        accepted = "a folder with row files below it"
        raise InputError.about("rows", str(folder), accepted, WHERE)
    print(", ".join([f"{folder}: {len(rows)} rows", *skipped_words(skipped)]), file=sys.stderr)
    return rows


def mixer_rows(path: Path) -> list[dict[str, Any]]:
    """Return a row a benchmark of a pytest-benchmark JSON of one mixer alone: `step_ms` with its
    backward pass, `inference_ms` without. Raise InputError for a file that is no such JSON."""
    fixed = {"experiment": "mixers", "status": "ok", "device": "cpu", "dtype": "float32"}
    columns = {"forward": "inference_ms", "backward": "step_ms"}
    rows = []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["benchmarks"]:
            told = entry["extra_info"]
            row = {key: told[key] for key in ("machine", "model", "length", "batch", "threads")}
            row |= fixed | {"seed": 0, "repeat": 0, "axis": "length", "x": row["length"]}
            row |= {"started": content["datetime"], "git_commit": content["commit_info"].get("id")}
            row[columns[entry["group"].rpartition(" ")[2]]] = 1000 * entry["stats"]["median"]
            rows.append(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{path}: not a JSON of this suite's pytest-benchmark run ({error!r})"
        raise InputError(text) from error
    return rows


def keep(rows: Iterable[tuple[Path, dict[str, Any]]], out: Path, *, replace: bool) -> list[Path]:
    """Add rows to `out`; return the files. Raise InputError, before anything is written, for no
    rows, and without `replace` for two different rows of one machine and name."""
    machines: dict[Path, dict[str, str]] = {}  # a rows.jsonl -> its lines by their key `file`
    traces: dict[Path, Path] = {}  # copy -> source
    conflicts, lines_of = [], cache(_lines)
    for path, row in rows:
        folder = out / _folder(row["machine"])
        file = Path(_folder(row["experiment"]), row["session"] or _folder(row["model"]), path.name)
        lines = machines[folder / LINES] = lines_of(folder / LINES)
        line = as_json(row, file=str(file))
        if lines.get(str(file)) != line:
            if lines.pop(str(file), None) is not None:
                conflicts.append(f"{path} is not {folder / file}")
            lines[str(file)] = line
        name = (row["files"] or {}).get("trace")
        trace = attachment(path, str(name))
        if name and trace.is_file() and trace.stat().st_size < LARGEST_TRACE_BYTES:
            traces[attachment(folder / file, name)] = trace
    if not machines:
        raise InputError.about("rows", None, "at least one row", WHERE)
    if conflicts and not replace:
        names = "; ".join(conflicts)
        advice = "Remove one of the two, or give the machines labels of their own (`--machine`)"
        raise InputError(f"Different rows have one name and machine: {names}. {advice}.")
    for kept, lines in machines.items():
        write_atomically(kept, "".join(f"{line}\n" for line in lines.values()))
    for copy, source in traces.items():
        if copy != source:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    return [*machines, *traces]


def merge(folders: Iterable[Path], into: Path) -> list[str]:
    """Add all rows below folders to `into`, as `keep`; return a line a machine on what is there."""
    before = {path: len(_lines(path)) for path in into.glob(f"*/{LINES}")}
    rows = [row for folder in folders for row in rows_below(folder)]
    files = [path for path in keep(rows, into, replace=False) if path.name == LINES]
    now = {path: len(_lines(path)) for path in files}
    return [f"{path}: {n} rows, {n - before.get(path, 0)} of them new" for path, n in now.items()]


def _lines(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {json.loads(line)["file"]: line for line in lines}


def _folder(name: str) -> str:
    """Return a label as a folder's name: `Xeon(R) @ 2GHz` -> `xeon-r-2ghz`; any script stays."""
    return re.sub(r"\W+", "-", name.lower()).strip("-") or "unnamed"
