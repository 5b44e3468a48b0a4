"""The closed config schema, generated from the fields of `Settings`: python -m workflow.bench.config_schema > FILE.

`workflow/schemas/config.schema.json` is its output, kept for editors; a test holds the two together.
"""

from __future__ import annotations

import json
from typing import Any

from workflow.bench import experiments, registry, settings

Schema = dict[str, Any]
AXES = {
    "devices": "device",
    "dtypes": "dtype",
    "seeds": "seed",
    "lengths": "length",
    "distances": "distance",
    "pairs": "pairs",
    "hops": "hops",
    "letters": "letters",
}
KEYS = {setting: key for key, setting in AXES.items()}
SCALARS = [n for n in settings.FIELDS if n not in ("experiment", "model", "task", "repeat", "mixer", *KEYS)]
CLASSES = (*registry.COSTS, *registry.GROUPS, "control", *settings.DTYPES)  # what `restrict` names beside models
BLOCK = "experiment"  # what every experiment takes
TIER_NAME = "^[a-z][a-z0-9_-]{0,63}(?!\\n)$"  # in Python, $ also matches before a last line break


def schema() -> Schema:
    """The schema of a tier: its name, defaults for all experiments, and the experiments.

    `properties` of a block stand once, under `$defs`; each experiment is a block or null.
    """
    block = _block()
    runs = {
        name: {"$ref": f"#/$defs/{BLOCK}", "description": e.question} for name, e in experiments.EXPERIMENTS.items()
    }
    tier = {
        "type": "string",
        "pattern": TIER_NAME,
        "description": "the tier's name: at most 64 lower-case letters, digits, - and _",
    }
    top = {
        "tier": tier,
        **block,
        "own_models": {
            "type": "object",
            "description": 'models outside the repository, run as your own code: name: "package.module:Class"',
            "additionalProperties": {"type": "string", "description": '"package.module:Class"'},
        },
        "experiments": {**_closed(runs), "description": "experiment names with their settings"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A tier of the suite",
        "$defs": {BLOCK: {**_closed(block), "type": ["object", "null"]}},
        **_closed(top),
    }


def _block() -> Schema:
    """What an experiment takes; at the top of the file the same keys are the default for every experiment."""
    axes = {name: _list(_field(field)) for name, field in AXES.items()}
    axes["devices"]["items"]["enum"] = ["auto", *settings.DEVICES]
    axes["devices"]["items"]["description"] = f"auto, {settings.accepted('device')}"
    axes["lengths"]["items"]["minimum"] = 1
    model = {
        "type": "string",
        "description": "all, a group (paper, field, own), or names that `pointer-bench list` prints",
    }
    control = {"type": "string", "description": "all, trained, none, or names of controls"}
    repeats = {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "description": "how often each cell is measured: a whole number from 1 to 1,000",
    }
    overrides = {"type": "object", "description": "settings of mixers by model", "additionalProperties": _overrides()}
    variants = {
        "type": "object",
        "description": "by model, mixer settings that it is also run with, each on top of `mixer`; an empty list: none",
        "additionalProperties": _list(_overrides()) | {"minItems": 0},
    }
    restricted = _closed({"repeats": repeats, **axes})
    return {
        "models": _list(model),
        "controls": _list(control),
        **axes,
        "repeats": repeats,
        **{name: _field(name) for name in SCALARS},
        "tokens_at": {
            "type": "object",
            "propertyNames": {"pattern": "^[1-9][0-9]{0,8}(?!\\n)$"},
            "additionalProperties": _field("tokens"),
            "description": "the budget at single values of the axis (distances, say), in place of `tokens`",
        },
        "tasks": _list(_field("task")),
        "mixer": overrides,
        "variants": variants,
        "restrict": {
            "type": "object",
            "additionalProperties": restricted,
            "description": "the only values in which a model, a group, a cost class, the controls or a dtype take part",
        },
    }


def _overrides() -> Schema:
    return {
        "type": "object",
        "description": "key: value pairs",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _field(name: str) -> Schema:
    """The schema of one setting."""
    metadata = settings.FIELDS[name].metadata
    kind = {"int": "integer", "float": "number"}.get(settings.kind(name), "string")
    found: Schema = {"type": kind, "description": f"{metadata['help']} ({settings.accepted(name)})"}
    bounds = {"minimum": metadata["low"], "maximum": metadata["high"], "enum": list(metadata["choices"]) or None}
    return found | {key: value for key, value in bounds.items() if value is not None}


def _list(items: Schema) -> Schema:
    return {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": items,
        "description": f"a list, without repetition, of: {items['description']}",
    }


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
