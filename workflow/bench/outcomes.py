"""How a measurement may end other than well: the exceptions that become a row's `status` and `reason` (no torch
here)."""

from __future__ import annotations


class Outcome(Exception):
    """Ends a cell with a row: `status` names the way, the message is the row's `reason`."""

    status = "error"


class Unsupported(Outcome):
    """This machine, device or model cannot take part in this cell."""

    status = "unsupported"


class Diverged(Outcome):
    """The loss left the finite numbers; the reason names the step. `row` holds what was measured until then."""

    status = "diverged"

    def __init__(self, reason: str, row: dict[str, object] | None = None) -> None:
        super().__init__(reason)
        self.row = row or {}


class StoppedError(Exception):
    """Somebody killed the process that measures: there is no row, and the cell is still to be done."""
