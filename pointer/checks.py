"""Checks that the mixers' settings share."""

from __future__ import annotations

from pointer.errors import InputError

WHERE = "`--set`, or `mixer` in the config"


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises InputError unless low <= value <= high."""
    if not low <= value <= high:
        raise InputError.about(name, value, f"{low} to {high}", WHERE)
