"""Models outside the repository: `NAME=package.module:Class` stands wherever a model's name does.
Loads no torch.

The user's file is found on Python's path (PYTHONPATH, or an installed package) and read, not
imported: that happens when a row is measured, and runs the user's own code. What a registry entry
says, the class says by attributes of the same names (`cost = "linear"`, `position`, `citation`,
`learned_positions`); what it leaves out is in DEFAULTS.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import Any

from pointer.errors import InputError
from workflow.bench.sources import find_file

PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
DEFAULTS = {"cost": "linear", "position": "not stated", "citation": "not stated"}
DECLARED = ("cost", "position", "citation", "learned_positions")


def joined(name: str, path: str) -> str:
    """Return how such a model is named in settings and on the command line."""
    return f"{name}={path}"


def fields(name: str, path: str, where: str) -> dict[str, Any]:
    """Return the fields of a registry entry for a model outside; raise InputError for a bad
    path, file or class."""
    if not re.fullmatch(PATH, path):
        raise InputError.about(f"path of model {name}", path, '"package.module:Class"', where)
    module, _, attribute = path.partition(":")
    source = find_file(module, sys.path)
    if source is None:
        accepted = f"a module on Python's path ({len(sys.path)} folders; PYTHONPATH adds yours)"
        raise InputError.about(f"module of model {name}", module, accepted, where)
    try:
        parsed = ast.parse(source.read_text(encoding="utf-8"), source.name)
    except (OSError, SyntaxError, ValueError) as error:
        message = f"model {name}: {source} cannot be read as Python: {error}"
        raise InputError(f"{message}. Change it there.") from error
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    if attribute not in classes:
        noun = f"class of model {name}"
        raise InputError.unknown(noun, attribute, classes, f"{where}, or {source}")
    return {**DEFAULTS, **_declared(classes[attribute]), "path": path}


def _declared(node: ast.ClassDef) -> dict[str, Any]:
    """Return the attributes in DECLARED that a class body assigns as plain values."""
    values: dict[str, Any] = {}
    for statement in node.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
        if isinstance(target, ast.Name) and isinstance(statement.value, ast.Constant):
            values[target.id] = statement.value.value
    return {name: value for name, value in values.items() if name in DECLARED}
