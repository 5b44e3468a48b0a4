"""Models outside the repository: `NAME=package.module:Class` stands wherever a model's name does. Loads no torch.

The user's file is found on Python's path (PYTHONPATH, or an installed package) and read, not imported: that happens
when a row is measured, and runs the user's own code. What a registry line says, the class says by attributes of the
same names (`cost = "linear"`, `position`, `citation`, `learned_positions`); what it leaves out is in DEFAULTS.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from pointer.errors import InputError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
DEFAULTS = {"cost": "linear", "position": "not stated", "citation": "not stated"}
DECLARED = ("cost", "position", "citation", "learned_positions")
SIGN = "="
LIBRARY = ("stdlib", "platstdlib", "purelib", "platlib")
INSTALLED = [Path(sysconfig.get_path(kind)).resolve() for kind in LIBRARY]


def split(model: str) -> tuple[str, str] | None:
    """("mine", "package.module:Class") of "mine=package.module:Class"; None for the name of a registered model."""
    name, sign, path = model.partition(SIGN)
    return (name, path) if sign else None


def joined(name: str, path: str) -> str:
    """How such a model is named in settings and on the command line."""
    return f"{name}{SIGN}{path}"


def fields(name: str, path: str, reserved: Sequence[str], where: str) -> dict[str, Any]:
    """The fields of a registry line for a model outside; raises InputError for a bad name, path, file or class."""
    if not NAME.fullmatch(name) or name in reserved:
        accepted = "lower-case letters, digits, - and _, from a letter on, and not a name of the suite"
        raise InputError.about("name of a model outside", name, accepted, where)
    if not PATH.fullmatch(path):
        raise InputError.about(f"model {name}", path, '"package.module:Class"', where)
    module, _, attribute = path.partition(":")
    classes = {node.name: node for node in ast.parse(_text(name, module, where)).body if isinstance(node, ast.ClassDef)}
    if not classes:
        raise InputError.about(f"class of model {name}", attribute, f"a class, and {file(module)} holds none", where)
    if attribute not in classes:
        raise InputError.unknown(f"class of model {name}", attribute, classes, where)
    return {**DEFAULTS, **_declared(classes[attribute]), "path": path}


def file(module: str) -> Path | None:
    """The source file of a module on Python's path, found without running any code; None where there is none."""
    parts = module.split(".")
    spec: ModuleSpec | None = None
    places: list[str] | None = None
    for depth in range(len(parts)):
        spec = _spec(".".join(parts[: depth + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    return origin if origin is not None and origin.suffix == ".py" else None


class Theirs:
    """The top-level packages that belong to a user's model: some by name, and what lies on Python's path but neither in
    its library nor among installed packages, such as a module beside the model's."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __contains__(self, package: object) -> bool:
        if package in self.names:
            return True
        path = file(str(package))
        return path is not None and not any(path.is_relative_to(folder) for folder in INSTALLED)


def _spec(module: str, places: list[str] | None) -> ModuleSpec | None:
    """Where a module is, as an import would find it (editable installs too), without importing its parents."""
    finders = (finder.find_spec(module, places, None) for finder in sys.meta_path)
    return next((spec for spec in finders if spec is not None), None)


def _text(name: str, module: str, where: str) -> str:
    path = file(module)
    if path is None:
        accepted = f"a module on Python's path ({len(sys.path)} folders; PYTHONPATH adds yours)"
        raise InputError.about(f"module of model {name}", module, accepted, where)
    try:
        text = path.read_text(encoding="utf-8")
        ast.parse(text, path.name)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"model {name}: {path} cannot be read as Python: {error}. Change it there.") from error
    return text


def _declared(node: ast.ClassDef) -> dict[str, Any]:
    """The attributes in DECLARED that a class body assigns as plain values."""
    found: dict[str, Any] = {}
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        names = [target.id for target in targets if isinstance(target, ast.Name) and target.id in DECLARED]
        if isinstance(value, ast.Constant):
            found |= dict.fromkeys(names, value.value)
    return found
