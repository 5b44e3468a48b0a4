"""The one error that bad input raises: it says the value, what is accepted and where to change it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_SHOWN = 400  # characters of a value in a message


class InputError(ValueError):
    """A value that the suite refuses. The command line turns it into one line and exit code 2."""

    @classmethod
    def about(cls, what: str, value: object, accepted: str, where: str) -> InputError:
        """`what` is the setting's name; `accepted` the range in words; `where` the place to change it."""
        return cls(f"{what} is {_shown(value)}; accepted: {accepted}. Change it in {where}.")

    @classmethod
    def unknown(cls, what: str, value: object, known: Iterable[str], where: str) -> InputError:
        """An unknown name, with the nearest known one."""
        names = sorted(known)
        near = difflib.get_close_matches(str(value)[:LONGEST_SHOWN], names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(f"{what} {_shown(value)} is unknown.{hint} Known: {', '.join(names)}. Change it in {where}.")


def _shown(value: object) -> str:
    """A value as Python writes it, printable, cut where it is long."""
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text)} characters)"
