"""Rows: one flat JSON file a cell, or one line a row in a .jsonl; sealed, closed schema.

In memory a row has every key of the schema, None where it is not written. A timing session is one
.jsonl, and so is what the repository keeps of a machine (`rows.jsonl`). A line holds in `file` the
path of a row, relative to the folder: what belongs to the row lies beside.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflow.bench.rows.record import SCHEMA_VERSION, Record
from workflow.bench.validation import input_error

Row = dict[str, Any]
LINES = "rows.jsonl"  # of a machine, in the repository
LONGEST_MESSAGE = 500  # characters of a complaint, which quotes the value


class RowError(ValueError):
    """A row that cannot be trusted: its file is unreadable, altered, or not of the schema."""

    def __init__(self, message: str, kind: str = "schema") -> None:
        super().__init__(message)
        self.kind = kind  # schema, unreadable or altered


@functools.cache
def keys() -> tuple[str, ...]:
    """Return every key of a row, in the schema's order."""
    return tuple(field.alias or name for name, field in Record.model_fields.items())


def complete(known: Row) -> Row:
    """Return `known` in the schema's order, None (or no warnings) for every key it lacks."""
    for key in known:
        if key not in keys():
            raise RowError(f"row key {key!r} is unknown")
    row: Row = {key: None for key in keys() if key != "digest"}
    return row | {"schema": SCHEMA_VERSION, "warnings": []} | known


def digest(row: Row) -> str:
    """Return the sha256 of a row without its digest and without keys that are None."""
    content = {key: value for key, value in row.items() if key != "digest" and value is not None}
    try:
        text = json.dumps(
            content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()
    except ValueError as error:
        raise RowError(f"row holds what JSON lacks ({error}); leave the key out") from error


def seal(row: Row, path: Path | str) -> Row:
    """Return the row, completed and checked, with its digest; an error names `path`."""
    sealed = complete({key: value for key, value in row.items() if key != "digest"})
    sealed["digest"] = digest(sealed)
    return _checked(sealed, path)


def as_json(row: Row, indent: int | None = None, **further: Any) -> str:
    """Return a row as JSON, without the keys that are None, behind `further` keys."""
    content = {**further, **{key: value for key, value in row.items() if value is not None}}
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def write_row(path: Path | str, row: Row) -> Row:
    """Seal a row, write it atomically, and return what was written."""
    sealed = seal(row, path)
    write_atomically(Path(path), as_json(sealed, indent=1) + "\n")
    return sealed


def read_row(path: Path | str) -> Row:
    """Return the row in a file; raise RowError where there is none that can be trusted."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RowError(f"{path}: not a readable row ({error})", "unreadable") from error
    return parse(text, path)


def parse(text: str, path: Path | str) -> Row:
    """Return the row that a file or a line holds; an error names `path`."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{path}: not a readable row ({error})", "unreadable") from error
    if isinstance(row, dict):
        row.pop("file", None)
    checked = _checked(row, path)
    if checked["digest"] != digest(checked):
        message = f"{path}: the digest does not fit; the row was changed after it was written"
        raise RowError(message, "altered")
    return checked


def _checked(row: Any, path: Path | str) -> Row:
    try:
        Record.model_validate(row)
    except ValidationError as error:
        message = str(input_error(error, str(path), "row key"))
        raise RowError(f"{path}: {message[:LONGEST_MESSAGE]}") from error
    return {key: row.get(key) for key in keys()} | {"warnings": row.get("warnings", [])}


def read_rows(folder: Path, skipped: Counter[str] | None = None) -> list[tuple[Path, Row]]:
    """Return path and row of every row below a folder, and count in `skipped` what is none."""
    return [(path, parse(text, path)) for path, text in row_texts(row_files(folder, skipped))]


def row_texts(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Return path and text of every row in the files; one that cannot be read has no text."""
    texts = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            text = ""
        if path.suffix != ".jsonl":
            texts.append((path, text))
            continue
        for number, line in enumerate(text.splitlines(), 1):
            try:
                row_path = path.parent / str(json.loads(line)["file"])
            except (ValueError, KeyError, TypeError, RecursionError):
                row_path = path.with_name(f"{path.name}:{number}")
            texts.append((row_path, line))
    return texts


def attachment(path: Path, name: str) -> Path:
    """Return where a row's file lies: d512-s0.json has d512-s0.weights.safetensors."""
    return path.with_name(f"{path.stem}.{name}")


def names_row(path: Path) -> bool:
    """Return whether a file is a row, and not the trace that lies beside one."""
    return path.suffix == ".json" and not path.name.endswith(".trace.json")


def row_files(folder: Path, skipped: Counter[str] | None = None) -> list[Path]:
    """Return the row files below a folder, linked folders included; count in `skipped` others.

    Hidden folders hold unfinished work.
    """
    skipped = Counter() if skipped is None else skipped
    files = []
    entered = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        for name in list(folders):
            target = os.path.realpath(Path(place, name))
            skipped["hidden folder"] += name.startswith(".")
            if name.startswith(".") or target in entered:  # or a link to what is read already
                folders.remove(name)
            entered.add(target)
        for name in names:
            path = Path(place, name)
            if path.suffix not in (".json", ".jsonl"):
                continue
            if name.startswith("."):
                skipped["hidden file"] += 1
            elif path.suffix == ".jsonl" or names_row(path):
                files.append(path)
            else:
                skipped["trace beside a row"] += 1
    return sorted(files)


def skipped_words(skipped: Counter[str]) -> list[str]:
    """Return what `row_files` counted, such as "2 skipped (hidden file)"."""
    return [f"{count} skipped ({reason})" for reason, count in skipped.items() if count]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the whole of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unwritten(error: OSError, path: Path, text: str) -> OSError:
    """Print a result whose file cannot be written; return the error to raise, which says so."""
    print(text, flush=True)
    return OSError(error.errno, f"{error.strerror}; its content is printed", str(path))
