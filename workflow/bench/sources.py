"""Find the suite's files and hash what they do."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"  # rows that the repository keeps


def content_hash(paths: Iterable[Path], *further: str) -> str:
    """Return 16 hexadecimal digits over files, their paths below the root, and further texts.

    Docstrings, comments on lines of their own and blank lines of Python files do not count.
    """
    seal = hashlib.sha256()
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        content = path.read_bytes()
        text = code(content) if path.suffix == ".py" else content
        seal.update(f"{name}\0".encode() + text + b"\0")
    for word in further:
        seal.update(word.encode() + b"\0")
    return seal.hexdigest()[:16]


@functools.cache
def code(source: bytes) -> bytes:
    """Return Python source without docstrings, comment lines and blank lines; all of it if it does
    not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    lines = source.splitlines(keepends=True)
    kept = [bool(line.strip()) and not line.lstrip().startswith(b"#") for line in lines]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)):  # a string may hold such lines
            for number in range(node.lineno, node.end_lineno or 0):
                kept[number] = True
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(node) is None:
            continue
        docstring = node.body[0]
        first, last = docstring.lineno - 1, docstring.end_lineno or 0
        before = lines[first][: docstring.col_offset]
        after = lines[last - 1][docstring.end_col_offset :]
        if not before.strip() and not after.strip():  # no code on its lines
            kept[first:last] = [False] * (last - first)
    return b"".join(line for line, keep in zip(lines, kept, strict=True) if keep)


def find_file(module: str, folders: Iterable[Path | str] = (ROOT,)) -> Path | None:
    """Return the file of a module in the first folder that has one, without running any code."""
    for folder in folders:
        stem = Path(folder, *module.split("."))
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None
