"""Tiers, and the cells that they name.

A tier is a YAML file of `config/`, with what the user adds by `--configfile` and `--config`. A key
at its top is the default for every experiment; the experiment's own block wins. A file that says
`extends: TIER` starts from that tier and runs the experiments that it names, each on top of that
tier's block of the same name (all of them, if it names none). A user's file without `extends` adds
to the tier that it names, or to the default tier, and keeps all of its experiments; `copy: null`
leaves one out.

Rows are shared by tiers: a row's path holds a hash of the settings, so equal cells are one row and
different ones never collide.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, create_model, model_validator

from pointer.errors import InputError
from workflow.bench import experiments, registry, sessions, tasks
from workflow.bench.cell import LONGEST, Cell, Device, Dtype, affinity
from workflow.bench.rows import provenance
from workflow.bench.sources import ROOT
from workflow.bench.validation import (
    Closed,
    Flag,
    ListOf,
    Number,
    Settings,
    Text,
    Whole,
    input_error,
    read_yaml,
)

Config = dict[str, Any]
Files = Iterable[str | Path]
FOLDER = ROOT / "config"
BASE = "default"
# Folders under results/ that are no tier's.
RESERVED = ("runs", "tables", "figures", "report", "reference", "logs", "benchmarks", "contracts")
ADDED = "`--config` or `--configfile`"
# What a tier calls the list of values of a setting.
AXES = {
    "devices": "device",
    "dtypes": "dtype",
    "seeds": "seed",
    "lengths": "length",
    "short_convolutions": "short_convolution",
    **{task.axis_key: task.axis for task in experiments.TASKS.values()},
}
KEYS = {setting: key for key, setting in AXES.items()}
SETTINGS = {**Cell.model_fields, **tasks.parameters()}
OF_A_CELL = {"experiment", "model", "task", "repeat", "mixer", "session", "twin"}
SCALARS = SETTINGS.keys() - KEYS.keys() - OF_A_CELL
KEYWORDS = {  # what a block may say beside names of models
    "models": ("all", *registry.GROUPS),
    "controls": ("all", "trained", "none"),
    "restrict": (*registry.COSTS, *registry.GROUPS, "control", *get_args(Dtype)),
    "mixer": (),
    "variants": (),
}
DEFAULTS: Config = {
    "models": ["all"],
    "controls": ["none"],
    "dtypes": ["float32"],
    "seeds": [0],
    "repeats": 1,
    "tasks": ["copy"],
    "short_convolutions": ["source"],
    "restrict": {},
    "mixer": {},
    "variants": {},
}


def _present(devices: list[str]) -> list[str]:
    """Return the devices to run on: `auto` is what this machine has."""
    return provenance.devices() if "auto" in devices else devices


def _keys(**described: tuple[Any, str]) -> Any:
    """Return keys that may be left out, but not be null: name=(type, meaning)."""
    return {name: (kind, Field(None, description=text)) for name, (kind, text) in described.items()}


def _list_of(kind: Any, *further: Any) -> Any:
    return Annotated[list[kind], ListOf, Field(min_length=1), *further]


def _accepted(setting: str) -> Any:
    """Return the type of a setting, with its range and its meaning."""
    field = SETTINGS[setting]
    if setting == "length":
        return Annotated[Whole, Field(ge=1, le=LONGEST, description=field.description)]
    return Annotated[field.annotation, *field.metadata, Field(description=field.description)]


Names = _list_of(Text)
Devices = _list_of(Literal["auto", *get_args(Device)], AfterValidator(_present))
Task: Any = Literal[tuple(tasks.TASKS)]
Count = Annotated[Whole, Field(ge=1, le=1000)]
Tokens = Annotated[Whole, Field(ge=1, le=10**12)]
Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,8}$")]
TierName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,63}$")]
Minutes = Annotated[Number, Field(ge=0)]
RESTRICTION = _keys(
    repeats=(Count, "how often a cell is measured"),
    tokens=(_accepted("tokens"), "the training budget in tokens"),
    tokens_at=(dict[Size, Tokens], "the budget at single values of the axis, distances, say"),
)
# The lists of a block: devices, dtypes, seeds, lengths, and an axis of each task.
RESTRICTION |= {key: (_list_of(_accepted(setting)), None) for key, setting in AXES.items()}
RESTRICTION["devices"] = Devices, None
Restriction: Any = create_model("Restriction", __base__=Closed, **RESTRICTION)
BLOCK = _keys(
    models=(Names, "all, a group (paper, field, own), or names that `pointer-bench list` prints"),
    controls=(Names, "all, trained, none, or names of controls"),
    tasks=(_list_of(Task), "what interpretability trains on"),
    mixer=(dict[str, Settings], "settings of mixers, by model"),
    variants=(dict[str, list[Settings]], "by model, mixer settings that it is also run with"),
    restrict=(dict[str, Restriction], "the only values for a model, group, cost, control or dtype"),
    optional=(Flag, "the tier's deadline may cut these rows: no verdict needs them"),
)
BLOCK |= {name: (_accepted(name), None) for name in SETTINGS if name in SCALARS}
Block: Any = create_model("Block", __base__=Restriction, **BLOCK)
TIER = _keys(
    tier=(TierName, "the tier's name: at most 64 lower-case letters, digits, - and _"),
    extends=(Text, "the tier of `config/` that this one starts from"),
    minutes=(Minutes, "after them no optional row starts; left out or 0: there is no deadline"),
    own_models=(dict[str, Text], 'models outside the repository: name: "package.module:Class"'),
    experiments=(dict[str, Block | None], "experiment names with their settings; null: left out"),
)


class Tier(create_model("Tier", __base__=Block, **TIER)):  # type: ignore[misc]
    """A tier, or what a user adds to one."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Tier:
        own = self.own_models or {}
        for name, path in own.items():
            registry.info(f"{name}={path}")
        for name in self.experiments or {}:
            experiments.info(name)
        for block in (self, *(self.experiments or {}).values()):
            for key, keywords in KEYWORDS.items():
                known = (*registry.names(), *own, *keywords)
                for name in getattr(block, key, None) or ():
                    if name not in known:
                        raise InputError.unknown("model", name, known, f"`{key}` in the config")
        return self


