"""From a tier's config to its cells: which rows there will be, where, by which command, and in which order.

Rows are shared by tiers: the path holds a hash of the settings, so equal cells are one row and different ones never
collide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from workflow.bench import experiments, outside, registry
from workflow.bench.config import Config
from workflow.bench.config_schema import AXES, KEYS, SCALARS
from workflow.bench.rows import provenance
from workflow.bench.settings import Scalar, Settings, affinity, threads

RUNS = "results/runs"
DEFAULTS: Config = {
    "models": ["all"],
    "controls": ["none"],
    "devices": ["auto"],
    "dtypes": ["float32"],
    "seeds": [0],
    "repeats": 1,
    "tasks": ["copy"],
}
SIGNS = {"length": "n", "distance": "d", "pairs": "p", "hops": "k", "letters": "l"}


@dataclass(frozen=True)
class Cell:
    """One row to be: `path` relative to the repository, `argv` for `pointer-bench run`."""

    settings: Settings

    @cached_property
    def path(self) -> str:
        """results/runs/<experiment>/<model>/<label>-<hash>.json"""
        s = self.settings
        return f"{RUNS}/{s.experiment}/{registry.info(s.model).name}/{label(s)}-{s.key()[:8]}.json"

    @property
    def argv(self) -> list[str]:
        """The options of `pointer-bench run`."""
        return self.settings.to_argv()

    @property
    def timing(self) -> bool:
        """Whether it must run alone on the machine."""
        return self.settings.timing

    @property
    def threads(self) -> int:
        """CPU threads that it will use."""
        return threads(self.settings.threads)


def label(s: Settings) -> str:
    """A short name of a cell within its experiment and model, such as n2048-r0, d512-s1 or bytes-n1024-s0."""
    what = s.task if s.task != "copy" and s.matters("task") else ""
    size = [what, f"{SIGNS[s.axis]}{getattr(s, s.axis)}", f"n{s.length}" if s.axis != "length" and s.length else ""]
    place = [s.device if s.device != "cpu" else "", s.dtype if s.dtype != "float32" else ""]
    timing = s.timing
    counters = [f"s{s.seed}" if s.seed or not timing else "", f"r{s.repeat}" if s.repeat or timing else ""]
    return "-".join(part for part in (*size, *place, *counters) if part)


def cells(config: Config) -> list[Cell]:
    """Every cell of a tier in the order to run: experiments as the config lists them, repeats round-robin over models.

    Repeats of a timing are kept apart (`_apart`). Raises InputError for a value that a cell refuses.
    """
    top = {key: value for key, value in config.items() if key not in ("tier", "experiments")}
    blocks = [(name, _block(top, own)) for name, own in config.get("experiments", {}).items() if own is not None]
    found = [Cell(s.validate()) for name, block in blocks for s in _settings(name, block)]
    return _apart(list({cell.path: cell for cell in found}.values()))


def _apart(ordered: list[Cell]) -> list[Cell]:
    """Timing cells of the first repeat before all other work, those of the last after it, the rest evenly between.

    Repeats of one hour agree better with each other than with the next hour: a machine shared with others drifts.
    """
    last = max((cell.settings.repeat for cell in ordered if cell.timing), default=0)
    others = sum(not cell.timing for cell in ordered)
    if not last:
        return ordered
    place, done = {}, 0
    for cell in ordered:
        done += not cell.timing
        place[cell.path] = cell.settings.repeat / last if cell.timing else (done - 0.5) / others
    return sorted(ordered, key=lambda cell: place[cell.path])


def _block(top: Config, own: Config) -> Config:
    """An experiment's block over the tier's top level and the defaults; mixer settings and variants merge by model."""
    merged = {key: {**top.get(key, {}), **own.get(key, {})} for key in ("mixer", "variants")}
    return {**DEFAULTS, **top, **own, **merged}


def _settings(experiment: str, block: Config) -> Iterable[Settings]:
    entry = experiments.info(experiment)
    for task in block["tasks"] if entry.any_task else [entry.task]:
        blank = Settings(experiment, model="")
        yield from _task_settings(replace(blank, task=task) if entry.any_task else blank, block)


def _task_settings(blank: Settings, block: Config) -> Iterable[Settings]:
    """The cells of one task; `blank` names experiment and task."""
    axis = blank.axis
    scalars = {key: block[key] for key in SCALARS if key in block and blank.matters(key)} | {"task": blank.task}
    models = chosen_models(block)
    allowed = {pair: restricted(*pair, block) for pair in itertools.product(models, block["dtypes"])}
    axes = [range(block["repeats"]), _values(block, blank), block["seeds"], devices(block), block["dtypes"]]
    for repeat, size, seed, device, dtype in itertools.product(*axes):
        values = {axis: size, "seed": seed, "device": device, "dtype": dtype}
        at = block.get("tokens_at", {})
        budget = {"tokens": at[str(size)]} if str(size) in at else {}
        for model in models:
            if (
                all(values[key] in kept for key, kept in allowed[model, dtype].items() if key in values)
                and repeat < allowed[model, dtype]["repeat"]
            ):
                given = {**scalars, **budget, **values, "repeat": repeat}
                named = full_name(model, block)
                yield from (_cell(blank.experiment, named, mixer, given) for mixer in variants(model, block))


def full_name(model: str, block: Config) -> str:
    """How settings name a model: with its path, if the config declares it as one outside the repository."""
    own = block.get("own_models", {})
    return outside.joined(model, own[model]) if model in own else model


def variants(model: str, block: Config) -> list[dict[str, Scalar]]:
    """The mixer settings that a model is run with: the block's own, then each variant on top of them."""
    own = block["mixer"].get(model, {})
    return [own, *({**own, **changed} for changed in block["variants"].get(model, ()))]


