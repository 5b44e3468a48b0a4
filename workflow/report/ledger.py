"""The ledger `config/claims.yaml`: readings of the paper's model, claims, the tests of each, and
the cells that tests select. A claim is judged once for each reading that it names.

A test names a quantity of the table of estimates, values of key columns, and the positions `at` on
the axis; or one of the checks of workflow.report.paper_checks. Nothing is mixed: each machine,
device, dtype and number of threads gives cells of its own. Of several budgets the largest
counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import (
    Field,
    GetPydanticSchema,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import core_schema

from workflow.bench import experiments, registry
from workflow.bench.cell import Trunk
from workflow.bench.validation import Closed, Flag, Number, Whole, input_error, read_yaml
from workflow.report import layout, models, paper
from workflow.report.estimates import (
    KEY,
    NAMES,
    NO_PAIR,
    PLACE,
    QUANTITIES,
    WORK,
    largest_budget,
    select,
)
from workflow.report.estimates.learning import WHOLE
from workflow.report.paper_checks import CHECKS
from workflow.report.rules import KINDS, Cell, NotTestable, Rule, missing

COMMAND = "snakemake --cores 4 paper"
SOURCES = {
    "S": "the summary of arXiv 2508.02631v1, section",
    "A": "the author's article of 7 August 2025",
    "R": "the author's repository at commit",
}
PUBLISHED = {  # quantity -> the paper's figures: model, x, value
    "speedup": paper.speedup,
    "throughput": paper.throughput,
    "accuracy": paper.copy_accuracy,
}
# Key columns that a test may name.
CHOOSES = ("experiment", "task", "model", "variant", "against", "phase", "trunk")
UNNAMED = ("speedup", "accuracy")  # quantities that a label need not name
APART = ("experiment", "learning_rate", "position", "batch", "symbols", "data")


def one_of(names: Iterable[str]) -> GetPydanticSchema:
    """Return the annotation of a text that must be one of some names."""
    return GetPydanticSchema(lambda source, handler: core_schema.literal_schema(list(names)))


Model = Annotated[str, one_of(registry.names())]
Position = Annotated[Whole, Field(ge=1, le=2**40)]
Words = Annotated[str, Strict()]


class Statement(Closed):
    """One measurable statement of a claim: the cells that it is about, and the rule that they must
    satisfy."""

    quantity: Annotated[str, one_of(NAMES)] | None = None
    check: Annotated[str, one_of(CHECKS)] | None = None
    experiment: Annotated[str, one_of(experiments.EXPERIMENTS)] | None = None
    task: Annotated[str, one_of(experiments.TASKS)] | None = None
    model: Model | None = Field(None, description="left out: that of the reading")
    trunk: Words = Field(str(Trunk()), description="layers x width x heads; the paper's")
    variant: Words = Field("", description="changed settings, such as candidates=offsets+content")
    against: Model | None = Field(None, description="the model of a ratio's other side")
    phase: Literal["training", "inference"] | None = None
    at: list[Position] = Field(
        [], description="positions on the axis that must be there; left out: all that were run"
    )
    # Least and most: whatever else was run between them is judged too.
    span: Annotated[list[Position], Field(min_length=2, max_length=2)] | None = None
    beside: Literal["paper", "counting"] = Field(
        "paper", description="the level where no value is given"
    )
    rule: Annotated[str, one_of(KINDS)]
    value: Number | None = Field(
        None, description="what the rule compares with; left out: the level of the cell"
    )
    upper: Number | None = Field(None, description="upper end, for between")
    margin: Annotated[Number, Field(ge=0)] = Field(
        0.0, description="slack, a fraction of the value"
    )
    direction: Number | None = Field(None, description="what must hold for partially")

    @model_validator(mode="after")
    def _complete(self) -> Statement:
        if (self.quantity is None) == (self.check is None):
            raise ValueError("a quantity or a check, and not both")
        has_level = self.beside == "counting" or self.quantity in PUBLISHED
        needs_value = self.quantity is not None and not has_level
        if needs_value and self.value is None:
            raise ValueError("a value, unless the paper publishes the quantity")
        return self

    @property
    def judged_by(self) -> Rule:
        """Return the rule with its numbers."""
        return Rule(self.rule, self.value, self.margin, self.direction, self.upper)

    @property
    def words(self) -> str:
        """Return the quantity in words."""
        return str(self.quantity).replace("_", " ")

    @property
    def command(self) -> str:
        """Return the command that prints the rows behind its cells; empty for a check."""
        if not self.quantity:
            return ""
        chosen = {key: getattr(self, key) for key in CHOOSES if getattr(self, key)}
        options = [f"--{key} {value}" for key, value in chosen.items()]
        return " ".join(["pointer-bench why", self.quantity, *options])

    def cells(self, estimates: pd.DataFrame) -> tuple[list[Cell], list[str]]:
        """Return the cells that the test is about, and the positions that are none, as the other
        side of the ratio failed there; raise NotTestable where there are no cells."""
        if self.check:
            return CHECKS[self.check](estimates), []
        chosen = _chosen(self, estimates)
        lines = chosen[chosen["status"] == NO_PAIR]
        places = zip(lines["axis"], lines["x"], lines["reason"], strict=True)
        none = [f"no cell at {name_position(axis, x)}: {reason}" for axis, x, reason in places]
        return list(_cells(self, chosen)), none


class Reading(Closed):
    """A model that the paper's words may mean, or what it takes to reach its figures."""

    model: Model
    takes: Words = Field(
        "", description="what it has that the paper does not describe; then a claim is attainable"
    )

    @property
    def title(self) -> str:
        """What it is, for tables."""
        return models.title(self.model)

    @property
    def heading(self) -> str:
        """The same with what it takes, to stand above its verdicts."""
        return f"{self.title}, with {self.takes}" if self.takes else self.title


