"""Which files make a number: the modules reachable by import, and a hash over their contents."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def reachable(modules: Iterable[str], packages: Collection[str], without: Collection[str] = ()) -> list[Path]:
    """The files of `modules` and of all they import, directly or not, within top-level `packages`; `without` is not
    entered."""
    found: set[Path] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        path = _file(module)
        if module not in without and path is not None and path not in found:
            found.add(path)
            queue += [name for name in _imports(path) if name.partition(".")[0] in packages]
    return sorted(found)


def content_hash(paths: Iterable[Path], *further: str) -> str:
    """16 hexadecimal digits over the contents of files, their places under the root, and further texts."""
    seal = hashlib.sha256()
    for path in paths:
        seal.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for text in further:
        seal.update(text.encode() + b"\0")
    return seal.hexdigest()[:16]


def _file(module: str) -> Path | None:
    stem = ROOT.joinpath(*module.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


@functools.cache
def _imports(path: Path) -> list[str]:
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return modules
