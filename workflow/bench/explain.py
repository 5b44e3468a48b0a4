"""A schema's complaint as the suite's own message: key, value, what is accepted, nearest name, place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema

from pointer.errors import InputError


def explained(error: jsonschema.ValidationError, where: str, noun: str = "config key") -> InputError:
    """The named error for what a closed schema refused in `where`, a file or an option; `noun` says what keys are."""
    path = ".".join(str(part) for part in error.absolute_path)
    found: Any = error.instance
    schema: dict[str, Any] = dict(error.schema) if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        known = schema["properties"]
        key = next(key for key in found if key not in known)
        return InputError.unknown(noun, key, known, f"`{path}` in {where}" if path else where)
    if error.validator == "enum":
        return InputError.unknown(f"{noun} {path}", found, schema["enum"], where)
    if error.validator == "required":
        key = next(key for key in schema["required"] if key not in found)
        wanted = schema["properties"][key].get("description", "a value")
        return InputError.about(f"{noun} {path}.{key}".replace(" .", " "), None, wanted, where)
    accepted = schema.get("description", f"{error.validator} {error.validator_value}")
    return InputError.about(f"{noun} {path}".strip(), found, accepted, where)