class Claim(Closed):
    """A claim of the paper."""

    id: Annotated[Words, Field(pattern="^[a-z0-9-]+$", description="short name in a-z, 0-9 and -")]
    claim: Words = Field(description="the claim, without quoting")
    short: Words = Field("", description="the claim in a few words, said aloud")
    figure: Words = Field(description="the paper's figure, as it is shown")
    source: Words = Field("", description="where it stands")
    readings: list[Words] = Field([], description="the readings that it is judged for")
    tests: list[Statement]
    contradiction: Flag = Field(
        False, description="whether it states a contradiction inside the paper"
    )
    stands_for: Words = Field(
        "", description="the verdict where every test holds, if a special one"
    )
    reason: Words = Field("", description="why it cannot be tested")
    explained: Words = Field(
        "", description="a contradiction in two sentences, for the results page"
    )
    command: Words = Field(COMMAND, description="what makes its rows again")

    @property
    def read_in(self) -> str:
        """Return the source in words."""
        return re.sub(r"\b[SAR]\b", lambda letter: SOURCES[letter[0]], self.source)


class Ledger(Closed):
    """A ledger file."""

    readings: dict[str, Reading]
    claims: list[Claim]

    @model_validator(mode="after")
    def _complete(self) -> Ledger:
        ids = [claim.id for claim in self.claims]
        for claim in self.claims:
            if ids.count(claim.id) > 1:
                raise ValueError(f"an id that no other claim has, not {claim.id!r} again")
            for name in claim.readings:
                if name not in self.readings:
                    raise ValueError(f"one of {', '.join(self.readings)} in {claim.id}")
            for test in claim.tests:
                if test.quantity and test.model is None and not claim.readings:
                    raise ValueError(f"a model or readings in {claim.id}")
        return self

    def judged(self) -> Iterator[tuple[Claim, str]]:
        """Yield each claim for each reading that it is judged for, its tests with the reading's
        model, and the reading's name ("" for none)."""
        for claim in self.claims:
            for name in claim.readings or [""]:
                own = {"model": self.readings[name].model} if name else {}
                tests = [
                    test if test.model else test.model_copy(update=own) for test in claim.tests
                ]
                yield claim.model_copy(update={"tests": tests}), name


def read(path: Path) -> Ledger:
    """Return the ledger; raise InputError that names the file, the key and what is accepted."""
    try:
        return Ledger.model_validate(read_yaml(path, "ledger"))
    except ValidationError as error:
        raise input_error(error, str(path), "ledger key") from error


