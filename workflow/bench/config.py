"""Tiers: the YAML files of `config/`, and what the user adds by `--configfile` and `--config`, as
one closed model.

A key at the top of a tier is the default for every experiment; the experiment's own block wins. A
file that says `extends: TIER` starts from that tier and runs the experiments that it names, each on
top of that tier's block of the same name (all of them, if it names none). A user's file without
`extends` adds to the tier that it names, or to the default tier, and keeps all of its experiments;
`copy: null` leaves one out.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from pointer.errors import InputError
from workflow.bench import experiments, outside, registry, tasks
from workflow.bench.cell import LONGEST, Cell, Device, Dtype
from workflow.bench.sources import ROOT
from workflow.bench.validation import Closed, ListOf, Settings, Text, Whole, input_error, read_yaml

Config = dict[str, Any]
FOLDER = ROOT / "config"
BASE = "default"
# Folders under results/ that are no tier's.
RESERVED = ("runs", "tables", "figures", "report", "reference", "logs", "benchmarks", "contracts")
ADDED = "`--config` or `--configfile`"
AXES = {"devices": "device", "dtypes": "dtype", "seeds": "seed", "lengths": "length"}
AXES |= tasks.axes()
KEYS = {setting: key for key, setting in AXES.items()}
KEYWORDS = {  # what a block may say beside names of models
    "models": ("all", *registry.GROUPS),
    "controls": ("all", "trained", "none"),
    "restrict": (*registry.COSTS, *registry.GROUPS, "control", *get_args(Dtype)),
}


def _known_task(name: str) -> str:
    tasks.info(name)
    return name


def _type(name: str) -> Any:
    """Return the type of a setting of a cell or of a task, with its range and meaning."""
    field = Cell.model_fields.get(name) or tasks.parameters()[name]
    return Annotated[field.annotation, *field.metadata, Field(description=field.description)]


def _list_of(kind: Any) -> Any:
    return Annotated[list[kind], ListOf, Field(min_length=1)]


def _axis_fields() -> dict[str, Any]:
    """Return the lists of a block: devices, dtypes, seeds, lengths, and an axis of each task."""
    fields: dict[str, Any] = {}
    for key, name in AXES.items():
        values = _type(name)
        if name == "device":
            values = Literal["auto", *get_args(Device)]
        elif name == "length":
            values = Annotated[Whole, Field(ge=1, le=LONGEST)]
        fields[key] = (_list_of(values), None)
    return fields


def _scalar_fields() -> dict[str, Any]:
    """Return the settings of a block that are no lists."""
    fields: dict[str, Any] = {}
    for name in (*Cell.model_fields, *tasks.parameters()):
        if name not in ("experiment", "model", "task", "repeat", "mixer", *KEYS):
            fields[name] = (_type(name), None)
    return fields


def _keys(**described: tuple[Any, str]) -> Any:
    """Return keys that may be left out, but not be null: name=(type, meaning)."""
    return {name: (kind, Field(None, description=text)) for name, (kind, text) in described.items()}


Names = _list_of(Text)
Task = Annotated[str, AfterValidator(_known_task)]
Count = Annotated[Whole, Field(ge=1, le=1000)]
Tokens = Annotated[Whole, Field(ge=1, le=10**12)]
Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,8}$")]
TierName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,63}$")]
SCALARS = tuple(_scalar_fields())
RESTRICTION = {**_keys(repeats=(Count, "how often a cell is measured")), **_axis_fields()}
Restriction: Any = create_model("Restriction", __base__=Closed, **RESTRICTION)
BLOCK = _keys(
    models=(Names, "all, a group (paper, field, own), or names that `pointer-bench list` prints"),
    controls=(Names, "all, trained, none, or names of controls"),
    tasks=(_list_of(Task), "what interpretability trains on"),
    tokens_at=(dict[Size, Tokens], "the budget at single values of the axis, distances, say"),
    mixer=(dict[str, Settings], "settings of mixers, by model"),
    variants=(dict[str, list[Settings]], "by model, mixer settings that it is also run with"),
    restrict=(dict[str, Restriction], "the only values for a model, group, cost, control or dtype"),
)
Block: Any = create_model("Block", __base__=Closed, **RESTRICTION, **_scalar_fields(), **BLOCK)
TIER = _keys(
    tier=(TierName, "the tier's name: at most 64 lower-case letters, digits, - and _"),
    extends=(Text, "the tier of `config/` that this one starts from"),
    own_models=(dict[str, Text], 'models outside the repository: name: "package.module:Class"'),
    experiments=(dict[str, Block | None], "experiment names with their settings; null: left out"),
)


class Tier(create_model("Tier", __base__=Block, **TIER)):  # type: ignore[misc]
    """A tier, or what a user adds to one."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Tier:
        own = self.own_models or {}
        for name, path in own.items():
            registry.info(outside.joined(name, path))
        for name in self.experiments or {}:
            if name not in experiments.EXPERIMENTS:
                known = tuple(experiments.EXPERIMENTS)
                raise InputError.unknown("experiment", name, known, "`experiments` in the config")
        for block in (self, *(self.experiments or {}).values()):
            for key, name in _names(block):
                known = (*registry.names(), *own, *KEYWORDS[key])
                if name not in known:
                    noun = "class or model" if key == "restrict" else "model"
                    raise InputError.unknown(noun, name, known, f"`{key}` in the config")
        return self


