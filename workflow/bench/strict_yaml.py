"""Reading the YAML files of the suite: safe, and no key may stand twice in a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pointer.errors import InputError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file; raises InputError for what is missing, malformed, or has a key twice."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise InputError(f"config file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config file {path}: {' '.join(str(error).split())}. Change it there.") from error
    if not isinstance(content, dict | None):
        raise InputError.about("config", content, "key: value lines", str(path))
    return content or {}