@functools.cache
def tier_names() -> tuple[str, ...]:
    """Return the tiers of `config/`, the default one first: each is a target."""
    files = sorted(FOLDER.glob("*.yaml"), key=lambda path: (path.stem != BASE, path))
    return tuple(path.stem for path in files if "\ntier:" in "\n" + path.read_text("utf-8"))


def checked(content: Mapping[str, Any], where: str) -> Config:
    """Return the keys of a tier, texts read as numbers (`--config` passes texts) and single values
    as lists; raise InputError."""
    try:
        read: Config = Tier.model_validate(content).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise input_error(error, where, "config key") from error
    return read


def merge(base: Config, over: Mapping[str, Any]) -> Config:
    """Return `over` on top of `base`: mappings merge deeply, all else replaces."""
    merged = dict(base)
    for key, value in over.items():
        deep = isinstance(value, Mapping) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if deep else value
    return merged


def overlay(base: Config, added: Config) -> Config:
    """Return a tier with additions: what they say at the top holds for every experiment, also
    where the tier's own block differs; but a task that is trained keeps its own `lengths`, which
    are no axis of cost. A restriction of the base that leaves none of the sizes that they list, or
    names a budget where they do, is lifted."""
    top = added.keys() - {"tier", "extends", "experiments", "restrict", "mixer", "own_models"}
    top |= {"tokens_at"} if "tokens" in top else set()
    named: Config = added.get("experiments", {})
    blocks: Config = {}
    for name, block in base["experiments"].items():
        if block is None or ("extends" in added and named and name not in named):
            continue
        replaced = top - {"lengths"} if experiments.info(name).trains else top
        listed = {key: added[key] for key in replaced if key in added} | (named.get(name) or {})
        blocks[name] = {key: value for key, value in block.items() if key not in replaced}
        if "restrict" in block:
            rules: Config = {}
            blocks[name]["restrict"] = rules
            for model, rule in block["restrict"].items():
                kept = [key for key in rule if _stays(key, rule[key], listed)]
                rules[model] = {key: rule[key] for key in kept}
    whole = {**base, "experiments": blocks}
    if "extends" in added:
        whole.pop("minutes", None)  # the deadline is the base's alone
    return merge(whole, added)


