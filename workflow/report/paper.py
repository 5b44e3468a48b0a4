"""The paper's published numbers, `results/paper/<table>.csv`, and what follows by arithmetic.

Sources: S, a section-by-section summary of arXiv 2508.02631v1; A, the author's article announcing
the paper (Hugging Face community article `OzTianlu/pointer-intro`, 7 August 2025). Time x
throughput at N=2048 is 20 x 2048 tokens for both models, so throughput implies other times."""

from __future__ import annotations

import functools

import pandas as pd

from workflow.bench.sources import ROOT

FOLDER = ROOT / "results" / "paper"
SEQUENCES = 20  # in the paper's timed unit
PLACE = "paper (Apple Silicon)"
MODEL = "pointer-formula"  # the paper's own model, whose numbers stand beside the formula's
COLUMNS = ["claim", "quantity", "model", "length", "distance", "value", "unit", "source"]


@functools.cache
def published(table: str) -> pd.DataFrame:
    """Return the numbers of one CSV, not to be changed: COLUMNS, and x (N or D)."""
    numbers = pd.read_csv(FOLDER / f"{table}.csv", dtype={"length": "Int64", "distance": "Int64"})
    numbers["model"] = numbers["model"].replace("pointer", MODEL)
    return numbers[COLUMNS].assign(x=numbers["length"].fillna(numbers["distance"]))


def throughput() -> pd.DataFrame:
    """Return model, x (N), value (tokens/s) and source."""
    return published("throughput")


def training_time() -> pd.DataFrame:
    """Return model, x (N), value (seconds for 20 sequences) and source, printed or implied."""
    rates = throughput()
    seconds = SEQUENCES * rates["length"] / rates["value"]
    implied = rates.assign(value=seconds, source="implied: 20 N / throughput")
    return _prefer(published("training_time"), implied)


def speedup() -> pd.DataFrame:
    """Return model, x (N), value (ratio to the Transformer) and source, printed or implied."""
    rates = throughput().pivot(index="length", columns="model", values="value")
    ratio = (rates[MODEL] / rates["transformer"]).rename("value").reset_index()
    implied = ratio.assign(model=MODEL, source="implied: ratio of throughputs")
    return _prefer(published("speedup"), implied)


def copy_accuracy() -> pd.DataFrame:
    """Return model, x (D), value (a share) and source."""
    found = published("copy_accuracy").dropna(subset="distance")
    return found.assign(value=found["value"] / 100)


def _prefer(stated: pd.DataFrame, implied: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([stated.dropna(subset="length"), implied], ignore_index=True)
    both = both.drop_duplicates(["model", "length"])
    return both.sort_values(["model", "length"], ignore_index=True).assign(x=lambda t: t["length"])


def value(table: str, quantity: str) -> float:
    """Return a single published number."""
    frame = published(table)
    return float(frame.loc[frame["quantity"] == quantity, "value"].iloc[0])
