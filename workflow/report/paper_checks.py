"""What follows from the paper's own numbers by arithmetic: the cells of its contradictions, none of
them asserted.

A check takes the estimates and returns cells. `config/claims.yaml` names it and the rule that
judges its cells."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from workflow.report import intervals, paper
from workflow.report.estimates import select
from workflow.report.rules import Cell, NotTestable, exactly

Check = Callable[[pd.DataFrame], list[Cell]]
LOW = ("lowest copy accuracy from 512 to 2048", "highest copy accuracy from 512 to 2048")
SCORED = 800  # symbols a cell that explain the copy table: all of its values are multiples of 1/800
CHECKS: dict[str, Check] = {}  # by the name of the function


def _check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def _chance(estimates: pd.DataFrame) -> float:
    """Return the share that guessing gets on our copy task; raise NotTestable without copy rows."""
    levels = select(estimates, "chance", experiment="copy")["least"].dropna()
    if levels.empty:
        raise NotTestable("no copy row gives the vocabulary")
    return float(levels.iloc[0])


def _right(percent: float) -> int:
    """Return how many of SCORED symbols are right."""
    return round(percent * SCORED / 100)


def _share(label: str, percent: float, level: float) -> Cell:
    """Return a share with Wilson's interval at SCORED symbols, beside a level."""
    return Cell(label, *intervals.wilson(_right(percent), SCORED), exact=True, paper=level)


@_check
def copy_claims_apart(estimates: pd.DataFrame) -> list[Cell]:
    """Return how far copy-95's lowest accuracy lies above copy-low's highest, in points."""
    least = paper.value("copy_accuracy", "lowest copy accuracy at every distance to 2048")
    return [exactly("copy-95 less copy-low, points", least - paper.value("copy_accuracy", LOW[1]))]


@_check
def copy_low_is_guessing(estimates: pd.DataFrame) -> list[Cell]:
    """Return copy-low's two ends at 800 symbols, beside the chance level of our vocabulary."""
    chance = _chance(estimates)
    return [_share(name, paper.value("copy_accuracy", name), chance) for name in LOW]


@_check
def copy_low_fits_its_loss(estimates: pd.DataFrame) -> list[Cell]:
    """Return the same ends beside exp(-loss) of the paper's last loss: guessing, by its numbers."""
    guess = math.exp(-paper.value("copy_loss", "last training loss"))
    return [_share(name, paper.value("copy_accuracy", name), guess) for name in LOW]


@_check
def loss_of_guessing(estimates: pd.DataFrame) -> list[Cell]:
    """Return ln V, beside the last loss that the paper prints."""
    chance, last = _chance(estimates), paper.value("copy_loss", "last training loss")
    return [exactly(f"ln {round(1 / chance)}, nats", -math.log(chance), last)]


def _at_2048() -> tuple[float, float]:
    """Return pointer's and Transformer's accuracy at D=2048 in the paper's table, in percent."""
    table = paper.published("copy_accuracy")
    values = table[table["distance"] == 2048].set_index("model")["value"]
    return float(values[paper.MODEL]), float(values["transformer"])


@_check
def copy_table_decides(estimates: pd.DataFrame) -> list[Cell]:
    """Return the pointer's accuracy at 2048 at 800 symbols, beside the 95% it is to exceed."""
    return [_share("pointer at D=2048", _at_2048()[0], 0.95)]


@_check
def copy_table_difference(estimates: pd.DataFrame) -> list[Cell]:
    """Return pointer less Transformer at 2048 (Newcombe, 800 symbols each), beside 0."""
    ours, theirs = map(_right, _at_2048())
    interval = intervals.difference(ours, SCORED, theirs, SCORED)
    return [Cell("pointer less transformer at D=2048", *interval, exact=True, paper=0.0)]


@_check
def operations_ratio(estimates: pd.DataFrame) -> list[Cell]:
    """Return the claimed reduction over N^2 d / (N d) = N at the claim's N."""
    table = paper.published("operations")
    claimed = table[table["quantity"] == "reduction of operations"].iloc[0]
    ratio = float(claimed["value"]) / int(claimed["length"])
    return [exactly(f"claimed over computed, N={claimed['length']}", ratio)]


@_check
def range_over_cells(estimates: pd.DataFrame) -> list[Cell]:
    """Return the largest speed-up claimed over the largest measured."""
    claimed = paper.value("speedup", "highest speed-up on long sequences")
    measured = float(paper.speedup()["value"].max())
    return [exactly("highest claimed over highest measured", claimed / measured)]


@_check
def slowest_cell(estimates: pd.DataFrame) -> list[Cell]:
    """Return the smallest speed-up measured over the smallest claimed."""
    claimed = paper.value("speedup", "lowest speed-up on long sequences")
    measured = float(paper.speedup()["value"].min())
    return [exactly("lowest measured over lowest claimed", measured / claimed)]


@_check
def sequences_a_cell(estimates: pd.DataFrame) -> list[Cell]:
    """Return printed time x throughput / N: the sequences that each printed time stands for."""
    times, rates = paper.published("training_time"), paper.throughput()
    cells = []
    for _, time in times.merge(rates, on=["model", "length"], suffixes=("", "_rate")).iterrows():
        sequences = time["value"] * time["value_rate"] / time["length"]
        cells.append(exactly(f"{time['model']}, N={time['length']}", sequences))
    return cells


@_check
def time_exponent(estimates: pd.DataFrame) -> list[Cell]:
    """Return the exponent of the pointer's time from N=1024 to N=2048 in the paper's own table."""
    times = paper.training_time().set_index(["model", "length"])["value"]
    exponent = math.log2(times[paper.MODEL, 2048] / times[paper.MODEL, 1024])
    return [exactly("pointer, N=1024 to 2048", exponent)]


@_check
def uniform_utilisation(estimates: pd.DataFrame) -> list[Cell]:
    """Return the percentage of 512 positions that a pointer stuck at their middle leaves."""
    return [exactly("positions not pointed at themselves, %", 100 * 511 / 512)]


@_check
def uniform_hop(estimates: pd.DataFrame) -> list[Cell]:
    """Return the mean distance of 512 positions to the one that such a pointer points at."""
    return [exactly("mean of |i - 255|, tokens", sum(abs(i - 255) for i in range(512)) / 512)]