def _cell(experiment: str, model: str, mixer: dict[str, Scalar], given: dict[str, Any]) -> Settings:
    values = dict(given)
    if "lr" in values:
        values["lr"] = float(values["lr"])
    if "stop_accuracy" in values:
        values["stop_accuracy"] = float(values["stop_accuracy"])
    return Settings(experiment=experiment, model=model, mixer=mixer, **values)


def _values(block: Config, blank: Settings) -> list[int]:
    """The axis of an experiment; where the config leaves it out, the setting's own default."""
    values: list[int] = block.get(KEYS[blank.axis], [getattr(blank.resolved(), blank.axis)])
    return values


def chosen_models(block: Config) -> list[str]:
    """The models and controls of a block, in the registry's order, so that an edited list changes no order; then
    those outside the repository."""
    entries = [registry.info(full_name(name, block)) for name in (*registry.names(), *block.get("own_models", ()))]
    grouped = {e.name for e in entries if e.kind == "model" and e.group in block["models"]}
    keep = set(block["models"]) | set(block["controls"]) | grouped
    every = {
        "model": "all" in block["models"],
        "control": "all" in block["controls"],
        "trained": "trained" in block["controls"],
    }
    return [
        e.name
        for e in entries
        if e.name in keep or every[e.kind] or (every["trained"] and e.kind == "control" and e.trained)
    ]


def restricted(model: str, dtype: str, block: Config) -> dict[str, Any]:
    """Setting -> the values in which a model takes part, by its name, group, cost class, by being a control, by dtype;
    `repeat` is a bound."""
    entry = registry.info(full_name(model, block))
    named = (entry.name, entry.group, entry.cost, entry.kind, dtype)
    rules: list[Mapping[str, Any]] = [block.get("restrict", {}).get(name, {}) for name in named]
    bound = min([block["repeats"], *(rule["repeats"] for rule in rules if "repeats" in rule)])
    kept: dict[str, set[Any]] = {}
    for rule, axis in ((rule, axis) for rule in rules for axis in AXES if axis in rule):
        kept[AXES[axis]] = kept.get(AXES[axis], set(rule[axis])) & set(rule[axis])
    return {**kept, "repeat": bound}


def devices(block: Config) -> list[str]:
    """The devices to run on: `auto` is what this machine has; one that is named and absent gives `unsupported` rows."""
    named = block["devices"]
    return provenance.devices() if "auto" in named else named


def settled(config: Config) -> Config:
    """The tier with `devices: auto` resolved, so that every process that reads it plans the same cells."""
    blocks = {
        name: own and {**own, **({"devices": devices(own)} if "devices" in own else {})}
        for name, own in config["experiments"].items()
    }
    return {**config, "devices": devices({**DEFAULTS, **config}), "experiments": blocks}


def rule_threads(wanted: int, cores: int, allowed: int | None = None) -> int:
    """What a job claims of Snakemake's `--cores` so that all jobs together never use more threads than the process may.

    `wanted` threads of `allowed` (the CPU affinity) are the same share of `cores`: with 2 CPUs and --cores 4, 1 thread
    claims 2.
    """
    allowed = allowed or affinity()
    usable = min(cores, allowed)
    return min(cores, math.ceil(cores * min(wanted or allowed, usable) / usable))