def _stays(key: str, held: Any, listed: Config) -> bool:
    """Return whether a restriction leaves some of the listed sizes, and no budget is listed."""
    if key in AXES:
        return key not in listed or not set(held).isdisjoint(listed[key])
    return key.removesuffix("_at") not in listed


def tier(name: str, added: Mapping[str, Any] | None = None) -> Config:
    """Return a tier of `config/` with the user's additions on top; raise InputError."""
    if name not in tier_names():
        raise InputError.unknown("tier", name, tier_names(), "`extends`, or the command line")
    path = FOLDER / f"{name}.yaml"
    content = checked(read_yaml(path), str(path.relative_to(ROOT)))
    if "extends" in content:
        content = overlay(tier(content["extends"]), content)
    return {**overlay(content, checked(added or {}, ADDED)), "tier": name}


def tiers(added: Mapping[str, Any], files: Files = ()) -> tuple[str, dict[str, Config]]:
    """Return (the tier that `all` makes, every tier by name), with the `files` of `--configfile`
    and what was `added` on top. A tier of the user's own starts from the tier that it extends, and
    leaves the others as they are."""
    extra: Config = {}
    for file in files:
        extra = merge(extra, checked(read_yaml(file), str(file)))
    extra = merge(extra, checked(added, ADDED))
    chosen: str = extra.get("tier", BASE)
    start: str = extra.get("extends", BASE)
    if chosen in RESERVED:
        raise InputError.about("tier", chosen, f"a name other than {', '.join(RESERVED)}", ADDED)
    if chosen not in tier_names():
        own = {**tier(start, extra), "tier": chosen}
        return chosen, {**{name: tier(name) for name in tier_names()}, chosen: own}
    tier(start)  # refuses an unknown one
    return chosen, {name: tier(name, extra) for name in tier_names()}


def from_files(files: Files, added: Mapping[str, Any] | None = None) -> Config:
    """Return the tier that `--configfile` names, with `added` on top."""
    chosen, every = tiers(added or {}, files)
    return every[chosen]


def cells(config: Config) -> list[Cell]:
    """Return every cell of a tier in the order to run: experiments as the config lists them,
    repeats round-robin over models.

    Raise InputError for a value that a cell refuses, and for a tier without any cell.
    """
    planned: dict[str, Cell] = {}
    for name, own in (config.get("experiments") or {}).items():
        if own is not None:
            entry, block = experiments.info(name), _block(config, own)
            for task in block["tasks"] if entry.any_task else [entry.task]:
                for cell in _of_task(name, task, block):
                    planned.setdefault(cell.path, cell)
    if not planned:
        name = f"tier {config.get('tier')!r}"
        accepted = "experiments, models and sizes that leave at least one cell"
        where = "`experiments`, `models` or `restrict`"
        raise InputError.about(name, "without any cell", accepted, where)
    return list(planned.values())


def _block(config: Config, own: Config) -> Config:
    """Return an experiment's block over the tier's top level; mixers, variants merge by model."""
    block = {"devices": provenance.devices(), **DEFAULTS, **config, **own}
    for key in ("mixer", "variants"):
        block[key] = {**config.get(key, {}), **own.get(key, {})}
    return block


