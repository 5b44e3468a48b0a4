"""What every pydantic model of the suite shares: strict types, YAML files, and one sentence for
a refused value."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pointer.errors import InputError

LONGEST_TEXT = 200  # characters of a text setting
TEXT = f"text of at most {LONGEST_TEXT} printable characters"
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")
DECIMAL = re.compile(r"[+-]?(?=\.?[0-9])(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?")
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Closed(BaseModel):
    """A model that refuses an unknown key with the nearest of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, values: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in values if isinstance(values, dict) else ():
            if key not in known:
                raise PydanticCustomError("unknown_key", "unknown", {"key": key, "known": known})
        return values


def _read(kind: type, pattern: re.Pattern[str]) -> BeforeValidator:
    """Read a number that the command line, `--config` or YAML (1e-3) passes as text."""
    return BeforeValidator(
        lambda value: kind(value) if isinstance(value, str) and pattern.fullmatch(value) else value
    )


def _writable(text: str) -> str:
    """Accept one line that fits a command line, a row and a table."""
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise ValueError(TEXT)
    return text


def _scalar(value: Any) -> Any:
    """Accept what survives the way to a mixer: the command line, JSON and the row."""
    if isinstance(value, str):
        return _writable(value)
    whole = isinstance(value, int) and abs(value) < 2**63
    if whole or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"a finite number, true, false, or {TEXT}")


Whole = Annotated[int, _read(int, WHOLE), Strict()]
Number = Annotated[float, _read(float, DECIMAL), Strict(), AllowInfNan(False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_writable)]
Name = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
Settings = dict[Name, Annotated[Any, AfterValidator(_scalar)]]  # of a mixer
ListOf = BeforeValidator(lambda one: one if isinstance(one, list) else [one])


class _Loader(yaml.SafeLoader):
    """Refuse a key that stands twice, and numbers that YAML reads otherwise (0512, 1:30)."""

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
    """Return the mapping in a YAML file; raise InputError where it is missing or malformed."""
    try:
        content = yaml.load(Path(path).read_text("utf-8"), _Loader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise InputError(f"{noun} {str(path)!r} cannot be read: {error.strerror}.") from error
    except Exception as error:  # PyYAML answers bad texts with whatever its own code raises
        message = " ".join(str(error).split())
        raise InputError(f"{noun} {path}: {message}. Change it there.") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        accepted = "key: value lines, each key a text"
        raise InputError.about(noun.removesuffix(" file"), content, accepted, str(path))
    return content


def expected(error: ValidationError) -> str:
    """Return what pydantic says that the first refused value should have been."""
    return error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def input_error(
    error: ValidationError, where: str, noun: str = "key", name: str = ""
) -> InputError:
    """Return pydantic's first complaint as one sentence; `name` stands for the key."""
    first = error.errors()[0]
    context = first.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):
        return cause
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "unknown_key":
        place = f"`{key}` in {where}" if key else where
        return InputError.unknown(noun, context["key"], context["known"], place)
    value = None if first["type"] == "missing" else first["input"]
    if first["type"] == "literal_error" and isinstance(value, str) and value.isprintable():
        choices = re.findall("'([^']*)'", context["expected"])
        return InputError.unknown(name or key, value, choices, where)
    return InputError.about(name or key, value, expected(error), where)
