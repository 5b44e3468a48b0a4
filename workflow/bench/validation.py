"""What every pydantic model of the suite shares: strict types, YAML files, and one sentence for
a refused value."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    Strict,
    ValidationError,
)

from pointer.errors import InputError

Schema = dict[str, Any]
LONGEST_TEXT = 200  # characters of a text setting
TEXT = f"text of at most {LONGEST_TEXT} printable characters"
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")
DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?")
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _read_whole(value: Any) -> Any:
    """Read a whole number that the command line or `--config` passes as text."""
    return int(value) if isinstance(value, str) and WHOLE.fullmatch(value) else value


def _read_number(value: Any) -> Any:
    """Read a number that the command line, `--config` or YAML (1e-3) passes as text."""
    if isinstance(value, str) and DECIMAL.fullmatch(value) and re.search("[0-9]", value):
        return float(value)
    return value


def _read_flag(value: Any) -> Any:
    """Read true or false from the command line."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _writable(text: str) -> str:
    """Accept one line that fits a command line, a row and a table."""
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise ValueError(TEXT)
    return text


def _scalar(value: Any) -> Any:
    """Accept what survives the way to a mixer: the command line, JSON and the row."""
    if isinstance(value, str):
        return _writable(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"a finite number, true, false, or {TEXT}")


def _identifier(name: str) -> str:
    if not name.isidentifier():
        raise ValueError("a name such as k")
    return name


def _as_list(value: Any) -> Any:
    """Let a single value stand for a list of one."""
    return value if isinstance(value, list) else [value]


Whole = Annotated[int, BeforeValidator(_read_whole), Strict()]
Number = Annotated[float, BeforeValidator(_read_number), Strict(), AllowInfNan(False)]
Flag = Annotated[bool, BeforeValidator(_read_flag), Strict()]
Text = Annotated[str, Strict(), AfterValidator(_writable)]
Scalar = Annotated[Any, AfterValidator(_scalar)]
Settings = dict[Annotated[str, AfterValidator(_identifier)], Scalar]  # of a mixer's constructor
ListOf = BeforeValidator(_as_list)


class _Loader(yaml.SafeLoader):
    """Refuse a key that stands twice, and numbers that YAML 1.1 reads otherwise than they look
    (0512, 1:30)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in NUMBER_TAGS and not DECIMAL.fullmatch(str(node.value)):
            text = str(node.value)[:40]
            self._refuse(f"{text!r} is no plain decimal number; write one, or a text", node)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                self._refuse(f"key {key!r} stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _refuse(self, message: str, node: yaml.Node) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def read_yaml(path: Path | str, noun: str = "config file") -> dict[str, Any]:
    """Return the mapping in a YAML file; raise InputError, naming the file, where it is missing
    or malformed."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise InputError(f"{noun} {str(path)!r} cannot be read: {error.strerror}.") from error
    except Exception as error:  # PyYAML answers bad texts with whatever its own code raises
        message = " ".join(str(error).split())
        raise InputError(f"{noun} {path}: {message}. Change it there.") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        accepted = "key: value lines, each key a text"
        raise InputError.about(noun.removesuffix(" file"), content, accepted, str(path))
    return content


def input_error(
    error: ValidationError, model: type[BaseModel], where: str, noun: str = "key", name: str = ""
) -> InputError:
    """Return pydantic's first complaint as one sentence: key, value, what is accepted, and where
    to change it."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    schema = model.model_json_schema()
    location = tuple(first["loc"])
    path = name or ".".join(str(part) for part in location if part != "[key]")
    if first["type"] == "extra_forbidden":
        above = ".".join(str(part) for part in location[:-1])
        place = f"`{above}` in {where}" if above else where
        return InputError.unknown(noun, location[-1], properties(schema, location[:-1]), place)
    found = find(schema, location)
    value = None if first["type"] == "missing" else first["input"]
    choices = found.get("enum")
    if choices and isinstance(value, str) and value.isprintable():
        return InputError.unknown(path, value, choices, where)
    accepted = str(cause) if cause else in_words(found, schema) or first["msg"]
    return InputError.about(path, value, accepted, where)


def find(schema: Schema, location: Sequence[Any]) -> Schema:
    """Return the part of a JSON schema that describes the value at a location; {} where nothing
    does."""
    current: Schema = schema
    for part in location:
        current = _step(schema, current, part)
    return resolve(schema, current)


def properties(schema: Schema, location: Sequence[Any]) -> list[str]:
    """Return the keys that the schema knows at a location."""
    return list(find(schema, location).get("properties", {}))


def resolve(schema: Schema, part: Schema) -> Schema:
    """Follow references, and leave the alternative `null` out."""
    described = part.get("description")
    while "$ref" in part or "anyOf" in part:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
            continue
        others = [other for other in part["anyOf"] if other.get("type") != "null"]
        if len(others) != 1:
            break
        part = others[0]
    return {**part, "description": described} if described else part


def _step(schema: Schema, part: Schema, key: Any) -> Schema:
    part = resolve(schema, part)
    if "discriminator" in part:  # a tagged union: the key is the tag
        named = part["discriminator"]["mapping"].get(key)
        return {"$ref": named} if named else {}
    if isinstance(key, int):
        return dict(part.get("items", {}))
    further = part.get("additionalProperties")
    return dict(part.get("properties", {}).get(key, further if isinstance(further, dict) else {}))


def in_words(part: Schema, schema: Schema) -> str:
    """Return what a part of a JSON schema accepts, such as "a whole number from 1 to 10 (copy
    distance)"."""
    part = resolve(schema, part)
    described = " ".join(str(part.get("description", "")).split())
    words = "" if "pattern" in part else _kind_in_words(part, schema)
    if words and described:
        return f"{words} ({described})"
    return words or described


KINDS = {"boolean": "true or false", "integer": "a whole number", "number": "a finite number"}
KINDS["string"] = TEXT


def _kind_in_words(part: Schema, schema: Schema) -> str:
    kind = part.get("type")
    if "enum" in part or "const" in part:
        return ", ".join(str(choice) for choice in part.get("enum", [part.get("const")]))
    if "anyOf" in part:
        return " or ".join(in_words(other, schema) for other in part["anyOf"])
    if kind == "array":
        return f"a list of: {in_words(part.get('items', {}), schema)}"
    low, high = part.get("minimum", part.get("ge")), part.get("maximum", part.get("le"))
    bounds = f" from {low:,} to {high:,}" if low is not None and high is not None else ""
    return KINDS.get(str(kind), "key: value pairs") + bounds if kind or "oneOf" in part else ""
