"""From a tier to its cells: which rows there will be, and in which order.

Rows are shared by tiers: a row's path holds a hash of the settings, so equal cells are one row and
different ones never collide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from pointer.errors import InputError
from workflow.bench import experiments, outside, registry, tasks
from workflow.bench.cell import DEFAULT_LENGTH, Cell, affinity
from workflow.bench.config import AXES, KEYS, SCALARS, Config
from workflow.bench.rows import provenance

DEFAULTS: Config = {
    "models": ["all"],
    "controls": ["none"],
    "devices": ["auto"],
    "dtypes": ["float32"],
    "seeds": [0],
    "repeats": 1,
    "tasks": ["copy"],
    "restrict": {},
}


def cells(config: Config) -> list[Cell]:
    """Return every cell of a tier in the order to run: experiments as the config lists them,
    repeats round-robin over models, repeats of a timing apart (`_spread`).

    Raise InputError for a value that a cell refuses, and for a tier without any cell.
    """
    planned: dict[str, Cell] = {}
    for name, own in (config.get("experiments") or {}).items():
        if own is not None:
            for cell in _of_experiment(name, block(config, own)):
                planned.setdefault(cell.path, cell)
    if not planned:
        name = config.get("tier")
        accepted = "experiments, models and sizes that leave at least one cell"
        raise InputError.about(
            f"tier {name!r}", "without any cell", accepted, "`experiments`, `models` or `restrict`"
        )
    return _spread(list(planned.values()))


def _spread(ordered: list[Cell]) -> list[Cell]:
    """Put timing cells of the first repeat before all other work, those of the last after it, the
    rest evenly between.

    Back-to-back repeats underestimate the variance on a machine that others use too.
    """
    last = max((cell.repeat for cell in ordered if cell.timing), default=0)
    if not last:
        return ordered
    others = sum(not cell.timing for cell in ordered)
    shares, done = [], 0
    for cell in ordered:
        done += not cell.timing
        shares.append(cell.repeat / last if cell.timing else (done - 0.5) / others)
    return [ordered[place] for place in sorted(range(len(ordered)), key=shares.__getitem__)]


def block(config: Config, own: Config) -> Config:
    """Return an experiment's block over the tier's top level and the defaults; mixer settings
    and variants merge by model."""
    top = {
        key: value for key, value in config.items() if key not in ("tier", "extends", "experiments")
    }
    merged = {
        key: {**(top.get(key) or {}), **(own.get(key) or {})} for key in ("mixer", "variants")
    }
    return {**DEFAULTS, **top, **own, **merged}


def _of_experiment(experiment: str, block: Config) -> Iterator[Cell]:
    entry = experiments.info(experiment)
    for task in block["tasks"] if entry.any_task else [entry.task]:
        yield from _of_task(experiment, task, block)


def _of_task(experiment: str, task: str, block: Config) -> Iterator[Cell]:
    """Yield an experiment's cells of one task (empty: none is learned)."""
    axis = tasks.info(task).axis if task else "length"
    own = tasks.info(task).model_fields if task else {}
    idle = tasks.parameters().keys() - own.keys()
    scalars = {key: block[key] for key in SCALARS if block.get(key) is not None and key not in idle}
    grid = itertools.product(
        range(block["repeats"]),
        sizes(block, axis, task),
        block["seeds"],
        devices(block),
        block["dtypes"],
    )
    for repeat, size, seed, device, dtype in grid:
        values = {axis: size, "seed": seed, "device": device, "dtype": dtype}
        budget = (block.get("tokens_at") or {}).get(str(size))
        settings = {**scalars, **values, **({"tokens": budget} if budget else {})}
        for model in chosen_models(block):
            if takes_part(model, repeat, values, block):
                for mixer in variants(model, block):
                    name = full_name(model, block)
                    yield Cell.of(
                        experiment, name, task=task, repeat=repeat, mixer=mixer, **settings
                    )


def sizes(block: Config, axis: str, task: str) -> list[int]:
    """Return the values along an experiment's axis; where the tier leaves them out, the
    setting's own default."""
    listed: list[int] | None = block.get(KEYS[axis])
    if listed is not None:
        return listed
    if axis != "length":
        return [tasks.parameters()[axis].default]
    return [tasks.info(task).own_length if task else DEFAULT_LENGTH]


def takes_part(model: str, repeat: int, values: dict[str, Any], block: Config) -> bool:
    """Return whether no rule under `restrict` for the model, its group, its cost class, controls
    or the dtype excludes it here."""
    entry = registry.info(full_name(model, block))
    for name in (entry.name, entry.group, entry.cost, entry.kind, values["dtype"]):
        rule = block["restrict"].get(name, {})
        if repeat >= rule.get("repeats", math.inf):
            return False
        for key, setting in AXES.items():
            if key in rule and setting in values and values[setting] not in rule[key]:
                return False
    return True


def full_name(model: str, block: Config) -> str:
    """Return how settings name a model: with its path, if the config declares it as one outside
    the repository."""
    own = block.get("own_models") or {}
    return outside.joined(model, own[model]) if model in own else model


def variants(model: str, block: Config) -> list[dict[str, Any]]:
    """Return the mixer settings that a model is run with: the block's own, then each variant on
    top of them."""
    own = block["mixer"].get(model, {})
    return [own, *({**own, **changed} for changed in block["variants"].get(model, ()))]


def chosen_models(block: Config) -> list[str]:
    """Return the models and controls of a block, in the registry's order, so that an edited list
    changes no order; then those outside the repository."""
    models, controls = block["models"], block["controls"]
    chosen = []
    for name in (*registry.names(), *(block.get("own_models") or {})):
        entry = registry.info(full_name(name, block))
        if entry.kind == "model":
            wanted = "all" in models or entry.group in models
        else:
            wanted = "all" in controls or ("trained" in controls and entry.trained)
        if wanted or entry.name in (*models, *controls):
            chosen.append(entry.name)
    return chosen


def devices(block: Config) -> list[str]:
    """Return the devices to run on: `auto` is what this machine has; one that is named and
    absent gives `unsupported` rows."""
    return provenance.devices() if "auto" in block["devices"] else block["devices"]


def settled(config: Config) -> Config:
    """Return the tier with `devices: auto` resolved, so that every process that reads it plans
    the same cells."""
    blocks = {}
    for name, own in config["experiments"].items():
        blocks[name] = {**own, "devices": devices(own)} if own and "devices" in own else own
    return {**config, "devices": devices({**DEFAULTS, **config}), "experiments": blocks}


def rule_threads(wanted: int, cores: int, allowed: int | None = None) -> int:
    """Return what a job claims of Snakemake's `--cores`, so that all jobs together never use more
    threads than the process may.

    `wanted` threads of `allowed` (the CPU affinity) are the same share of `cores`: with 2 CPUs and
    --cores 4, 1 thread claims 2.
    """
    allowed = allowed or affinity()
    usable = min(cores, allowed)
    return min(cores, math.ceil(cores * min(wanted or allowed, usable) / usable))