def _of_task(experiment: str, task: str, block: Config) -> Iterator[Cell]:
    """Yield an experiment's cells of one task (empty: none is learned)."""
    axis = tasks.info(task).axis if task else "length"
    parameters = tasks.info(task).model_fields if task else {}
    used = SCALARS - (tasks.parameters().keys() - parameters.keys())
    scalars = {key: block[key] for key in used if key in block}
    axes = {
        "repeat": range(block["repeats"]),
        axis: block.get(KEYS[axis], [SETTINGS[axis].default]),
        "seed": block["seeds"],
        "device": block["devices"],
        "dtype": block["dtypes"],
        "short_convolution": block["short_convolutions"],
    }
    every = chosen_models(block)
    for point in itertools.product(*axes.values()):
        values = dict(zip(axes, point, strict=True))
        settings = {**scalars, **values}
        chosen = [name for name in every if _takes_part(registry.info(name), values, block)]
        if experiments.info(experiment).timing:
            groups = sessions.members(chosen, functools.partial(variants, block=block))
            for name, group in groups.items():
                shared = {**settings, "session": name}
                cells = [Cell.of(experiment, model, mixer=own, **shared) for model, own in group]
                yield from sessions.with_twin(cells)
            continue
        for model in chosen:
            entry = registry.info(model)
            own = {**settings, **_tokens(entry, values[axis], values["dtype"], block)}
            for mixer in variants(entry.name, block):
                yield Cell.of(experiment, model, task=task, mixer=mixer, **own)


def _takes_part(entry: registry.Entry, values: Config, block: Config) -> bool:
    """Return whether no rule under `restrict` excludes the model here."""
    for rule in _rules(entry, values["dtype"], block):
        if values["repeat"] >= rule.get("repeats", math.inf):
            return False
        for key, setting in AXES.items():
            if key in rule and setting in values and values[setting] not in rule[key]:
                return False
    return True


def _rules(entry: registry.Entry, dtype: str, block: Config) -> list[Config]:
    """Return the rules under `restrict` that hold for a model at a dtype, the narrowest first."""
    names = (entry.name, entry.kind, entry.cost, entry.group, dtype)
    return [block["restrict"].get(name, {}) for name in names]


def _tokens(entry: registry.Entry, size: int, dtype: str, block: Config) -> Config:
    """Return the budget at a size, if there is one: the narrowest rule's, else the block's own."""
    for source in (*_rules(entry, dtype, block), block):
        budget = source.get("tokens_at", {}).get(str(size), source.get("tokens"))
        if budget is not None:
            return {"tokens": budget}
    return {}


def variants(model: str, block: Config) -> list[dict[str, Any]]:
    """Return the mixer settings that a model is run with: the block's own, then its variants."""
    own = block["mixer"].get(model, {})
    return [own, *({**own, **changed} for changed in block["variants"].get(model, ()))]


def chosen_models(block: Config) -> list[str]:
    """Return the models and controls of a block, in the registry's order, then those outside."""
    models, controls = block["models"], block["controls"]
    own = [f"{name}={path}" for name, path in block.get("own_models", {}).items()]
    chosen = []
    for model in (*registry.names(), *own):
        entry = registry.info(model)
        if entry.kind == "model":
            wanted = "all" in models or entry.group in models
        else:
            wanted = "all" in controls or ("trained" in controls and entry.trained)
            wanted = wanted and entry.causal
        if wanted or entry.name in (*models, *controls):
            chosen.append(model)
    return chosen


def rule_threads(wanted: int, cores: int, allowed: int | None = None) -> int:
    """Return what a job claims of Snakemake's `--cores`: the share of them that `wanted` threads
    have in `allowed` (the CPU affinity). With 2 CPUs and --cores 4, 1 thread claims 2."""
    allowed = allowed or affinity()
    usable = min(cores, allowed)
    return min(cores, math.ceil(cores * min(wanted or allowed, usable) / usable))
