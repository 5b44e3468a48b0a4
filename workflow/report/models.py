"""How models are ordered, named and drawn: one colour and marker a model, the same everywhere.

Order and kind come from the registry, so a new baseline takes the next free colour and shifts
none. A variant has its model's colour. Colours are those of Okabe and Ito (2008, distinct for the
colour-blind), then Tol's muted scheme; markers differ too, for print in grey.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from workflow.bench import registry

COLOURS = (  # vermilion, orange, blue, sky blue, green, purple; indigo, wine, teal, olive, brown,
    # dark green, magenta, rose, dark red
    "#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7",
    "#332288", "#882255", "#44AA99", "#999933", "#8C510A",
    "#117733", "#AA4499", "#CC6677", "#661100",
)  # fmt: skip
OWN_COLOURS = 4  # the first ones, pointer's and the Transformers', which no later model repeats
GREYS = ("#6e6e6e", "#8f8f8f", "#4d4d4d", "#a6a6a6", "#7d7d7d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*", "d")
LineStyle = Literal["-", "--", "-.", ":"]
Series = tuple[str, str]  # model, variant
LONGEST_NAME = 60  # characters of a name in a legend
SETTINGS = {  # changed settings in words; others stand as they are
    "candidates=offsets+content": "candidates by content",
    "candidates=offsets+chain": "candidates near the chain",
    "candidates=offsets+blocks": "candidates by blocks",
    "chain=False": "no chain",
    "hard=True": "straight-through",
    "hard=False": "relaxed in training",
    "noise=0.0": "no noise",
    "noise=1.0": "unit noise",
    "noise_until=1.0": "noise to the end",
    "cooling_from=0.0": "cooling from the start",
    "cooling_from=1.0": "constant temperature",
    "coldest=0.01": "cooled to 0.01",
    "own=False": "never its own position",
    "lower=position": "chain reads the position",
    "lower_reads=mean": "chain reads the mean position",
    "score=additive": "additive scores",
    "score_width=64": "scores 64 wide",
    "score_width=256": "scores 256 wide",
    "pointer_heads=2": "2 pointer heads",
    "pointer_heads=8": "8 pointer heads",
    "credit=none": "no credit",
    "credit=candidates": "credit to candidates only",
    "gate=False": "no gate",
    "value=True": "values projected",
    "table_rate=1.0": "table at the ordinary rate",
    "table_rate=30.0": "table at 30 times the rate",
}


@dataclass(frozen=True)
class Look:
    """How a model is drawn, in matplotlib's terms."""

    colour: str
    marker: str
    line: LineStyle

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of a line of matplotlib."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


def is_control(name: str) -> bool:
    """Return whether the registry calls it a control; a name outside the registry is a model."""
    return name in registry.names() and registry.info(name).kind == "control"


def ordered(names: Iterable[str]) -> list[str]:
    """Return models, then controls, in the registry's order; other names follow the models."""
    rank = {name: place for place, name in enumerate(registry.names())}
    return sorted(set(names), key=lambda name: (is_control(name), rank.get(name, len(rank)), name))


def series(estimates: pd.DataFrame) -> list[Series]:
    """Return the models and variants of estimates in order, variants behind their model."""
    pairs = set(zip(estimates["model"].astype(str), estimates["variant"].astype(str), strict=True))
    names = ordered(model for model, _ in pairs)
    return sorted(pairs, key=lambda pair: (names.index(pair[0]), pair[1]))


def title(model: str) -> str:
    """Return what readers see of a model: its title in the registry, else its name."""
    return (registry.info(model).title if model in registry.names() else "") or model


def in_words(variant: str) -> str:
    """Return changed settings in words where SETTINGS has them; never read back."""
    return ", ".join(SETTINGS.get(setting, setting) for setting in variant.split(", "))


def label(model: str, variant: str = "") -> str:
    """Return a model's title with its changed settings, `gla: k=32`; never read back."""
    return f"{title(model)}: {in_words(variant)}" if variant else title(model)


def looks(wanted: Iterable[Series]) -> dict[Series, Look]:
    """Return a look for each model of the registry and each one wanted, by name and settings."""
    registered = ordered(registry.names())
    controls = [name for name in registered if is_control(name)]
    others = registered[: -len(controls)]  # they come first
    found = {(name, ""): _solid(slot) for slot, name in enumerate(others)}
    for slot, name in enumerate(controls):
        found[name, ""] = Look(GREYS[slot % len(GREYS)], MARKERS[slot % len(MARKERS)], "--")

    pairs = sorted(set(wanted))
    for name in sorted({model for model, _ in pairs} - {model for model, _ in found}):
        slot = len(COLOURS) + zlib.crc32(name.encode())
        while _solid(slot) in found.values():
            slot += 1
        found[name, ""] = _solid(slot)

    for model, variant in pairs:
        if variant:
            colour = found[model, ""].colour
            used = {look.marker for look in found.values() if look.colour == colour}
            start = zlib.crc32(label(model, variant).encode()) % len(MARKERS)
            free = [m for m in (*MARKERS[start:], *MARKERS[:start]) if m not in used]
            found[model, variant] = Look(colour, free[0] if free else MARKERS[start], "-.")
    return found


def _solid(slot: int) -> Look:
    """Return the look of the model at a place of the registry, or beyond it."""
    later = COLOURS[OWN_COLOURS:]
    colour = COLOURS[slot] if slot < len(COLOURS) else later[slot % len(later)]
    return Look(colour, MARKERS[slot % len(MARKERS)], "-")


def plain(name: object, limit: int = LONGEST_NAME) -> str:
    """Return untrusted text for a figure: one line, bounded, never read as mathematics."""
    text = " ".join(str(name).split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    # matplotlib hides a label that begins with an underscore
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def natural(text: str) -> list[tuple[str, int]]:
    """Return a key that sorts k=16 before k=128."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", text)]
