"""YAML files as plain data: no key twice, no tags, no aliases, no numbers that nothing here could mean.

PyYAML's safe loader makes no objects of foreign classes; but it lets a key stand twice, follows aliases into structures
without end, and answers some texts (a date in month 13) with whatever its own code raises. Here each of these is a
sentence that names the file and the line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import yaml

from pointer.errors import InputError

DEEPEST = 40  # levels of nesting; the schemas have less than ten
LARGEST = 2**63  # integers beyond 64 bits fit no setting, and none of the tables


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses what the module's first lines name."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, unless it is an alias, tagged by hand, or too deep."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"the alias *{event.anchor} is not accepted: write the value out", event.start_mark)
        if getattr(event, "tag", None) not in (None, "!"):
            self._refuse(f"the tag {event.tag!r} is not accepted: write the plain value", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            self._refuse(f"more than {DEEPEST} levels of nesting", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of texts to values, each key once."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._refuse("the merge key '<<' is not accepted: write the keys out", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self._refuse(f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                self._refuse(f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; what PyYAML's own code stumbles over is refused with its line."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            self._refuse(f"{str(node.value)[:40]!r} cannot be read ({error})", node.start_mark)
        if isinstance(value, int) and abs(value) >= LARGEST:
            self._refuse(f"{str(node.value)[:40]!r} is beyond 64 bits", node.start_mark)
        return value

    def _refuse(self, why: str, mark: Any) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, why, mark)


def read_yaml(path: Path | str, what: str = "config file") -> dict[str, Any]:
    """The mapping in a YAML file; raises InputError, naming `what` and the file, where it is missing or malformed."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise InputError(f"{what} {str(path)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {path}: {' '.join(str(error).split())}. Change it there.") from error
    if not isinstance(content, dict | None):
        raise InputError.about(what.removesuffix(" file"), content, "key: value lines", str(path))
    return content or {}
