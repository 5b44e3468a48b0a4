"""Tiers: YAML files of one closed schema, merged deeply with what the user adds by `--configfile` and `--config`.

A key at the top of a tier is the default for every experiment; the experiment's own block wins.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from pointer.errors import InputError
from workflow.bench import experiments, outside, registry
from workflow.bench.config_schema import CLASSES
from workflow.bench.explain import explained
from workflow.bench.sources import ROOT
from workflow.bench.strict_yaml import read_yaml

Config = dict[str, Any]
FOLDER = ROOT / "config"
SCHEMA_PATH = ROOT / "workflow" / "schemas" / "config.schema.json"
TIERS = ("default", "smoke", "paper")
BASE = "default"
RESERVED = ("runs", "tables", "figures", "report", "reference", "logs", "benchmarks")  # folders under results/
ADDED = "`--config` or `--configfile`"
KEYWORDS = {"models": ("all", *registry.GROUPS), "controls": ("all", "trained", "none"), "restrict": CLASSES}


def merge(base: Config, over: Mapping[str, Any]) -> Config:
    """`over` on top of `base`: mappings merge deeply, all else replaces."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        deep = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if deep else copy.deepcopy(value)
    return merged


def tier(name: str, added: Mapping[str, Any] | None = None) -> Config:
    """A tier of `config/` with the user's additions on top; its `tier` is `name`. Raises InputError."""
    if name not in TIERS:
        raise InputError.unknown("tier", name, TIERS, "the command line")
    path = FOLDER / f"{name}.yaml"
    base = checked(read_yaml(path), str(path.relative_to(ROOT)))
    return _with(base, checked(added or {}, ADDED)) | {"tier": name}


def _with(base: Config, added: Config) -> Config:
    """A tier with the user's additions: what they say at the top holds for every experiment, also where the tier's
    own block differs; but a task that is trained keeps its own `lengths`, which are no axis of cost."""
    top = added.keys() - {"experiments", "restrict", "mixer"}
    top |= {"tokens_at"} if "tokens" in top else set()
    blocks = {
        name: block
        and {
            k: v for k, v in block.items() if k not in top or (k == "lengths" and experiments.EXPERIMENTS[name].trains)
        }
        for name, block in base["experiments"].items()
    }
    return merge({**base, "experiments": blocks}, added)


def tiers(added: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Config]]:
    """(the tier that `all` makes, every tier by name). `tier: mine` among the additions makes a tier on top of the
    default one, and leaves the others as they are."""
    extra = checked(added or {}, ADDED)
    chosen: str = extra.get("tier", BASE)
    if chosen in TIERS:
        return chosen, {name: tier(name, extra) for name in TIERS}
    if chosen in RESERVED:
        raise InputError.about("tier", chosen, f"a name other than {', '.join(RESERVED)}", ADDED)
    return chosen, {**{name: tier(name) for name in TIERS}, chosen: tier(BASE, extra) | {"tier": chosen}}


def from_files(paths: Sequence[str], added: Mapping[str, Any] | None = None) -> Config:
    """The tier that `--configfile` names (one of `config/` as it is, any other file on top of the default tier), with
    `added` on top."""
    merged: Config = {}
    for path in paths:
        merged = merge(merged, checked(read_yaml(path), path))
    chosen, known = tiers(merge(merged, checked(added or {}, ADDED)))
    return known[chosen]


def checked(content: Mapping[str, Any], where: str) -> Config:
    """`content` with texts read as numbers where the schema wants them (`--config` passes texts), and single values as
    lists. Raises InputError that names the key, its value, what is accepted, and the place."""
    schema = _schema()
    read: Config = _read(_own_models_apart(content), schema)
    error = jsonschema.exceptions.best_match(_validator().iter_errors(read))
    if error is not None:
        raise explained(error, where)
    own = read.get("own_models", {})
    for name, path in own.items():
        registry.info(outside.joined(name, path))
    for block in (read, *(b for b in (read.get("experiments") or {}).values() if b)):
        for key, name in _names(block):
            known = (*registry.names(), *own, *KEYWORDS[key])
            if name not in known:
                what = "class or model" if key == "restrict" else "model"
                raise InputError.unknown(what, name, known, f"`{key}` in {where}")
    return read


def _own_models_apart(content: Mapping[str, Any]) -> Config:
    """`models: {name: path}` at the top declares models outside the repository and chooses none: it is `own_models`."""
    read = copy.deepcopy(dict(content))
    if isinstance(read.get("models"), Mapping):
        read["own_models"] = {**read.get("own_models", {}), **read.pop("models")}
    return read


@functools.cache
def _validator() -> Any:
    """A validator to whom 2.0 is no whole number, as it is none to the settings."""
    whole = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=whole)  # type: ignore[no-untyped-call]
    return kind(_schema())


@functools.cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return found


def _names(block: Config) -> Iterator[tuple[str, str]]:
    for key in ("models", "controls"):
        yield from ((key, name) for name in block.get(key, ()))
    yield from (("models", name) for key in ("mixer", "variants") for name in block.get(key, ()))
    yield from (("restrict", name) for name in block.get("restrict", ()))


def _read(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` as the schema means it; what does not fit stays as it is, for the validator to refuse."""
    kind = schema.get("type")
    if isinstance(value, dict):
        return {key: _read(entry, _property(schema, key)) for key, entry in value.items()}
    if kind == "array":
        return [_read(entry, schema["items"]) for entry in (value if isinstance(value, list) else [value])]
    if isinstance(value, str) and kind in ("integer", "number", "boolean"):
        return _scalar(value, kind)
    return value


def _property(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    further = schema.get("additionalProperties")
    found: Mapping[str, Any] = schema.get("properties", {}).get(key, further if isinstance(further, dict) else {})
    named = found.get("$ref")
    return found if named is None else _schema()["$defs"][named.rpartition("/")[2]]


def _scalar(text: str, kind: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII):
        return int(text)
    try:
        return float(text) if kind == "number" else text
    except ValueError:
        return text
