"""Every model, one entry each: where its mixer is, what it costs, what it knows of position.

The entries stand in `baselines/registry.yaml`. Importing this module loads no torch: `build` does.
A model outside the repository is `NAME=package.module:Class` wherever a name stands. Its file is
found on Python's path and read, not imported: that happens when a row is measured, and runs the
user's own code. What an entry says, the class says by attributes of the names in DECLARED.
"""

from __future__ import annotations

import ast
import functools
import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from pointer.errors import MIXER_SETTINGS, InputError
from workflow.bench.sources import ROOT, find_file
from workflow.bench.validation import Closed, Flag, Text, expected, input_error, read_yaml

if TYPE_CHECKING:
    from torch import nn

Cost = Literal["linear", "n log n", "quadratic", "quadratic-unfused"]
Group = Literal["paper", "field", "own"]  # the paper's comparison; what reviewers would name; yours
COSTS: tuple[Cost, ...] = get_args(Cost)
GROUPS: tuple[Group, ...] = get_args(Group)
# What a tier may say instead of a name.
RESERVED = ("all", "trained", "none", "control", "model", *GROUPS, *COSTS)
TARGET_PARAMETERS = 3_200_000  # paper section 3.1
PARITY = 0.10  # every model's count is this near to the target, position tables left out
FFN_MULTIPLE = 8
# What a model's name has behind it, where it is built with or without a short convolution.
CONVOLUTIONS = {"source": "", "on": "+convolution", "off": "+no-convolution"}
WHERE = "`--model`, or `models` in the config"
CONVOLUTION = "baselines/parts/convolution.py"
FILE = ROOT / "baselines" / "registry.yaml"
OUTSIDE = {"cost": "linear", "position": "not stated", "citation": "not stated"}  # unless it says
DECLARED = ("cost", "position", "citation", "learned_positions")
# Parameters of a constructor that the suite gives, and those of one that is left out.
NO_SETTINGS = ("self", "shape", "symbols", "length", "args", "kwargs")


def _name(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_-]{0,39}", name):
        raise ValueError("at most 40 of a-z, 0-9, - and _, a letter first")
    if name in RESERVED:
        raise ValueError(f"a name other than {', '.join(RESERVED)}, which are words of the config")
    return name


