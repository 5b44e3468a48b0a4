"""What follows from the paper's own numbers by arithmetic: the cells of its contradictions, none of
them asserted. `config/claims.yaml` names a check and the rule that judges its cells."""

from __future__ import annotations

import math

import pandas as pd

from workflow.report import intervals, paper
from workflow.report.estimates import select
from workflow.report.rules import Cell, exactly

SCORED = 800  # symbols a cell that explain the copy table: all of its values are multiples of 1/800
NAMES = (
    "copy_claims_apart", "copy_low_is_guessing", "copy_low_fits_its_loss", "loss_of_guessing",
    "copy_table_decides", "copy_table_difference", "operations_ratio", "range_over_cells",
    "slowest_cell", "sequences_a_cell", "time_exponent", "uniform_utilisation", "uniform_hop",
)  # fmt: skip


def checks(estimates: pd.DataFrame) -> dict[str, list[Cell]]:
    """Return the cells of each check; those beside our guessing only where a copy row has it."""
    names = [f"{end} copy accuracy from 512 to 2048" for end in ("lowest", "highest")]
    low = {name: paper.value("copy_accuracy", name) for name in names}
    least = paper.value("copy_accuracy", "lowest copy accuracy at every distance to 2048")
    last_loss = paper.value("copy_loss", "last training loss")
    by_loss = math.exp(-last_loss)  # what guessing gives, by the paper's own loss
    copied = paper.published("copy_accuracy")
    at_2048 = copied[copied["distance"] == 2048].set_index("model")["value"]
    right = [round(at_2048[name] * SCORED / 100) for name in (paper.MODEL, "transformer")]
    difference = intervals.difference(right[0], SCORED, right[1], SCORED)

    table = paper.published("operations")
    work = table[table["quantity"] == "reduction of operations"].iloc[0]
    reduction = float(work["value"]) / int(work["length"])  # N^2 d / (N d) is N
    most, slowest = (
        paper.value("speedup", f"{end} speed-up on long sequences") for end in ("highest", "lowest")
    )
    measured = paper.speedup()["value"]
    times = paper.training_time().set_index(["model", "length"])["value"]
    exponent = math.log2(times[paper.MODEL, 2048] / times[paper.MODEL, 1024])
    sequences = []  # that each printed time stands for
    printed = paper.published("training_time")
    printed = printed.merge(paper.throughput(), on=["model", "length"], suffixes=("", "_rate"))
    for _, time in printed.iterrows():
        number = time["value"] * time["value_rate"] / time["length"]
        sequences.append(exactly(f"{time['model']}, N={time['length']}", number))

    # The public code's uniform average over 512 positions points at their middle.
    leaving, hop = 100 * 511 / 512, sum(abs(i - 255) for i in range(512)) / 512
    ratio, against = "highest claimed over highest measured", "lowest measured over lowest claimed"
    found = {
        "copy_claims_apart": [exactly("copy-95 less copy-low, points", least - low[names[1]])],
        "copy_low_fits_its_loss": [_share(name, low[name], by_loss) for name in names],
        "copy_table_decides": [_share("pointer at D=2048", at_2048[paper.MODEL], 0.95)],
        "copy_table_difference": [
            Cell("pointer less transformer at D=2048", *difference, exact=True, paper=0.0)
        ],
        "operations_ratio": [exactly(f"claimed over computed, N={work['length']}", reduction)],
        "range_over_cells": [exactly(ratio, most / float(measured.max()))],
        "slowest_cell": [exactly(against, float(measured.min()) / slowest)],
        "sequences_a_cell": sequences,
        "time_exponent": [exactly("pointer, N=1024 to 2048", exponent)],
        "uniform_utilisation": [exactly("positions not pointed at themselves, %", leaving)],
        "uniform_hop": [exactly("mean of |i - 255|, tokens", hop)],
    }
    levels = select(estimates, "chance", experiment="copy")["least"].dropna()
    if len(levels):
        chance = float(levels.iloc[0])
        cell = exactly(f"ln {round(1 / chance)}, nats", -math.log(chance), last_loss)
        found["loss_of_guessing"] = [cell]
        found["copy_low_is_guessing"] = [_share(name, low[name], chance) for name in names]
    return found


def _share(label: str, percent: float, level: float) -> Cell:
    """Return a share with Wilson's interval at SCORED symbols, beside a level."""
    right = round(percent * SCORED / 100)
    return Cell(label, *intervals.wilson(right, SCORED), exact=True, paper=level)
