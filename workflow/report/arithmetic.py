"""What follows from the paper's own numbers by arithmetic: the cells of its contradictions, none of them asserted."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from workflow.report import intervals, paper
from workflow.report.intervals import Interval
from workflow.report.metrics import NotTestable
from workflow.report.rules import Estimate, exactly

_LOW = ("lowest copy accuracy from 512 to 2048", "highest copy accuracy from 512 to 2048")
SCORED = 800  # symbols a cell that explain the copy table: all of its values are multiples of 1/800


def _share(label: str, percent: float, level: float | None = None) -> Estimate:
    return _exact(label, intervals.wilson(round(percent * SCORED / 100), SCORED), level)


def _exact(label: str, found: Interval, level: float | None = None) -> Estimate:
    return Estimate(label, found.value, found.low, found.high, exact=True, paper=level)


def _chance(frame: pd.DataFrame) -> float:
    """The level of guessing in our rows; raises NotTestable where no copy row gives it."""
    levels = frame["chance"].dropna().unique()
    if not len(levels):
        raise NotTestable("no copy row gives the vocabulary")
    return float(levels[0])


def copy_claims_apart(frame: pd.DataFrame) -> list[Estimate]:
    """How far copy-95's lowest accuracy lies above copy-low's highest, in points."""
    least = paper.value("copy_accuracy", "lowest copy accuracy at every distance to 2048")
    return [exactly("copy-95 less copy-low, points", least - paper.value("copy_accuracy", _LOW[1]))]


def copy_low_is_guessing(frame: pd.DataFrame) -> list[Estimate]:
    """Wilson intervals of copy-low's two ends at 800 symbols, beside the chance level of our vocabulary."""
    chance = _chance(frame)
    return [_share(name, paper.value("copy_accuracy", name), chance) for name in _LOW]


def loss_of_guessing(frame: pd.DataFrame) -> list[Estimate]:
    """ln V, beside the last loss that the paper prints."""
    chance = _chance(frame)
    return [exactly(f"ln {round(1 / chance)}, nats", -math.log(chance), paper.value("copy_loss", "last training loss"))]


def copy_low_fits_its_loss(frame: pd.DataFrame) -> list[Estimate]:
    """The same two ends, beside exp(-loss) of the paper's last loss: guessing, by the paper's own numbers alone."""
    guess = math.exp(-paper.value("copy_loss", "last training loss"))
    return [_share(name, paper.value("copy_accuracy", name), guess) for name in _LOW]


def copy_table_decides(frame: pd.DataFrame) -> list[Estimate]:
    """The pointer's accuracy at 2048 at 800 symbols, beside the 95% that it is said to exceed."""
    ours, _ = _at_2048()
    return [_share("pointer at D=2048", ours, 0.95)]


def copy_table_difference(frame: pd.DataFrame) -> list[Estimate]:
    """Pointer less Transformer at 2048 (Newcombe, 800 symbols each), beside no difference."""
    right = [round(percent * SCORED / 100) for percent in _at_2048()]
    return [_exact("pointer less transformer at D=2048", intervals.difference(right[0], SCORED, right[1], SCORED), 0.0)]


def _at_2048() -> tuple[float, float]:
    table = paper.published("copy_accuracy")
    cells = table[table["distance"] == 2048].set_index("model")["value"]
    return float(cells["pointer"]), float(cells["transformer"])


def operations_ratio(frame: pd.DataFrame) -> list[Estimate]:
    """The claimed reduction over N^2 d / (N d) = N at the claim's N."""
    table = paper.published("operations")
    claimed = table[table["quantity"] == "reduction of operations"].iloc[0]
    return [exactly(f"claimed over computed, N={claimed['length']}", float(claimed["value"]) / int(claimed["length"]))]


def range_over_cells(frame: pd.DataFrame) -> list[Estimate]:
    """The largest speed-up claimed over the largest measured."""
    claimed = paper.value("speedup", "highest speed-up on long sequences")
    return [exactly("highest claimed over highest measured", claimed / float(paper.speedup()["value"].max()))]


def slowest_cell(frame: pd.DataFrame) -> list[Estimate]:
    """The smallest speed-up measured over the smallest claimed."""
    claimed = paper.value("speedup", "lowest speed-up on long sequences")
    return [exactly("lowest measured over lowest claimed", float(paper.speedup()["value"].min()) / claimed)]


def sequences_a_cell(frame: pd.DataFrame) -> list[Estimate]:
    """Printed time x throughput / N: the sequences that each printed time stands for."""
    rates = paper.throughput().set_index(["model", "length"])["value"]
    times = paper.published("training_time").astype({"length": int})
    cells = zip(times["model"], times["length"], times["value"], strict=True)
    return [exactly(f"{model}, N={n}", time * float(rates[model, n]) / n) for model, n, time in cells]


def time_exponent(frame: pd.DataFrame) -> list[Estimate]:
    """Exponent of the pointer's time from N=1024 to N=2048 in the paper's own table."""
    times = paper.training_time().set_index(["model", "length"])["value"]
    return [
        exactly("pointer, N=1024 to 2048", math.log2(float(times["pointer", 2048]) / float(times["pointer", 1024])))
    ]


def uniform_utilisation(frame: pd.DataFrame) -> list[Estimate]:
    """Share of positions that a pointer stuck at the middle of 512 positions leaves, in percent."""
    return [exactly("positions not pointed at themselves, %", 100 * 511 / 512)]


def uniform_hop(frame: pd.DataFrame) -> list[Estimate]:
    """Mean distance of 512 positions to the one that such a pointer points at."""
    return [exactly("mean of |i - 255|, tokens", sum(abs(i - 255) for i in range(512)) / 512)]


_ALL = (
    copy_claims_apart,
    copy_low_is_guessing,
    copy_low_fits_its_loss,
    loss_of_guessing,
    copy_table_decides,
    copy_table_difference,
    operations_ratio,
    range_over_cells,
    slowest_cell,
    sequences_a_cell,
    time_exponent,
    uniform_utilisation,
    uniform_hop,
)
ARITHMETIC: dict[str, Callable[[pd.DataFrame], list[Estimate]]] = {function.__name__: function for function in _ALL}
