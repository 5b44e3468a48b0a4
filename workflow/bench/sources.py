"""Which files make a number: the modules reachable by import, and a hash over their contents."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Collection, Container, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def reachable(
    modules: Iterable[str],
    packages: Container[str],
    without: Collection[str] = (),
    find: Callable[[str], Path | None] | None = None,
) -> list[Path]:
    """The files of `modules` and of all they import, directly or not, within top-level `packages`; `without` is not
    entered. `find` gives a module's file (by default: in this project)."""
    found: set[Path] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        path = (find or find_file)(module)
        if module not in without and path is not None and path not in found:
            found.add(path)
            queue += [name for name in _imports(path, module) if name.partition(".")[0] in packages]
    return sorted(found)


def content_hash(paths: Iterable[Path], *further: str) -> str:
    """16 hexadecimal digits over the contents of files, their places under the root, and further texts."""
    seal = hashlib.sha256()
    for path in paths:
        place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        seal.update(f"{place}\0".encode() + path.read_bytes() + b"\0")
    for text in further:
        seal.update(text.encode() + b"\0")
    return seal.hexdigest()[:16]


def find_file(module: str) -> Path | None:
    """The file of a module of this project; None where it has none of that name."""
    stem = ROOT.joinpath(*module.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


@functools.cache
def _imports(path: Path, module: str) -> list[str]:
    """What a module's file imports, by full names; `from a import b` gives a and a.b, for b may be a module. Nothing
    for a file that Python cannot read: whoever imports it says why."""
    try:
        parsed = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return []
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    modules: list[str] = []
    for node in ast.walk(parsed):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            modules += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return modules
