"""The estimates: one long table between rows and everything that a reader sees. No number is
computed elsewhere.

`python -m workflow.report estimates --rows results/rows.parquet --out results` writes
`estimates.parquet` and `estimates.csv`, one line a number, and `reference_estimates.parquet` of the
rows that the repository keeps. The columns of KEY together name a line and never repeat:

    quantity, unit      what was estimated; QUANTITIES has the estimator of what rows sample
    experiment, task    where it was measured, and what was learned ("" where nothing was)
    model, variant      variant: changed settings, `candidates=offsets+content, k=32`
    against             the model of a ratio's other side
    phase               "training" or "inference" of costs
    machine, device, dtype, threads, trunk, position (the positional encoding), tokens (the
    training budget), learning_rate, length N, batch, symbols V, data (hash of the text), layer
    axis, x             what the numbers of an experiment lie along, "distance", and where on it

and then

    value, low, high    the number and its 97.5% interval; of throughput and times the steps' band
    least, most         the smallest and the largest of the runs (repeats, seeds, pairs)
    n, runs             how many runs have the value, and how many finished
    status, reason      "ok" where any run finished, else how they ended; reason also warns
    doubt               why a value that is there decides nothing; "" where it may
    values              the runs' values, a JSON list with null where a run has none
    code, method        hashes of the model's source; how a peak was taken
    rows                the row files, those of a pair's other side included, parted by "; "

Text that does not apply is "", a number that does not is missing. Select with `select`:

    select(estimates, "speedup", phase="training", against="transformer", model="pointer")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.cell import Trunk
from workflow.bench.sources import REFERENCE
from workflow.report.estimates import learning, timing
from workflow.report.estimates.runs import (
    ESTIMATE,
    KEY,
    NO_PAIR,
    PLACE,
    SEPARATOR,
    WHOLE_KEYS,
    combine,
    describe,
    from_json,
    largest_budget,
    prepare,
)
from workflow.report.frame import load as load_rows
from workflow.report.frame import save, tidy

__all__ = [
    "ESTIMATE", "KEY", "NAMES", "NO_PAIR", "PLACE", "QUANTITIES", "SEPARATOR",
    "WHOLE_KEYS", "WORK", "build", "describe", "from_json", "largest_budget", "select",
]  # fmt: skip

QUANTITIES = timing.QUANTITIES | learning.QUANTITIES
NAMES = (*QUANTITIES, *timing.DERIVED, *learning.DERIVED)  # of all quantities
WORK = timing.WORK
ANY = object()  # every quantity
COMPARED = ("pointer-formula", "pointer", "transformer", "transformer-unfused")
NUMBERS = ("learning_rate", "value", "low", "high", "least", "most")
TYPES = (
    dict.fromkeys(ESTIMATE, "str")
    | dict.fromkeys(WHOLE_KEYS, "Int64")
    | dict.fromkeys(("n", "runs"), "int64")
    | dict.fromkeys(NUMBERS, "float64")
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Return all estimates of a frame of rows, sorted by KEY."""
    runs = prepare(frame)
    timed = timing.sessions(runs)
    twins = timing.twins(timed)
    own = timing.own(timed)
    samples = _stack([*timing.samples(runs, timed, twins), *learning.samples(runs, own)])
    sampled = combine(samples, QUANTITIES).astype(TYPES)
    parts = [sampled, twins, timing.exponents(samples)]
    parts += [*timing.derived(sampled), *learning.derived(sampled)]
    return _stack(parts).astype(TYPES).sort_values(KEY, ignore_index=True)


def _stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables[:1], ignore_index=True)


def select(estimates: pd.DataFrame, quantity: object = ANY, **keys: object) -> pd.DataFrame:
    """Return estimates of a quantity whose columns have the values of `keys`, or one of a list."""
    for column, value in {"quantity": quantity, **keys}.items():
        if value is not ANY:
            values = value if isinstance(value, list | tuple | set) else [value]
            estimates = estimates[estimates[column].isin(values)]
    return estimates


def of_reference() -> pd.DataFrame:
    """Return what the repository keeps of costs and copying on the paper's trunk, of machines
    `reference: ...`."""
    rows = load_rows(REFERENCE) if REFERENCE.is_dir() else tidy([])
    chosen = rows["experiment"].isin(["efficiency", "copy"]) & rows["model"].isin(COMPARED)
    chosen &= rows["trunk"] == str(Trunk())
    kept = largest_budget(build(rows[chosen].reset_index(drop=True)))
    names = ("reference: " + kept["machine"]).str.removesuffix(": ")
    return kept.assign(machine=names)


def write(frame: pd.DataFrame, out: Path) -> list[Path]:
    """Write `estimates.parquet` and `.csv` of a frame of rows, and `reference_estimates.parquet`;
    return the files."""
    files = save(build(frame), out / "estimates.parquet")
    beside = out / "reference_estimates.parquet"
    of_reference().to_parquet(beside, index=False)
    return [*files, beside]


def load(path: Path) -> pd.DataFrame:
    """Return the estimates that `write` wrote. Raises InputError where there are none."""
    try:
        return pd.read_parquet(path).astype(TYPES)
    except (OSError, ValueError) as error:  # those of pyarrow are both
        accepted = "an estimates.parquet made by `python -m workflow.report estimates`"
        raise InputError.about("--estimates", str(path), accepted, "the command line") from error
