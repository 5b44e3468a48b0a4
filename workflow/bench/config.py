"""Tiers, and the cells that they name.

A tier is a YAML file of `config/`, with what the user adds by `--configfile` and `--config`. A key
at its top is the default for every experiment; the experiment's own block wins. A file that says
`extends: TIER` starts from that tier and runs the experiments that it names, each on top of that
tier's block of the same name (all of them, if it names none). A user's file without `extends` adds
to the tier that it names, or to the default tier, and keeps all of its experiments; `copy: null`
leaves one out. A row's path holds a hash of its settings, so tiers share equal cells.
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
from workflow.bench import experiments, registry, tasks
from workflow.bench.cell import LONGEST, PAPER, Cell, Device, Dtype
from workflow.bench.rows import provenance
from workflow.bench.sessions import with_twin
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
REFERENCES = ("pointer", "transformer")  # beside which a model of the field or of the user is timed
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


def _accepted(setting: str) -> Any:
    """Return the type of a setting, with its range and its meaning."""
    field = SETTINGS[setting]
    if setting == "length":
        return Annotated[Whole, Field(ge=1, le=LONGEST, description=field.description)]
    return Annotated[field.annotation, *field.metadata, Field(description=field.description)]


def _list_of(kind: Any) -> Any:
    return Annotated[list[kind], ListOf, Field(min_length=1)]


Names = Annotated[list[Text], ListOf, Field(min_length=1)]
Count = Annotated[Whole, Field(ge=1, le=1000)]
Tokens = Annotated[Whole, Field(ge=1, le=10**12)]
Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,8}$")]
TierName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,63}$")]
Minutes = Annotated[Number, Field(ge=0)]
Devices: Any = Annotated[  # `auto` is what this machine has
    _list_of(Literal["auto", *get_args(Device)]),
    AfterValidator(lambda named: provenance.devices() if "auto" in named else named),
]
# Of a restriction: the values along each axis, and the budget.
VALUES: dict[str, Any] = {
    key: (_list_of(_accepted(name)), [SETTINGS[name].default]) for key, name in AXES.items()
}
VALUES |= {"devices": (Devices, None), "tokens": (_accepted("tokens"), None)}
# Of a block: every other setting, and the tasks that `rates` and interpretability train on.
OTHERS: dict[str, Any] = {name: (_accepted(name), None) for name in SETTINGS if name in SCALARS}
OTHERS["tasks"] = _list_of(Literal[tuple(tasks.TASKS)]), ["copy"]


# Every key may be left out, and none be null; None is the default of what has none.
def _key(description: str, default: Any = None) -> Any:
    return Field(default, description=description)


class Restriction(create_model("Values", __base__=Closed, **VALUES)):  # type: ignore[misc]
    """The only values for a model, a group, a cost, the controls or a dtype."""

    repeats: Count = _key("how often a cell is measured", 1)
    tokens_at: dict[Size, Tokens] = _key("the budget at single values of the axis, distances, say")


class Block(create_model("Others", __base__=Restriction, **OTHERS)):  # type: ignore[misc]
    """An experiment's settings."""

    models: Names = _key("all, groups, or names that `pointer-bench list` prints", ["all"])
    controls: Names = _key("all, trained, none, or names of controls", ["none"])
    mixer: dict[str, Settings] = _key("settings of mixers, by model", {})
    variants: dict[str, list[Settings]] = _key("by model, settings that it is also run with", {})
    restrict: dict[str, Restriction] = _key("by model, group, cost, control or dtype", {})
    optional: Flag = _key("the tier's deadline may cut these rows: no verdict needs them")


DEFAULTS = {name: f.default for name, f in Block.model_fields.items() if f.default is not None}


class Tier(Block):
    """A tier, or what a user adds to one."""

    tier: TierName = _key("the tier's name: at most 64 lower-case letters, digits, - and _")
    extends: Text = _key("the tier of `config/` that this one starts from")
    minutes: Minutes = _key("after them no optional row starts; 0: there is no deadline")
    own_models: dict[str, Text] = _key('models outside, name: "package.module:Class"')
    experiments: dict[str, Block | None] = _key("settings by experiment; null: left out")

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
    """Return the keys of a tier, also read from texts and single values; raise InputError."""
    try:
        return dict(Tier.model_validate(content).model_dump(exclude_unset=True))
    except ValidationError as error:
        raise input_error(error, where, "config key") from error


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
            rules = {model: _remaining(rule, listed) for model, rule in block["restrict"].items()}
            blocks[name]["restrict"] = rules
    whole = {**base, "experiments": blocks}
    if "extends" in added:
        whole.pop("minutes", None)  # the deadline is the base's alone
    return merge(whole, added)


