"""Result rows -> one tidy frame, `rows.parquet` and `rows.csv`: one line a row file, one column a
key.

Column types come from the row schema. What is nested in a row (curves, lists by layer, settings) is
JSON text in its cell, the same in both files; `unpack` reads it back. Missing values stay missing:
never 0."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.bench import tasks
from workflow.bench.rows.record import Record

LEARNED = 0.95  # the final accuracy from which on tokens_to_95 and seconds_to_95 count
DTYPES = {"integer": "Int64", "number": "Float64", "string": "string", "boolean": "boolean"}
SIZES = tuple(name for name, field in tasks.parameters().items() if field.annotation is int)
ORDER = [
    "experiment",
    "model",
    "length",
    "x",
    "machine",
    "device",
    "dtype",
    "seed",
    "repeat",
    "digest",
]


def column_types() -> dict[str, str]:
    """Column -> pandas dtype, in the schema's order; nested keys are text, but a task's sizes are
    columns of their own. `path` is where the row was read from."""
    properties = Record.model_json_schema()["properties"]
    types = {key: _dtype(declared) for key, declared in properties.items()}
    return types | dict.fromkeys(SIZES, "Int64") | {"path": "string", "learned": "boolean"}


def _dtype(declared: Mapping[str, Any]) -> str:
    kinds = [part.get("type") for part in (declared, *declared.get("anyOf", ()))]
    return next((DTYPES[kind] for kind in kinds if kind in DTYPES), "string")


def tidy(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a sorted frame with every column of the schema, and `learned`, whether 95% was
    kept to the end."""
    types = column_types()
    records = [{key: _flat(value) for key, value in _unnested(row).items()} for row in rows]
    frame = (
        pd.DataFrame.from_records(records, columns=list(types))
        if records
        else pd.DataFrame(columns=list(types))
    )
    frame = frame.astype(types)
    frame["learned"] = (frame["accuracy"] >= LEARNED).astype("boolean")
    return frame.sort_values(ORDER, ignore_index=True)


def _unnested(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the task's name and sizes as columns, and the trunk as text, 6x256x8."""
    task, trunk = row.get("task") or {}, row.get("trunk")
    flat = {**row, "task": task.get("name"), **{key: task.get(key) for key in SIZES}}
    flat["trunk"] = f"{trunk['layers']}x{trunk['width']}x{trunk['heads']}" if trunk else None
    return flat


def _flat(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return value


def unpack(cell: Any) -> Any:
    """The value of a nested cell; None where it is missing."""
    return json.loads(cell) if isinstance(cell, str) else None


def read_manifest(path: Path) -> list[Path]:
    """The row files that a manifest names, one a line. Raises InputError that names the missing
    ones."""
    try:
        listed = [
            Path(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.about(
            "--manifest", str(path), "a readable list of row files", "the command line"
        ) from error
    missing = [str(row) for row in listed if not row.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(listed)} rows of {path} are missing: {', '.join(missing)}"
        )
    return listed


def collect(manifest: Path, out: Path, benchmarks: Path | None = None) -> pd.DataFrame:
    """Reads and checks every row of `manifest` and writes `out/rows.parquet` and `out/rows.csv`.

    The mixers' times of pytest-benchmark join the rows where `benchmarks` names their JSON.
    """
    from workflow.bench.rows import read_row

    measured = [read_row(path) | {"path": str(path)} for path in read_manifest(manifest)]
    frame = tidy([*measured, *(mixer_rows(benchmarks) if benchmarks else [])])
    out.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(out / "rows.parquet", index=False)
    frame.to_csv(out / "rows.csv", index=False)
    return frame


def load(path: Path) -> pd.DataFrame:
    """Return the frame that `collect` wrote, or that of all row files below a folder. Raises
    InputError for neither."""
    if path.is_dir():
        return read(path)
    if not path.is_file():
        raise InputError.about(
            "--rows", str(path), "a rows.parquet made by `collect`", "the command line"
        )
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise InputError.about(
            "--rows", str(path), "a rows.parquet that is whole", "the command line"
        ) from error


def read(folder: Path) -> pd.DataFrame:
    """Return the frame of all row files below a folder, checked; traces beside them are no rows."""
    from workflow.bench.rows import read_rows

    rows = read_rows(folder)
    if not rows:
        raise InputError.about(
            "--rows", str(folder), "a folder with row files below it", "the command line"
        )
    return tidy(row | {"path": str(path)} for path, row in rows)


def mixer_rows(path: Path) -> list[dict[str, Any]]:
    """Return one row per benchmark of a pytest-benchmark JSON of the mixers, as experiment
    "mixers".

    `step_ms` is a forward and backward pass of one mixer, `inference_ms` a forward pass. Raise
    InputError for a file that is no such JSON."""
    columns = {"forward": "inference_ms", "backward": "step_ms"}
    rows = []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["benchmarks"]:
            row = {
                key: entry["extra_info"][key]
                for key in ("machine", "model", "length", "batch", "threads")
            }
            row |= {
                "experiment": "mixers",
                "status": "ok",
                "device": "cpu",
                "dtype": "float32",
                "seed": 0,
                "repeat": 0,
            }
            row |= {"axis": "length", "x": row["length"], "started": content["datetime"]}
            row["git_commit"] = content["commit_info"].get("id")
            row[columns[entry["group"].rpartition(" ")[2]]] = 1000 * entry["stats"]["median"]
            rows.append(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a JSON of this suite's pytest-benchmark run ({error!r})"
        ) from error
    return rows