def _path(path: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", path):
        raise ValueError('"package.module:Class"')
    return path


Line = Annotated[Text, Field(pattern=r"\S")]


class Entry(Closed):
    """One model. Controls are exempt from parity, and the untrained ones from training."""

    name: Annotated[str, AfterValidator(_name)]
    path: Annotated[str, AfterValidator(_path)] = Field(description='"package.module:Class"')
    title: Text = Field(default="", description="what tables and figures call it, if not its name")
    cost: Cost
    position: Line = Field(description="what it knows of position, such as rotary, or none")
    citation: Line = Field(description="author, year, title, where")
    kind: Literal["model", "control"] = "model"
    learned_positions: Flag = Field(default=False, description="a position table in the trunk")
    causal: Flag = Field(
        default=True, description="false for a control that sees the future: in no comparison"
    )
    trained: Flag = Field(default=True, description="false for a control without weights")
    group: Group = Field(default="own", description="the paper's, the field's or your own models")


@functools.cache
def _entries() -> dict[str, Entry]:
    """Read FILE; raise InputError for what is not an entry."""
    listed = read_yaml(FILE)
    return {name: entry(name, fields, "baselines/registry.yaml") for name, fields in listed.items()}


def entry(name: str, fields: Any, where: str) -> Entry:
    """Return the entry `name: {path: ..., cost: ..., ...}`; raise InputError."""
    if not isinstance(fields, dict) or "name" in fields:
        raise InputError.about(f"model {name}", fields, "{path: module:Class, cost: ...}", where)
    try:
        return Entry(name=name, **fields)
    except ValidationError as error:
        of_model = " ".join([*map(str, error.errors()[0]["loc"]), f"of model {name}"])
        raise input_error(error, where, f"field of model {name}", of_model) from error


@functools.cache
def _outside(name: str, path: str) -> Entry:
    """Return the entry of a model outside; raise InputError for a bad name, path, file or class."""
    if name in _entries():
        raise InputError.about("own model", name, "a name other than those of the suite", WHERE)
    values: dict[str, Any] = {**OUTSIDE, "path": path}
    entry(name, values, WHERE)  # refuses a bad name or path
    module, _, attribute = path.partition(":")
    source = find_file(module, sys.path)
    if source is None:
        accepted = "one on Python's path, to which PYTHONPATH adds"
        raise InputError.about(f"module of model {name}", module, accepted, WHERE)
    try:
        parsed = ast.parse(source.read_text(encoding="utf-8"), source.name)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{source} cannot be read as Python: {error}. Mend it there.") from error
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    if attribute not in classes:
        raise InputError.unknown(f"class of model {name}", attribute, classes, str(source))
    for statement in classes[attribute].body:
        match statement:
            case ast.Assign([ast.Name(key), *_], ast.Constant(value)) if key in DECLARED:
                values[key] = value
            case ast.AnnAssign(ast.Name(key), _, ast.Constant(value)) if key in DECLARED:
                values[key] = value
    return entry(name, values, WHERE)


def names() -> list[str]:
    """Return all models and controls, in the order of tables and legends."""
    return list(_entries())


def info(name: str) -> Entry:
    """Return the entry of a model, with any convolution; raise InputError for an unknown one."""
    name, _ = without_ending(name)
    own, sign, path = name.partition("=")
    if sign:
        return _outside(own, path)
    if name not in _entries():
        raise InputError.unknown("model", name, _entries(), WHERE)
    return _entries()[name]


def without_ending(name: str) -> tuple[str, str]:
    """Return a model's name without what CONVOLUTIONS puts behind it, and the key of that."""
    for key in ("on", "off"):
        if name.endswith(CONVOLUTIONS[key]):
            return name.removesuffix(CONVOLUTIONS[key]), key
    return name, "source"


def load(name: str) -> type[nn.Module]:
    """Import the class that an entry's path names, and give it or take from it its convolution."""
    kind: type[nn.Module] = pkgutil.resolve_name(info(name).path)
    _, convolution = without_ending(name)
    if convolution != "source":
        change = "with_convolution" if convolution == "on" else "without_convolution"
        kind = pkgutil.resolve_name(f"baselines.parts.convolution:{change}")(kind)
    return kind


def build(
    name: str,
    *,
    symbols: int,
    length: int,
    layers: int = 6,
    width: int = 256,
    heads: int = 8,
    mixer: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a model on the trunk: tokens int64[B, N <= length] -> logits float[B, N, symbols].

    The feed-forward width is what brings the count nearest to TARGET_PARAMETERS at 6 layers of 256,
    so it is the same for every N. `mixer` goes to the mixer's constructor, as keywords or as the
    dataclass that it names as `Settings`; an unknown or ill-typed setting raises InputError.
    """
    entry, settings = info(name), dict(mixer or {})
    kind: Any = load(name)
    check_settings(name, kind, settings)
    if not entry.trained:
        model: nn.Module = kind(symbols=symbols, length=length, **settings)
        return model
    from pointer.trunk import Trunk, count_parameters

    if hasattr(kind, "Settings"):
        values = kind.Settings(**settings)
        factory = functools.partial(kind, settings=values)
    else:
        factory = functools.partial(kind, **settings)

    def trunk(ffn_width: int) -> Trunk:
        return Trunk(
            factory,
            symbols=symbols,
            length=length,
            ffn_width=ffn_width,
            learned_positions=entry.learned_positions,
            layers=layers,
            width=width,
            heads=heads,
        )

    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        narrow = count_parameters(trunk(FFN_MULTIPLE), tables=False)
    target = TARGET_PARAMETERS * layers * width**2 / (6 * 256**2)
    per_unit = 2 * width * layers * FFN_MULTIPLE
    return trunk(FFN_MULTIPLE * max(1, 1 + round((target - narrow) / per_unit)))


def check_settings(name: str, kind: Any, settings: Mapping[str, Any]) -> None:
    """Raise InputError for a setting that the mixer's constructor lacks, or of another type."""
    function = getattr(kind, "Settings", kind.__init__)
    known = [key for key in inspect.signature(function).parameters if key not in NO_SETTINGS]
    types = get_type_hints(function) if settings else {}
    for key, value in settings.items():
        if key not in known:
            raise InputError.unknown(f"setting of {name}", key, known, MIXER_SETTINGS)
        adapter = TypeAdapter(types.get(key, Any), config=ConfigDict(strict=True))
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            setting = f"setting {key} of {name}"
            raise InputError.about(setting, value, expected(error), MIXER_SETTINGS) from error
