"""Find the suite's files and hash their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def content_hash(paths: Iterable[Path], *further: str) -> str:
    """Return 16 hexadecimal digits over files, their paths below the root, and further texts."""
    seal = hashlib.sha256()
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        seal.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    for text in further:
        seal.update(text.encode() + b"\0")
    return seal.hexdigest()[:16]


def find_file(module: str, folders: Iterable[Path | str] = (ROOT,)) -> Path | None:
    """Return the file of a module in the first folder that has one, without running any code."""
    for folder in folders:
        stem = Path(folder, *module.split("."))
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None
