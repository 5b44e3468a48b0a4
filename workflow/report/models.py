"""How models are ordered, named and drawn: one colour and marker a model, the same in every figure.

Order and kind come from the registry, so a new baseline takes the next free colour and shifts none; the look of a model
that the registry lacks follows from its name. Colours are Okabe and Ito's (2008, distinct for the colour-blind)
followed by those of Tol's muted scheme; the marker differs too, for print in grey. The first colours stay those of
`pointer` and the Transformers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from workflow.bench import registry

COLOURS = (
    "#D55E00",  # vermilion
    "#E69F00",  # orange
    "#0072B2",  # blue
    "#56B4E9",  # sky blue
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#332288",  # indigo
    "#882255",  # wine
    "#44AA99",  # teal
    "#999933",  # olive
    "#8C510A",  # brown
)
OWN_COLOURS = 4  # the first ones, which no later model takes again
GREYS = ("#6e6e6e", "#8f8f8f", "#4d4d4d", "#a6a6a6", "#7d7d7d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*", "d")
LineStyle = Literal["-", "--", "-.", ":"]
LONGEST_NAME = 44  # characters of a model's name in a legend


@dataclass(frozen=True)
class Look:
    """How a model is drawn. `line` is a matplotlib line style."""

    colour: str
    marker: str
    line: LineStyle


def is_control(name: str) -> bool:
    """Whether the registry calls it a control; a name that the registry lacks is a model."""
    return name in registry.names() and registry.info(name).kind == "control"


def ordered(names: Iterable[str]) -> list[str]:
    """Models, then controls, each in the registry's order; names that it lacks follow the models, sorted."""
    known = registry.names()
    return sorted(
        set(names), key=lambda name: (is_control(name), known.index(name) if name in known else len(known), name)
    )


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name and for the whole registry: none depends on which rows exist, but that of two names outside
    the registry which fall together the later moves on."""
    known = ordered(registry.names())
    models = [name for name in known if not is_control(name)]
    controls = [name for name in known if is_control(name)]
    found = {name: Look(_colour(slot), _marker(slot), "-") for slot, name in enumerate(models)} | {
        name: Look(GREYS[slot % len(GREYS)], _marker(slot), "--") for slot, name in enumerate(controls)
    }
    for name in sorted({*names} - found.keys()):
        start, taken = len(COLOURS) + zlib.crc32(name.encode()), {*found.values()}
        tried = (Look(_colour(start + step), _marker(start + step), "-") for step in range(len(COLOURS) * len(MARKERS)))
        found[name] = next(look for look in tried if look not in taken)
    return found


def _colour(slot: int) -> str:
    later = COLOURS[OWN_COLOURS:]
    return COLOURS[slot] if slot < len(COLOURS) else later[slot % len(later)]


def _marker(slot: int) -> str:
    return MARKERS[slot % len(MARKERS)]


def changed(name: str, look: Look, taken: Iterable[Look]) -> Look:
    """The look of a model's changed setting: its colour, a line of its own, and a marker that follows from the name,
    so that it is the same in every figure; the next one where that is `taken`."""
    used = {other.marker for other in taken if other.colour == look.colour}
    start = zlib.crc32(name.encode())
    markers = [MARKERS[(start + step) % len(MARKERS)] for step in range(len(MARKERS))]
    return Look(look.colour, next((marker for marker in markers if marker not in used), markers[0]), "-.")


def plain(name: object, limit: int = LONGEST_NAME) -> str:
    """Untrusted text for a figure: one line, bounded, never read as mathematics or hidden by a leading underscore."""
    text = " ".join(str(name).split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")
