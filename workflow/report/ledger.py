"""The ledger `config/claims.yaml`: readings of the paper's model, claims, the tests of each, and
the cells that tests select. Nothing is mixed: each machine, device, dtype and number of threads
gives cells of its own. Of several budgets the largest counts."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, GetPydanticSchema, ValidationError, model_validator
from pydantic_core import core_schema

from workflow.bench import experiments, registry
from workflow.bench.cell import Trunk
from workflow.bench.validation import Closed, Flag, Whole, input_error, read_yaml
from workflow.report import layout, models, paper, paper_checks
from workflow.report.estimates import KEY, NAMES, NO_PAIR, PLACE, WORK, largest_budget, select
from workflow.report.estimates.learning import WHOLE
from workflow.report.rules import Cell, NotTestable, Rule

COMMAND = "snakemake --cores 4 paper"
SOURCES = {
    "S": "the summary of arXiv 2508.02631v1, section",
    "A": "the author's article of 7 August 2025",
    "R": "the author's repository at commit",
}
PUBLISHED = {  # quantity -> the paper's numbers: model, x, value
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


class Statement(Rule):
    """One measurable statement of a claim: the cells that it is about, under a rule."""

    quantity: Annotated[str, one_of(NAMES)] | None = None
    check: Annotated[str, one_of(paper_checks.NAMES)] | None = None
    experiment: Annotated[str, one_of(experiments.EXPERIMENTS)] | None = None
    task: Annotated[str, one_of(experiments.TASKS)] | None = None
    model: Model | None = Field(None, description="left out: that of the reading")
    trunk: str = Field(str(Trunk()), description="layers x width x heads; the paper's")
    variant: str = Field("", description="changed settings, such as candidates=offsets+content")
    against: Model | None = Field(None, description="the model of a ratio's other side")
    phase: Literal["training", "inference"] | None = None
    at: list[Position] = Field([], description="positions on the axis; left out: all that were run")
    # Least and most: whatever else was run between them is judged too.
    span: Annotated[list[Position], Field(min_length=2, max_length=2)] | None = None
    beside: Literal["paper", "counting"] = Field("paper", description="the level without a value")

    @model_validator(mode="after")
    def _complete(self) -> Statement:
        if (self.quantity is None) == (self.check is None):
            raise ValueError("a quantity or a check, and not both")
        has_level = self.beside == "counting" or self.quantity in PUBLISHED
        if self.quantity and not has_level and self.value is None:
            raise ValueError("a value, unless the paper publishes the quantity")
        return self

    @property
    def words(self) -> str:
        """Return the quantity in words."""
        return str(self.quantity).replace("_", " ")

    @property
    def command(self) -> str:
        """Return the command that prints the rows behind the cells of a quantity."""
        chosen = {key: getattr(self, key) for key in CHOOSES if getattr(self, key)}
        options = [f"--{key} {shlex.quote(value)}" for key, value in chosen.items()]
        return " ".join(["pointer-bench why", str(self.quantity), *options])

    def cells(self, estimates: pd.DataFrame) -> tuple[list[Cell], list[str]]:
        """Return the cells that the test is about, and where the other side of the ratio failed;
        raise NotTestable where there are none."""
        if self.check:
            found = paper_checks.checks(estimates)
            if self.check not in found:
                raise NotTestable("no copy row gives the vocabulary")
            return found[self.check], []
        chosen = _chosen(self, estimates)
        lines = chosen[chosen["status"] == NO_PAIR]
        places = zip(lines["axis"], lines["x"], lines["reason"], strict=True)
        none = [f"no cell at {name_position(axis, x)}: {reason}" for axis, x, reason in places]
        return list(_cells(self, chosen)), none

    def with_settings(self, variant: str, x: int) -> Statement:
        """Return the same of a changed model at one position, in whatever experiment it was run."""
        task = self.task or (experiments.info(self.experiment).task if self.experiment else None)
        changes = {"variant": variant, "at": [x], "span": None, "experiment": None, "task": task}
        return self.model_copy(update=changes)


class Reading(Closed):
    """A model that the paper's words may mean, or what it takes to reach its figures."""

    model: Model
    takes: str = Field("", description="what the paper does not describe; then `attainable`")
    open: list[str] = Field([], description="variants, one choice that the paper leaves open each")

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

    id: Annotated[str, Field(pattern="^[a-z0-9-]+$", description="short name in a-z, 0-9 and -")]
    claim: str = Field(description="the claim, without quoting")
    short: str = Field("", description="the claim in a few words, said aloud")
    figure: str = Field(description="the paper's figure, as it is shown")
    source: str = Field("", description="where it stands")
    readings: list[str] = Field([], description="the readings that it is judged for")
    tests: list[Statement]
    contradiction: Flag = Field(False, description="whether the paper contradicts itself")
    stands_for: str = Field("", description="a special verdict where every test holds")
    reason: str = Field("", description="why it cannot be tested")
    explained: str = Field("", description="a contradiction in two sentences, for readers")
    command: str = Field(COMMAND, description="what makes its rows again")

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
        """Yield each claim and reading ("": none), its tests with that reading's model."""
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