def _remaining(rule: Config, listed: Config) -> Config:
    """Return a restriction without sizes of which none is listed, and budgets where one is."""
    kept = dict(rule)
    for key, held in rule.items():
        asked = listed.get(key if key in AXES else key.removesuffix("_at"))
        if asked is not None and (key not in AXES or set(held).isdisjoint(asked)):
            del kept[key]
    return kept


def tier(name: str, added: Mapping[str, Any] | None = None) -> Config:
    """Return a tier of `config/` with the user's additions on top; raise InputError."""
    if name not in tier_names():
        raise InputError.unknown("tier", name, tier_names(), "`extends`, or the command line")
    content = checked(read_yaml(FOLDER / f"{name}.yaml"), f"config/{name}.yaml")
    if "extends" in content:
        content = overlay(tier(content["extends"]), content)
    return {**overlay(content, checked(added or {}, ADDED)), "tier": name}


def tiers(added: Mapping[str, Any], files: Files = ()) -> tuple[str, dict[str, Config]]:
    """Return (the tier that `all` makes, every tier by name), with the `files` of `--configfile`
    and what was `added` on top. A tier of the user's own leaves the others as they are."""
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
    """Return every cell of a tier in the order to run, repeats round-robin over models. Raise
    InputError for a value that a cell refuses, and for a tier without any cell."""
    planned: dict[str, Cell] = {}
    for name, own in (config.get("experiments") or {}).items():
        if own is None:
            continue
        block = {**DEFAULTS, "devices": provenance.devices(), **config, **own}
        for key in ("mixer", "variants"):  # by model
            block[key] = {**config.get(key, {}), **own.get(key, {})}
        entry = experiments.info(name)
        for task in block["tasks"] if entry.any_task else [entry.task]:
            for cell in _of_task(name, task, block):
                planned.setdefault(cell.path, cell)
    if not planned:
        accepted = "experiments, models and sizes that leave at least one cell"
        where = "`experiments`, `models` or `restrict`"
        raise InputError.about(f"tier {config.get('tier')}", "without any cell", accepted, where)
    return list(planned.values())


def _of_task(experiment: str, task: str, block: Config) -> Iterator[Cell]:
    """Yield an experiment's cells of one task (empty: none is learned)."""
    axis = tasks.info(task).axis if task else "length"
    parameters = tasks.info(task).model_fields if task else {}
    used = SCALARS - (tasks.parameters().keys() - parameters.keys())
    axes = {
        "repeat": range(block["repeats"]),
        axis: block[KEYS[axis]],
        "seed": block["seeds"],
        "device": block["devices"],
        "dtype": block["dtypes"],
        "short_convolution": block["short_convolutions"],
    }
    every = chosen_models(block)
    for point in itertools.product(*axes.values()):
        values = dict(zip(axes, point, strict=True))
        settings = {key: block[key] for key in used if key in block} | values
        chosen = [name for name in every if _takes_part(registry.info(name), values, block)]
        if experiments.info(experiment).timing:
            for name, members in _sessions(chosen, block).items():
                timed = {**settings, "session": name}
                cells = [Cell.of(experiment, model, mixer=own, **timed) for model, own in members]
                yield from with_twin(cells)
            continue
        for model in chosen:
            entry = registry.info(model)
            own = {**settings, **_tokens(entry, values[axis], values["dtype"], block)}
            for mixer in variants(entry.name, block):
                yield Cell.of(experiment, model, task=task, mixer=mixer, **own)


def _sessions(chosen: Iterable[str], block: Config) -> dict[str, list[tuple[str, Config]]]:
    """Return sessions by name, as models with settings of their mixers: the paper's models are one;
    any other model has its own beside REFERENCES, so that adding it times no other anew."""
    sessions: dict[str, list[tuple[str, Config]]] = {}
    for model in chosen:
        entry = registry.info(model)
        own = [(model, mixer) for mixer in variants(entry.name, block)]
        if entry.group == PAPER:
            sessions.setdefault(PAPER, []).extend(own)
        else:
            sessions[entry.name] = [(name, variants(name, block)[0]) for name in REFERENCES] + own
    return sessions


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


def rule_threads(wanted: int, cores: int, allowed: int) -> int:
    """Return what a job claims of Snakemake's `--cores`: the share of them that `wanted` threads
    have in `allowed` (the CPU affinity). With 2 CPUs and --cores 4, 1 thread claims 2."""
    usable = min(cores, allowed)
    return min(cores, math.ceil(cores * min(wanted or allowed, usable) / usable))
