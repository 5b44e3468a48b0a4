"""InputError, the one error for bad input: the value, what is accepted, and where to change it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MIXER_SETTINGS = "`--set`, or `mixer` in the config"  # where a mixer's settings are changed
LONGEST_SHOWN = 400  # characters of a value in a message


class InputError(ValueError):
    """Bad input; the command line prints one line and exits with code 2."""

    @classmethod
    def about(cls, name: str, value: object, accepted: str, change_in: str) -> InputError:
        """Return the error for a value of setting `name`; `accepted` describes valid values."""
        return cls(f"{name} is {_shown(value)}; accepted: {accepted}. Change it in {change_in}.")

    @classmethod
    def unknown(
        cls, kind: str, name: object, accepted: Iterable[str], change_in: str
    ) -> InputError:
        """Return the error for an unknown name, with the closest accepted one."""
        names = sorted(accepted)
        near = difflib.get_close_matches(str(name)[:LONGEST_SHOWN], names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = f"Known: {', '.join(names)}. Change it in {change_in}."
        return cls(f"{kind} {_shown(name)} is unknown.{hint} {known}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless low <= value <= high, for a mixer setting."""
    if not low <= value <= high:
        raise InputError.about(name, value, f"{low} to {high}", MIXER_SETTINGS)


def _shown(value: object) -> str:
    """Return the value's repr, printable and truncated."""
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    cut = f"{text[:LONGEST_SHOWN]}... ({len(text)} characters)"
    return text if len(text) <= LONGEST_SHOWN else cut
