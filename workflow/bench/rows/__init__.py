"""Read and write rows: one flat JSON file a cell, closed schema, sealed by a digest.

A value that does not apply or is not known is null, never 0.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).resolve().parents[2] / "schemas" / "row.schema.json"
Row = dict[str, Any]
LONGEST_MESSAGE = 500  # characters of the schema's complaint, which quotes the value


class RowError(ValueError):
    """A row that cannot be trusted; the message names the file and the key."""

    kind = "schema"


class UnreadableError(RowError):
    """No JSON: a file that is missing or cut off."""

    kind = "unreadable"


class AlteredError(RowError):
    """The digest does not fit the contents."""

    kind = "altered"


@functools.cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema


@functools.cache
def _validator() -> Any:
    """Return a validator whose integers have 64 bits, as those of the tables."""
    import jsonschema  # not at the top: gpu-check runs where it is not installed

    whole = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _whole)
    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, type_checker=whole)(_schema())


def _whole(_checker: object, value: object) -> bool:
    return type(value) is int and abs(value) < 2**63


@functools.cache
def keys() -> tuple[str, ...]:
    """Return every key of a row, in the schema's order."""
    return tuple(_schema()["properties"])


def complete(known: Row) -> Row:
    """Return a row with null for every key that `known` lacks; RowError for an unknown key."""
    for key in known:
        if key not in keys():
            raise RowError(f"row key {key!r} is not in {SCHEMA_PATH.name}")
    blank: Row = {"schema": SCHEMA_VERSION, "warnings": []}
    return {key: known.get(key, blank.get(key)) for key in keys() if key != "digest"}


def digest(row: Row) -> str:
    """Return the sha256 of the canonical JSON of a row without its digest."""
    content = {key: value for key, value in row.items() if key != "digest"}
    try:
        text = json.dumps(
            content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except UnicodeEncodeError as error:
        raise RowError(f"row holds a text that is not Unicode ({error})") from error
    except ValueError as error:
        raise RowError(f"row holds a number that JSON lacks ({error}); use null") from error
    return hashlib.sha256(text).hexdigest()


def write_row(path: Path | str, row: Row) -> Row:
    """Complete, seal and validate a row, write it atomically, and return what was written."""
    sealed = complete({key: value for key, value in row.items() if key != "digest"})
    sealed["digest"] = digest(sealed)
    _check(sealed, Path(path))
    text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(Path(path), f"{text}\n")
    return sealed


def read_row(path: Path | str) -> Row:
    """Return a row; RowError if it is missing, truncated, altered or not of the schema."""
    path = Path(path)
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: not a readable row ({error})") from error
    _check(row, path)
    if row["digest"] != digest(row):
        raise AlteredError(
            f"{path}: the digest does not fit; the row was changed after it was written"
        )
    checked: Row = row
    return checked


def attachment(path: Path, name: str) -> Path:
    """Return where a row's file lies: d512-s0.json has d512-s0.weights.safetensors."""
    return path.with_name(f"{path.stem}.{name}")


def names_row(path: Path) -> bool:
    """Return whether a file is a row, and not the trace that lies beside one."""
    return path.suffix == ".json" and not path.name.endswith(".trace.json")


def row_files(folder: Path, skipped: Counter[str] | None = None) -> list[Path]:
    """Return the row files below a folder, linked folders included; count in `skipped` the JSON
    files that are none, and hidden folders, which hold unfinished work."""
    files, skipped = [], Counter[str]() if skipped is None else skipped
    entered = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        for name in list(folders):
            target = os.path.realpath(Path(place, name))
            skipped["hidden folder"] += name.startswith(".")
            if name.startswith(".") or target in entered:  # or a link to what is read already
                folders.remove(name)
            entered.add(target)
        for path in (Path(place, name) for name in names if name.endswith(".json")):
            if path.name.startswith("."):
                skipped["hidden file"] += 1
            elif names_row(path):
                files.append(path)
            else:
                skipped["trace beside a row"] += 1
    return sorted(files)


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the whole of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check(row: Any, path: Path) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(row))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "row"
        raise RowError(f"{path}: {place}: {error.message[:LONGEST_MESSAGE]}")