def _names(block: Any) -> Iterator[tuple[str, str]]:
    """Return every name of a model or a class in a block, with the key that says which names it
    takes."""
    if block is None:
        return
    for key in ("models", "controls", "restrict"):
        for name in getattr(block, key) or ():
            yield key, name
    for key in ("mixer", "variants"):
        for name in getattr(block, key) or ():
            yield "models", name


@functools.cache
def tier_names() -> tuple[str, ...]:
    """Return the tiers of `config/`, the default one first: each is a target."""
    found = [
        path.stem
        for path in sorted(FOLDER.glob("*.yaml"))
        if "\ntier:" in "\n" + path.read_text("utf-8")
    ]
    return (BASE, *(name for name in found if name != BASE))


def checked(content: Mapping[str, Any], where: str) -> Config:
    """Return the keys of a tier with texts read as numbers (`--config` passes texts) and single
    values as lists. Raise InputError that names the key, its value, what is accepted, and the
    place."""
    content = dict(content)
    if isinstance(
        content.get("models"), Mapping
    ):  # declares models outside the repository, and chooses none
        content["own_models"] = {**content.get("own_models", {}), **content.pop("models")}
    try:
        read: Config = Tier.model_validate(content).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise input_error(error, where, "config key") from error
    return read


def merge(base: Config, over: Mapping[str, Any]) -> Config:
    """Return `over` on top of `base`: mappings merge deeply, all else replaces."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        deep = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if deep else copy.deepcopy(value)
    return merged


def overlay(base: Config, added: Config) -> Config:
    """Return a tier with additions: what they say at the top holds for every experiment, also
    where the tier's own block differs; but a task that is trained keeps its own `lengths`, which
    are no axis of cost. A restriction of the base that leaves none of the sizes that they list
    is lifted."""
    top = added.keys() - {"tier", "extends", "experiments", "restrict", "mixer", "own_models"}
    top |= {"tokens_at"} if "tokens" in top else set()
    named: Config = added.get("experiments", {})
    blocks: Config = {}
    for name, block in base["experiments"].items():
        if block is None or ("extends" in added and named and name not in named):
            continue
        own = named.get(name) or {}
        trains = experiments.info(name).trains
        replaced = {key for key in top if key != "lengths" or not trains}
        kept = {key: value for key, value in block.items() if key not in replaced}
        if "restrict" in kept:
            listed = {key: added[key] for key in replaced if key in added}
            kept["restrict"] = _lifted(kept["restrict"], {**listed, **own})
        blocks[name] = kept
    return merge({**base, "experiments": blocks}, added)


def _lifted(restrict: Config, listed: Config) -> Config:
    """Return restrictions without those that would leave none of the listed sizes."""
    lifted: Config = {}
    for name, rule in restrict.items():
        lifted[name] = {
            key: values
            for key, values in rule.items()
            if key not in AXES or key not in listed or set(values) & set(listed[key])
        }
    return lifted


def tier(name: str, added: Mapping[str, Any] | None = None) -> Config:
    """Return a tier of `config/` with the user's additions on top; its `tier` is `name`. Raise
    InputError."""
    if name not in tier_names():
        raise InputError.unknown("tier", name, tier_names(), "`extends`, or the command line")
    path = FOLDER / f"{name}.yaml"
    content = checked(read_yaml(path), str(path.relative_to(ROOT)))
    if "extends" in content:
        content = overlay(tier(content["extends"]), content)
    extra = checked(added or {}, ADDED)
    return {**overlay(content, extra), "tier": name}


def tiers(added: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Config]]:
    """Return (the tier that `all` makes, every tier by name). A tier of the user's own among the
    additions starts from the tier that it extends, and leaves the others as they are."""
    extra = checked(added or {}, ADDED)
    chosen: str = extra.get("tier", BASE)
    if "extends" in extra:
        tier(extra["extends"])  # refuses an unknown one
    if chosen in tier_names():
        return chosen, {name: tier(name, extra) for name in tier_names()}
    if chosen in RESERVED:
        raise InputError.about("tier", chosen, f"a name other than {', '.join(RESERVED)}", ADDED)
    own = {**tier(extra.get("extends", BASE), extra), "tier": chosen}
    return chosen, {**{name: tier(name) for name in tier_names()}, chosen: own}


def from_files(paths: Sequence[str], added: Mapping[str, Any] | None = None) -> Config:
    """Return the tier that `--configfile` names, with `added` on top."""
    merged: Config = {}
    for path in paths:
        merged = merge(merged, checked(read_yaml(path), path))
    chosen, every = tiers(merge(merged, checked(added or {}, ADDED)))
    return every[chosen]