def _chosen(test: Statement, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates that a test is about, their level in `paper`, x 0 without an axis."""
    quantity = str(test.quantity)
    keys = {key: getattr(test, key) for key in CHOOSES if getattr(test, key) is not None}
    chosen = select(estimates, quantity)
    # The paper names no precision: of each machine's device and experiment the float32 estimates
    # count where it has any, as a few in bfloat16 are no second place to judge all lengths at.
    full = chosen["dtype"] == "float32"
    groups = [chosen[key] for key in ("machine", "device", "experiment")]
    chosen = chosen[full | ~full.groupby(groups).transform("any")]
    chosen = largest_budget(select(chosen, quantity, **keys).fillna({"x": 0}))
    if quantity.startswith(WORK):  # counted work is the same on every machine, so once
        same = [key for key in KEY if key not in PLACE]
        chosen = chosen[chosen["status"] == "ok"].drop_duplicates(same)
        chosen = chosen.assign(machine="", device="", dtype="", threads=0)
    same = [key for key in KEY if key not in ("quantity", "against")]
    used = select(estimates, "tokens_used")[[*same, "value"]].rename(columns={"value": "used"})
    chosen = chosen.merge(used, on=same, how="left")
    if test.beside == "counting":
        levels = select(estimates, "counting")[[*KEY, "value"]].drop(columns="quantity")
    elif quantity in PUBLISHED:
        levels = PUBLISHED[quantity]()[["model", "x", "value"]]
        if test.against or test.model not in set(levels["model"]):
            levels = levels[levels["model"] == paper.MODEL].assign(model=test.model)
    else:
        return chosen.assign(paper=math.nan)
    return chosen.merge(levels.rename(columns={"value": "paper"}), how="left")


def _cells(test: Statement, chosen: pd.DataFrame) -> Iterator[Cell]:
    """Yield a cell for each place and position; a wanted position that was not run gives an open
    cell. A place where nothing finished, such as an absent device, has no say."""
    places = [chosen[key] for key in PLACE]
    finished = chosen["status"].eq("ok").groupby(places, dropna=False).transform("any")
    if not finished.any():
        name = f"no {test.words} of {test.model}"
        name += f" over {test.against}" if test.against else ""
        name += f" in {test.experiment or test.task}" if test.experiment or test.task else ""
        reasons = ", ".join(sorted(set(chosen["reason"]) - {""}))
        raise NotTestable(f"{name}: {reasons}" if reasons else name)
    by_place = chosen[finished].groupby(PLACE, dropna=False)
    everywhere = set(chosen.loc[finished, "x"])
    machines = chosen.loc[finished, "machine"].nunique()
    for (machine, device, dtype, threads), lines in by_place:
        name = layout.short(str(machine))
        place = f"{name}, {layout.device(device, threads)}, {dtype}" if machine else ""
        where = place if len(by_place) > 1 else ""
        where = f"on {name}" if where and machines == len(by_place) else where
        # The wanted positions, and those that were run within the span; all where none is wanted.
        least, most = test.span or (1, 0)
        ran = {x for x in lines["x"] if not test.at or least <= x <= most}
        for x in sorted({*test.at, *ran}):
            here = lines[lines["x"] == x]
            if here.empty and x not in everywhere:  # run at another place: not planned at this one
                label = _label(test, lines.iloc[0].drop("tokens"), x, where)
                none = (math.nan, math.nan, math.nan, 0)
                yield Cell(label, *none, open_because="not run", place=place)
            for _, line in here[here["status"] != NO_PAIR].iterrows():  # that says nothing of ours
                # What tells it from the others of the same task and position.
                twins = here[here["task"] == line["task"]]
                apart = [key for key in APART if twins[key].nunique(dropna=False) > 1]
                label = _label(test, line, x, *(f"{key}={line[key]}" for key in apart), where)
                why = line["doubt"] if pd.notna(line["value"]) else line["reason"] or line["status"]
                paper_figure = None if pd.isna(line["paper"]) else float(line["paper"])
                yield Cell(
                    label, line["value"], line["low"], line["high"], line["n"],
                    line["quantity"].startswith(WORK), paper_figure, why, place,
                    line["rows"], line["unit"], x, name_position(line["axis"], x, test.quantity),
                )  # fmt: skip


def _label(test: Statement, line: pd.Series, x: int, *further: str) -> str:
    """Return what tells a cell of a claim from the others, such as `over transformer, N=2048`."""
    of = layout.named(str(test.model), test.variant)
    if test.against == test.model:
        of += " over it with the chain" if "chain=False" in test.variant else " over it as it is"
    elif test.against:
        of = f"over {test.against}"
    quantity = "" if test.quantity in UNNAMED else test.words
    task = "" if line["task"] == "copy" else line["task"]
    position = name_position(line["axis"], x, test.quantity)
    # What was not learned was not learned in this budget.
    budget = f"{line['tokens']:,} tokens" if pd.notna(line.get("tokens")) else ""
    if budget and line["used"] < WHOLE * line["tokens"]:
        budget = f"{line['used']:,.0f} of {budget}"
    return ", ".join(part for part in (of, quantity, task, position, budget, *further) if part)


def name_position(axis: str, x: int, quantity: str | None = None) -> str:
    """Return a position on an axis, such as N=2048 or pairs=16; of a growth both ends; "" for 0."""
    if not x:
        return ""
    name = {"distance": "D", "length": "N"}.get(axis, axis)
    return f"{name}={x // 2} to {x}" if str(quantity).endswith("growth") else f"{name}={x}"
