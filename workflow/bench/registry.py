"""Every model of the suite, one declarative entry each: where its mixer is, what it costs, what it
knows of position.

The entries stand in `baselines/registry.yaml`. A new baseline is one file in `baselines/` and one
entry there (`pointer-bench new` writes both); it then takes part in every table, figure and
contract test. Importing this module loads no torch: `build` does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from pointer.errors import InputError
from workflow.bench import outside
from workflow.bench.sources import ROOT, find_file
from workflow.bench.validation import Closed, Flag, Text, expected, input_error, read_yaml

if TYPE_CHECKING:
    from torch import nn

    from pointer.trunk import MixerFactory

Cost = Literal["linear", "n log n", "quadratic", "quadratic-unfused"]
Group = Literal["paper", "field", "own"]  # the paper's comparison; what reviewers would name; yours
COSTS: tuple[Cost, ...] = get_args(Cost)
GROUPS: tuple[Group, ...] = get_args(Group)
# What a tier may say instead of a name.
RESERVED = ("all", "trained", "none", "control", "model", *GROUPS, *COSTS)
NAME = "[a-z][a-z0-9_-]{0,39}"
TARGET_PARAMETERS = 3_200_000  # paper section 3.1
PARITY = 0.10  # every model's count is this near to the target, position tables left out
FFN_MULTIPLE = 8
WHERE = "`--model`, or `models` in the config"
MIXER = "`--set`, or `mixer` in the config"
FILE = ROOT / "baselines" / "registry.yaml"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"a name other than {', '.join(RESERVED)}, which are words of the config")
    return name


def _not_blank(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("text of one line, not empty")
    return text


Name = Annotated[
    str, Field(pattern=f"^{NAME}$", description="at most 40 of a-z, 0-9, - and _, a letter first"),
    AfterValidator(_not_reserved),
]  # fmt: skip
Line = Annotated[Text, AfterValidator(_not_blank)]


class Entry(Closed):
    """One model. Controls are exempt from parity, and the untrained ones from training."""

    name: Name
    path: str = Field(pattern=f"^{outside.PATH}$", description='"package.module:Class"')
    cost: Cost
    position: Line = Field(description="what it knows of position, such as rotary, or none")
    citation: Line = Field(description="author, year, title, where")
    kind: Literal["model", "control"] = "model"
    learned_positions: Flag = Field(default=False, description="a position table in the trunk")
    trained: Flag = Field(default=True, description="false for a control without weights")
    group: Group = Field(default="own", description="the paper's, the field's or your own models")


@functools.cache
def _entries() -> dict[str, Entry]:
    """Read FILE; raise InputError for what is not an entry."""
    listed = read_yaml(FILE)
    where = "baselines/registry.yaml"
    return {name: entry(name, fields, where) for name, fields in listed.items()}


def entry(name: str, fields: Any, where: str) -> Entry:
    """Return the entry `name: {path: ..., cost: ..., ...}`; raise InputError that names field,
    value and file."""
    if not isinstance(fields, dict) or "name" in fields:
        accepted = "{path: module:Class, cost: ..., ...}"
        raise InputError.about(f"model {name}", fields, accepted, where)
    try:
        return Entry(name=name, **fields)
    except ValidationError as error:
        field = error.errors()[0]["loc"]
        raise input_error(
            error, where, f"field of model {name}", f"{field[0]} of model {name}" if field else ""
        ) from error


@functools.cache
def _outside(name: str, path: str) -> Entry:
    if name in _entries():
        accepted = "a name other than those of the suite"
        raise InputError.about("name of a model outside", name, accepted, WHERE)
    return entry(name, outside.fields(name, path, WHERE), WHERE)


def names() -> list[str]:
    """Return all models and controls, in the order of tables and legends."""
    return list(_entries())


def info(name: str) -> Entry:
    """Return the entry of a model, by its name or, outside the repository, by
    `NAME=package.module:Class`; raise InputError with the nearest name for an unknown one."""
    own = outside.split(name)
    if own is not None:
        return _outside(*own)
    known = _entries()
    if name not in known:
        raise InputError.unknown("model", name, known, WHERE)
    return known[name]


def load(name: str) -> type[nn.Module]:
    """Import the class that an entry's path names."""
    module, _, attribute = info(name).path.partition(":")
    kind: type[nn.Module] = getattr(importlib.import_module(module), attribute)
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
    so it is the same for every N. `mixer` goes to the mixer's constructor; an unknown or ill-typed
    setting raises InputError.
    """
    entry, kind, settings = info(name), load(name), dict(mixer or {})
    check_settings(name, kind, settings)
    if not entry.trained:
        return kind(symbols=symbols, length=length, **settings)
    from pointer.trunk import Trunk, count_parameters

    factory = _factory(kind, settings)

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


def _factory(kind: Any, settings: dict[str, Any]) -> MixerFactory:
    """Return what builds a layer's mixer: settings are its keywords, or the dataclass that it
    names as `Settings`."""
    if hasattr(kind, "Settings"):
        values = kind.Settings(**settings)
        return lambda shape: kind(shape, values)
    return lambda shape: kind(shape, **settings)


def check_settings(name: str, kind: Any, settings: Mapping[str, Any]) -> None:
    """Raise InputError for a setting that the mixer's constructor does not have, or whose value
    is not of the type that the constructor annotates."""
    function = getattr(kind, "Settings", kind.__init__)
    keyword: Any = inspect.Parameter.KEYWORD_ONLY
    if hasattr(kind, "Settings"):
        keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(function).parameters.values()
    known = [
        p.name for p in parameters if p.kind is keyword and p.name not in ("symbols", "length")
    ]
    positional = {*list(inspect.signature(kind.__init__).parameters)[2:]} - {
        "symbols",
        "length",
        *known,
    }
    types = get_type_hints(function) if settings else {}
    for key, value in settings.items():
        if key in positional:
            wanted = f"a keyword: `def __init__(self, shape, *, {key}=...)`"
            raise InputError.about(
                f"setting {key} of {name}", "a positional parameter", wanted, "its class"
            )
        if key not in known:
            raise InputError.unknown(f"setting of {name}", key, known, MIXER)
        adapter = TypeAdapter(types.get(key, Any), config=ConfigDict(strict=True))
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            raise InputError.about(
                f"setting {key} of {name}", value, expected(error), MIXER
            ) from error


def module_file(module: str) -> Path | None:
    """Return the file of a module, in the repository or outside."""
    return find_file(module) or outside.file(module)