def full_precision(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return, of each machine's device and experiment, the float32 estimates where it has any, else
    all.

    The paper names no precision, and a few cells in bfloat16 are no second place at which a claim
    about all lengths could be judged."""
    full = estimates["dtype"] == "float32"
    groups = [estimates[key] for key in ("machine", "device", "experiment")]
    any_full = full.groupby(groups).transform("any")
    return estimates[full | ~any_full]


def _cells(test: Statement, chosen: pd.DataFrame) -> Iterator[Cell]:
    """Yield a cell for each place and position of the chosen estimates; a wanted position that was
    not run gives an open cell.

    A place where nothing finished, such as an absent device, has no say.
    """
    places = [chosen[key] for key in PLACE]
    finished = chosen["status"].eq("ok").groupby(places, dropna=False).transform("any")
    if not finished.any():
        name = f"no {test.words} of {test.model}"
        name += f" over {test.against}" if test.against else ""
        name += f" in {test.experiment or test.task}" if test.experiment or test.task else ""
        raise NotTestable(name, ", ".join(sorted(set(chosen["reason"]) - {""})))
    by_place = chosen[finished].groupby(PLACE, dropna=False)
    everywhere = set(chosen.loc[finished, "x"])
    for (machine, device, dtype, threads), lines in by_place:
        place = f"{machine}, {layout.device(device, threads)}, {dtype}" if machine else ""
        where = place if len(by_place) > 1 else ""
        # The wanted positions, and those that were run within the span; all where none is wanted.
        least, most = test.span or (1, 0)
        ran = {x for x in lines["x"] if not test.at or least <= x <= most}
        for x in sorted({*test.at, *ran}):
            here = lines[lines["x"] == x]
            if here.empty and x not in everywhere:  # run at another place: not planned at this one
                yield missing(
                    _label(test, lines.iloc[0].drop("tokens"), x, where), "not run", place
                )
            for _, line in here[here["status"] != NO_PAIR].iterrows():  # that says nothing of ours
                label = _label(test, line, x, *_differences(line, here), where)
                yield _cell(line, label, place)


def _chosen(test: Statement, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates that a test is about, with the level of each in `paper`; x is 0 where
    there is no axis."""
    keys = {key: getattr(test, key) for key in CHOOSES if getattr(test, key) is not None}
    chosen = select(estimates, str(test.quantity))
    chosen = select(full_precision(chosen), str(test.quantity), **keys)
    chosen = largest_budget(chosen.fillna({"x": 0}))
    if str(test.quantity).startswith(WORK):  # counted work is the same on every machine, so once
        same = [key for key in KEY if key not in PLACE]
        chosen = chosen[chosen["status"] == "ok"].drop_duplicates(same)
        chosen = chosen.assign(machine="", device="", dtype="", threads=0)
    used = select(estimates, "tokens_used")[[*KEY, "value"]].rename(columns={"value": "used"})
    same = [key for key in KEY if key not in ("quantity", "against")]
    chosen = chosen.merge(used.drop(columns=["quantity", "against"]), on=same, how="left")
    if test.beside == "counting":
        levels = select(estimates, "counting")[[*KEY, "value"]].drop(columns="quantity")
    elif test.quantity in PUBLISHED:
        levels = PUBLISHED[test.quantity]()[["model", "x", "value"]]
        if test.against or test.model not in set(levels["model"]):
            levels = levels[levels["model"] == paper.MODEL].assign(model=test.model)
    else:
        return chosen.assign(paper=math.nan)
    return chosen.merge(levels.rename(columns={"value": "paper"}), how="left")


def _cell(line: pd.Series, label: str, place: str) -> Cell:
    counted = line["quantity"].startswith(WORK)
    bounds = line["low"], line["high"]
    if counted:
        bounds = line["value"], line["value"]
    elif line["quantity"] in QUANTITIES and QUANTITIES[line["quantity"]].estimator == "most":
        bounds = line["least"], line["most"]
    return Cell(
        label, line["value"], *bounds, line["n"], counted,
        paper=None if pd.isna(line["paper"]) else float(line["paper"]),
        open_because=line["doubt"] if pd.notna(line["value"]) else line["reason"] or line["status"],
        place=place, rows=line["rows"], unit=line["unit"],
    )  # fmt: skip


def _label(test: Statement, line: pd.Series, x: int, *further: str) -> str:
    """Return what tells a cell of a claim from the others, such as `over transformer, N=2048`."""
    of = f"over {test.against}" if test.against else layout.named(str(test.model), test.variant)
    quantity = "" if test.quantity in UNNAMED else test.words
    task = "" if line["task"] == "copy" else line["task"]
    position = name_position(line["axis"], x) if x else ""
    # What was not learned was not learned in this budget.
    budget = f"{line['tokens']:,} tokens" if pd.notna(line.get("tokens")) else ""
    if budget and line["used"] < WHOLE * line["tokens"]:
        budget = f"{line['used']:,.0f} of {budget}"
    return ", ".join(part for part in (of, quantity, task, position, budget, *further) if part)


def name_position(axis: str, x: int) -> str:
    """Return a position on an axis, such as N=2048 or pairs=16."""
    return f"{'D' if axis == 'distance' else 'N' if axis == 'length' else axis}={x}"


def _differences(line: pd.Series, here: pd.DataFrame) -> list[str]:
    """Return what tells an estimate from those of the same task and position, such as
    `tokens=100000`."""
    twins = here[here["task"] == line["task"]]
    return [f"{key}={line[key]}" for key in APART if twins[key].nunique(dropna=False) > 1]
