"""Every model of the suite, one declarative entry each: where its mixer is, what it costs, what it knows of position.

The entries are the lines of `baselines/registry.yaml`. A new baseline is one file in `baselines/` and one line there
(`pointer-bench new` writes both); it then takes part in every table, figure and contract test. Importing this module
loads no torch: `build` does.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pointer.errors import InputError
from workflow.bench import outside
from workflow.bench.sources import ROOT, find_file
from workflow.bench.strict_yaml import read_yaml

if TYPE_CHECKING:
    from torch import nn

    from pointer.trunk import MixerFactory

Cost = Literal["linear", "n log n", "quadratic", "quadratic-unfused"]
Group = Literal["paper", "field", "own"]  # the paper's comparison; what reviewers would name; yours
GROUPS: tuple[Group, ...] = ("paper", "field", "own")
RESERVED = ("all", "trained", "none", *GROUPS)  # what the config may say instead of a name
COSTS: tuple[Cost, ...] = ("linear", "n log n", "quadratic", "quadratic-unfused")
TARGET_PARAMETERS = 3_200_000  # paper section 3.1
PARITY = 0.10  # every model's count lies within this fraction of the target, position tables left out
FFN_MULTIPLE = 8
WHERE = "`--model`, or `models` in the config"
FILE = ROOT / "baselines" / "registry.yaml"


@dataclass(frozen=True)
class Entry:
    """One model. `path` is "module:Class"; controls are exempt from parity, and the untrained ones from training.

    `parts`: words, with modules that make no number unless a setting of the mixer or the device is one of them.
    """

    name: str
    path: str
    cost: Cost
    position: str
    citation: str
    kind: Literal["model", "control"] = "model"
    learned_positions: bool = False
    trained: bool = True
    group: Group = "own"
    parts: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[object], bool], str]:
    return choices.__contains__, ", ".join(choices)


Accepted = tuple[Callable[[object], bool], str]  # a test of a value, and the same in words
ACCEPTED: dict[str, Accepted] = {  # by field of an entry
    "path": (lambda value: isinstance(value, str) and bool(outside.PATH.fullmatch(value)), '"package.module:Class"'),
    "cost": _one_of(COSTS),
    "position": (_text, "what it knows of position, such as rotary, or none"),
    "citation": (_text, "author, year, title, where"),
    "kind": _one_of(("model", "control")),
    "learned_positions": (lambda value: isinstance(value, bool), "true or false"),
    "trained": (lambda value: isinstance(value, bool), "true or false"),
    "group": _one_of(GROUPS),
    "parts": (
        lambda value: isinstance(value, dict) and all(isinstance(k, str) and _names(v) for k, v in value.items()),
        "{words that settings may hold: [module, ...]}",
    ),
}


@functools.cache
def _entries() -> dict[str, Entry]:
    """The lines of FILE; raises InputError for one that is not an entry."""
    return {name: entry(name, fields, f"{FILE.relative_to(ROOT)}") for name, fields in read_yaml(FILE).items()}


def entry(name: str, fields: Any, where: str) -> Entry:
    """The entry of a line `name: {path: ..., cost: ..., ...}`; raises InputError that names field, value and file."""
    if not isinstance(fields, dict):
        raise InputError.about(f"model {name}", fields, "{path: module:Class, cost: ..., ...}", where)
    known = {field.name: field for field in dataclasses.fields(Entry) if field.name != "name"}
    for key in fields:
        if key not in known:
            raise InputError.unknown(f"field of model {name}", key, known, where)
    for key, field in known.items():
        default = {} if key == "parts" else None if field.default is dataclasses.MISSING else field.default
        value = fields.get(key, default)
        if not ACCEPTED[key][0](value):
            raise InputError.about(f"{key} of model {name}", value, ACCEPTED[key][1], where)
    return Entry(name, **fields)


@functools.cache
def _outside(name: str, path: str) -> Entry:
    return entry(name, outside.fields(name, path, (*RESERVED, *_entries()), WHERE), WHERE)


def names() -> list[str]:
    """All models and controls, in the order of tables and legends."""
    return list(_entries())


def info(name: str) -> Entry:
    """The entry of a model, by its name or, outside the repository, by `NAME=package.module:Class`; raises InputError
    with the nearest name for an unknown one."""
    if own := outside.split(name):
        return _outside(*own)
    known = _entries()
    if name not in known:
        raise InputError.unknown("model", name, known, WHERE)
    return known[name]


def load(name: str) -> type[nn.Module]:
    """The class that an entry's path names."""
    module, _, attribute = info(name).path.partition(":")
    found: type[nn.Module] = getattr(importlib.import_module(module), attribute)
    return found


def build(
    name: str, *, symbols: int, length: int, layers: int = 6, width: int = 256, heads: int = 8, **settings: Any
) -> nn.Module:
    """A model on the shared trunk: tokens int64[B, N <= length] -> logits float[B, N, symbols].

    The feed-forward width is what brings the count nearest to TARGET_PARAMETERS at 6 layers of 256, so it is the same
    for every N. `settings` go to the mixer's constructor; an unknown one raises InputError.
    """
    entry, mixer = info(name), load(name)
    _check_settings(name, mixer, settings)
    if not entry.trained:
        return mixer(symbols=symbols, length=length, **settings)
    from pointer.trunk import Trunk, count_parameters

    factory = _factory(mixer, settings)

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


def _factory(mixer: Any, settings: dict[str, Any]) -> MixerFactory:
    """A mixer takes its settings as keywords, or as the dataclass that it names as `Settings`."""
    if hasattr(mixer, "Settings"):
        made = mixer.Settings(**settings)
        return lambda shape: mixer(shape, made)
    return lambda shape: mixer(shape, **settings)


def _check_settings(name: str, mixer: Any, settings: dict[str, Any]) -> None:
    parameters = inspect.signature(getattr(mixer, "Settings", mixer.__init__)).parameters.values()
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD if hasattr(mixer, "Settings") else inspect.Parameter.KEYWORD_ONLY
    known = [p.name for p in parameters if p.kind is keyword and p.name not in ("symbols", "length")]
    loose = {*list(inspect.signature(mixer.__init__).parameters)[2:]} - {"symbols", "length", *known}
    for key in settings:
        if key in loose:
            accepted = f"a keyword: `def __init__(self, shape, *, {key}=...)`"
            raise InputError.about(f"setting {key} of {name}", "a positional parameter", accepted, "its class")
        if key not in known:
            raise InputError.unknown(f"setting of {name}", key, known, "`--set`, or `mixer` in the config")


def module_file(module: str) -> Path | None:
    """The file of a module, in the repository or outside."""
    return find_file(module) or outside.file(module)
