"""The notes below the tables. What they conclude follows from the estimates by rule, never by
hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from workflow.bench import experiments
from workflow.report import models
from workflow.report.estimates import KEY, PLACE, select
from workflow.report.layout import (
    UNKNOWN,
    Estimates,
    Machines,
    device,
    named,
    records,
    significant,
    until_range,
    whole,
    with_range,
)

RECALL = tuple(name for name in experiments.TASKS if name not in ("copy", "bytes"))
MOST_HOURS = 1  # between the rows of a pair before a note says so: a machine drifts
BY_CONTENT = "candidates=offsets+content"
AS_ATTENTION = "transformer-content"  # attention that compares queries and keys in the same way
POINTER, SAME_TABLE = "pointer", "transformer-relative"
FAIR = ("transformer", "transformer-rotary", SAME_TABLE, POINTER)
EFFECTS = {
    "never": "never within the budget",
    "some seeds": "in some seeds only",
    "later": "later by more than the evaluation interval",
    "sooner": "sooner by more than the evaluation interval",
    "same": "no difference larger than the evaluation interval",
}
CAVEATS = {  # task or model -> how to read its numbers
    "mqar": "On mqar, knowing which values a sequence has but not whose they are scores one over "
    "the pairs: no recall. "
    "Attention learns it in its authors' training (Zoology, arXiv 2312.04927), which is far "
    "longer than these budgets. "
    "Zoology has 8192 symbols, more than half of a model of this size, and 64 pairs in 512 tokens.",
    "khop": "On khop (4 symbols, N = 128) the current symbol alone gives the answer at 32%, 48%, "
    "27% and 31% of "
    "positions for k = 1 to 4.",
    "induction": "On induction one symbol a sequence carries loss, so training is noisy: a model "
    "that does not learn "
    "it can end below guessing.",
    "string-copy": "Accuracy on string-copy is of letters, each predicted after the true ones; "
    "its authors count whole "
    "strings. It is also scored on strings 2 and 4 times as long as any in training, sizes "
    "without tokens; learned "
    "absolute positions that late were never trained.",
    "listops": "listops is a classification at the expression's last token, by a causal model; at "
    "N = 2000 the first "
    "operator alone gives 36% of the answers.",
    "longformer": "At N up to 256 longformer, whose window is 256, computes what transformer does.",
}


# Tables of cost.


def speedup(estimates: Estimates, own: Estimates, machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    return [
        _apart(
            select(estimates, "hours_apart", against=own["against"].unique().tolist()), machines
        ),
        _versions(select(estimates, "throughput"), machines),
    ]


def _apart(hours: Estimates, machines: Machines) -> str:
    """Return where the two rows of a pair were not measured one after the other."""
    late = (
        hours[hours["value"] > MOST_HOURS].groupby(["machine", "x"])[["value"]].max().reset_index()
    )
    lines = [
        f"{machines.code(pair.machine)} at N={pair.x} ({pair.value:,.0f} h)"
        for pair in records(late)
    ]
    return (
        f"Rows of some pairs lie more than {MOST_HOURS} hour apart: {', '.join(lines)}."
        if lines
        else ""
    )


def _versions(rates: Estimates, machines: Machines) -> str:
    """Return which models were timed with different code on different machines."""
    timed = rates[rates["code"] != ""]
    code = timed.groupby(["model", "machine"])["code"].agg(
        lambda hashes: ", ".join(sorted(set(hashes)))
    )
    changed = models.ordered(
        str(name) for name, hashes in code.groupby("model") if hashes.nunique() > 1
    )
    where = sorted({machines.code(machine) for model, machine in code.index if model in changed})
    if not changed:
        return ""
    return f"Timed with different code versions on {' and '.join(where)}: {', '.join(changed)}."


def memory(_all: Estimates, own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    batches = own.dropna(subset=["batch", "value"]).drop_duplicates("x").sort_values("x")
    sizes = ", ".join(
        f"{batch} at N={n}" for batch, n in zip(batches["batch"], batches["x"], strict=True)
    )
    methods = " or ".join(sorted({method for method in own["method"] if method}))
    return [
        f"Sequences a step: {sizes}." if sizes else "",
        f"Peak by {methods}, less what the process held before." if methods else "",
    ]


# Tables of what was learned.


def copy_accuracy(estimates: Estimates, own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    levels = sorted(
        {
            f"{100 * level:.2f}%"
            for level in select(estimates, "chance", experiment="copy")["value"].dropna()
        }
    )
    budgets = [
        f"{whole(tokens)} tokens (D={', '.join(map(str, sorted(set(group['x']))))})"
        for tokens, group in own.dropna(subset=["tokens", "x"]).groupby("tokens")
    ]
    budget = f", {' and '.join(budgets)}," if budgets else ""
    powers = sorted(
        {int(d) for d in own.loc[own["model"] == "logsparse", "x"].dropna() if d & (d - 1) == 0}
    )
    distances = ", ".join(map(str, powers))
    one_step = "logsparse attends to positions a power of two back: "
    one_step += f"D={distances} is one step for it."
    return [
        f"Guessing gives {' or '.join(levels)}." if levels else "",
        f"Every model has the same token budget{budget} and may stop early at the accuracy that "
        "the config "
        "states: few optimiser steps, which do not show what a model would learn from more (see "
        "fairness).",
        one_step if powers else "",
    ]


def copy_loss(_all: Estimates, own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    guess = "; ".join(
        f"ln {v} = {math.log(v):.3f}" for v in sorted(own["symbols"].dropna().unique())
    )
    return [f"Guessing gives {guess}." if guess else ""]


def hops(estimates: Estimates, _own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    text = {"experiment": "interpretability", "task": "bytes"}
    bits, guess, tokens = (
        select(estimates, quantity, **text)
        for quantity in ("bits_per_byte", "bits_per_byte_guessing", "tokens_used")
    )
    if not bits["n"].any():
        return []
    return [
        f"Text: after {_range(tokens, whole)} tokens, at {_range(bits, significant)} bits a byte "
        "(by the frequency of "
        f"bytes {_range(guess, significant)}): hardly trained."
    ]


def _range(estimates: Estimates, show: Callable[[Any], str]) -> str:
    return " to ".join(
        dict.fromkeys([show(estimates["least"].min()), show(estimates["most"].max())])
    )


def recall(estimates: Estimates, own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    used = own[own["quantity"] == "tokens_used"]
    budgets = _by_task(used, used["tokens"], whole)
    steps = _by_task(used, used["tokens"] / (used["batch"] * used["length"]), whole)
    between = select(estimates, "evaluation_interval", experiment=list(RECALL))
    intervals = _by_task(between, between["value"], whole)
    chances = select(estimates, "chance", experiment=list(RECALL))
    guesses = _by_task(chances, chances["value"], lambda chance: f"{100 * chance:.2f}%")
    return [
        f"Budgets in tokens, the same for every model, which may stop early: {budgets}."
        if budgets
        else "",
        f"In optimiser steps: {steps}; so few show which models learn fastest, not which can "
        "learn it."
        if steps
        else "",
        "Tokens until 95%: at the first evaluation reaching 95%, for seeds whose final accuracy "
        "is also at least 95%; "
        f"tokens between evaluations: {intervals}."
        if intervals
        else "",
        f"The best constant guess gives: {guesses}." if guesses else "",
        *(text for name, text in CAVEATS.items() if name in {*own["task"], *own["model"]}),
        _behind(own[own["quantity"] == "accuracy"]),
    ]


def _by_task(estimates: Estimates, values: pd.Series, show: Callable[[float], str]) -> str:
    """Return the different values of each task; empty where there are none."""
    parts = []
    for task in RECALL:
        texts = dict.fromkeys(
            show(value) for value in sorted(values[estimates["task"] == task].dropna())
        )
        if texts:
            parts.append(f"{task} {' or '.join(texts)}")
    return "; ".join(parts)


def _behind(accuracies: Estimates) -> str:
    """Return where pointer by content ends below attention with the same comparison, by more than
    the intervals."""
    same = [*PLACE, "task", "tokens", "learning_rate", "length", "x"]
    ours = accuracies[(accuracies["model"] == POINTER) & (accuracies["variant"] == BY_CONTENT)]
    attention = accuracies[(accuracies["model"] == AS_ATTENTION) & (accuracies["variant"] == "")]
    pairs = ours.merge(attention, on=same, suffixes=("", "_attention"))
    pairs = pairs[pairs["high"] < pairs["low_attention"]]
    cells = [
        f"{pair.task} {pair.x} ({100 * pair.value:.1f}% against {100 * pair.value_attention:.1f}%)"
        for task in RECALL
        for pair in records(pairs[pairs["task"] == task].sort_values("x"))
    ]
    if not cells:
        return ""
    return (
        f"{named(POINTER, BY_CONTENT)} ends below {AS_ATTENTION}, attention with the same "
        "comparison, by more than the "
        f"intervals, on: {', '.join(cells)}."
    )


def bytes_(estimates: Estimates, own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    guesses = select(estimates, "bits_per_byte_guessing")["value"].dropna()
    levels = " or ".join(sorted({f"{bits:.2f}" for bits in guesses}))
    hashes = ", ".join(sorted({text for text in own["data"] if text}))
    return [
        f"Guessing by the frequency of bytes takes {levels} bits a byte." if levels else "",
        f"Text (hash): {hashes}; rows of different texts do not compare." if hashes else "",
        _without_context(own),
    ]


def _without_context(own: Estimates) -> str:
    """Return the models that are no better than `identity`, which mixes nothing, after as many
    tokens."""
    same = [key for key in KEY if key != "quantity"]
    used = select(own, "tokens_used")[[*same, "value"]].rename(columns={"value": "used"})
    bits = select(own, "bits_per_byte").merge(used, on=same)
    alike = [*PLACE, "data", "length", "used"]
    floor = bits[bits["model"] == "identity"]
    pairs = bits[bits["model"] != "identity"].merge(floor, on=alike, suffixes=("", "_floor"))
    above = pairs[pairs["value"] >= pairs["value_floor"]]
    order = models.ordered(above["model"])
    names = [
        named(model, variant)
        for model in order
        for variant in above.loc[above["model"] == model, "variant"]
    ]
    if not names:
        return ""
    return (
        f"{', '.join(dict.fromkeys(names))} do not do better than identity, which sees the last "
        "byte only: no context "
        "is used yet."
    )


# Tables of ablations.


def ablation(estimates: Estimates, _own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes of the table: which settings decide, which only change the pace, which do
    nothing."""
    cells = _cells(estimates, "ablation")
    texts = []
    for where, group in _by_distance(cells):
        for model, variants in group.groupby("model"):
            default = variants[variants["variant"] == ""]
            if default.empty or default["n"].iloc[0] == 0:
                texts.append(
                    f"{where}: {model} with its defaults was not run or never reaches 95%: no "
                    "comparison."
                )
            else:
                texts.append(f"{where}: {_compared(records(default)[0], variants)}")
    return [*_about_ablation(estimates, cells), *texts]


def two_hop(estimates: Estimates, _own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes of the table: what each variant reaches, and what the chain changes."""
    cells = _cells(estimates, "two_hop")
    outcomes, chains = [], []
    for where, group in _by_distance(cells):
        ordered = sorted(
            records(group), key=lambda cell: models.natural(named(cell.model, cell.variant))
        )
        outcomes.append(f"{where}: {'; '.join(_outcome(cell) for cell in ordered)}.")
        by_name = {(cell.model, cell.variant): cell for cell in ordered}
        for (model, variant), cell in by_name.items():
            settings = variant.split(", ")
            chained = by_name.get(
                (model, ", ".join(setting for setting in settings if setting != "chain=False"))
            )
            if "chain=False" in settings and chained is not None:
                chains.append(
                    f"{where}, the chain beside {named(model, variant)}: {_chained(chained, cell)}"
                )
    return [
        *_about_ablation(estimates, cells),
        *outcomes,
        *chains,
    ]


def _cells(estimates: Estimates, experiment: str) -> pd.DataFrame:
    """Return tokens_to_95 of an experiment beside accuracy, evaluation interval and factor, where
    any run finished."""
    same = [key for key in KEY if key not in ("quantity", "against")]
    cells = select(estimates, "tokens_to_95", experiment=experiment, status="ok")
    for quantity in ("accuracy", "evaluation_interval", "tokens_to_95_factor"):
        other = select(estimates, quantity, experiment=experiment)[
            [*same, "value", "least", "most"]
        ]
        cells = cells.merge(other, on=same, how="left", suffixes=("", f"_{quantity}"))
    return cells


def _by_distance(cells: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield the cells of each distance and place, with the place in words where there are
    several."""
    several = len(cells[PLACE].drop_duplicates()) > 1
    for (distance, *place), group in cells.groupby(["x", *PLACE], dropna=False):
        machine, name, dtype, threads = place
        yield (
            f"D={distance}" + (f", {machine}, {device(name, threads)}, {dtype}" if several else ""),
            group,
        )


def _about_ablation(estimates: Estimates, cells: pd.DataFrame) -> list[str]:
    shared = next((text for text in estimates.get("shared", ()) if text), "")
    return [
        _evaluations(cells),
        f"All rows: {shared}." if shared else "",
    ]


def _evaluations(cells: pd.DataFrame) -> str:
    """Return how finely the tokens are known, and the budget."""
    between = (
        cells.dropna(subset="value_evaluation_interval")
        .groupby("x")["value_evaluation_interval"]
        .max()
    )
    if between.empty:
        return ""
    intervals = ", ".join(
        f"{whole(tokens)} tokens (D={distance})" for distance, tokens in between.items()
    )
    return f"Evaluated every {intervals}. Budget: {_budget(cells)} tokens."


def _budget(cells: pd.DataFrame) -> str:
    return " or ".join(whole(tokens) for tokens in sorted(cells["tokens"].dropna().unique()))


def _compared(default: Any, variants: pd.DataFrame) -> str:
    effects: dict[str, list[str]] = {effect: [] for effect in EFFECTS}
    changed = [cell for cell in records(variants) if cell.variant]
    for cell in sorted(changed, key=lambda cell: models.natural(cell.variant)):
        effect = effect_of(cell, default)
        factor = (
            f" ({cell.value_tokens_to_95_factor:.2g}×)" if effect in ("later", "sooner") else ""
        )
        effects[effect].append(cell.variant.replace(", ", " with ") + factor)
    fewest, most = variants["runs"].min(), variants["runs"].max()
    seeds = (
        f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' if most > 1 else ''}"
    )
    parts = [f"{seeds} each, {default.model} with its defaults: {_until(default)} tokens"]
    parts += [
        f"{EFFECTS[effect]}: {', '.join(names)}" for effect, names in effects.items() if names
    ]
    return f"{'; '.join(parts)}."


def effect_of(cell: Any, default: Any) -> str:
    """Return what a variant does to the tokens until 95%: a difference within one evaluation
    interval is none."""
    if cell.n == 0:
        return "never"
    if cell.n < cell.runs:
        return "some seeds"
    difference = cell.value - default.value
    if abs(difference) <= max(cell.value_evaluation_interval, default.value_evaluation_interval):
        return "same"
    return "later" if difference > 0 else "sooner"


def _until(cell: Any) -> str:
    return until_range(whole)(cell)


def _outcome(cell: Any) -> str:
    accuracy = with_range(
        lambda share: f"{100 * share:.2f}",
        cell.value_accuracy,
        cell.least_accuracy,
        cell.most_accuracy,
    )
    model = named(cell.model, cell.variant)
    return f"{model}: tokens until 95% {_until(cell)}, accuracy at the end {accuracy}%"


def _chained(chained: Any, without: Any) -> str:
    if chained.n == without.n == 0:
        return "neither reaches 95%, which says nothing of the chain."
    text = EFFECTS[effect_of(chained, without)]
    if chained.most_accuracy < without.least_accuracy:
        text += "; accuracy at the end lower in every seed"
    elif chained.least_accuracy > without.most_accuracy:
        text += "; accuracy at the end higher in every seed"
    return f"{text}."


def fairness(estimates: Estimates, _own: Estimates, _machines: Machines) -> list[str]:
    """Return the notes that depend on the estimates."""
    cells = _cells(estimates, "fairness")
    return [_evaluations(cells), *_brings(estimates, cells[cells["variant"] == ""])]


def _brings(estimates: Estimates, cells: pd.DataFrame) -> list[str]:
    """Return the conclusion at the shortest distance where all of FAIR ran alike."""
    alike = ["x", "tokens", "learning_rate", *PLACE]
    for _, group in cells.groupby(alike, dropna=False):
        if set(FAIR) <= set(group["model"]):
            by_model = {cell.model: cell for cell in records(group)}
            attention = [
                f"{name} ({by_model[name].position}) {_until(by_model[name])}" for name in FAIR[:-1]
            ]
            distance = group["x"].iloc[0]
            ratios = estimates.merge(group[alike].drop_duplicates(), on=alike)
            ratios = ratios[
                (ratios["experiment"] == "fairness")
                & (ratios["model"] == POINTER)
                & (ratios["variant"] == "")
            ]
            return [
                f"What the position table brings, tokens until 95% at D={distance}, within "
                f"{_budget(group)}: "
                f"{'; '.join(attention)}.",
                f"What the pointer brings beside the same table: {_ratio(ratios, 'tokens_to_95')} "
                "times the tokens, "
                f"{_ratio(ratios, 'seconds_to_95')} times the time, "
                f"{_ratio(ratios, 'learning_throughput')} times the "
                f"tokens/s of {SAME_TABLE} (ratios of one seed each).",
            ]
    return ["No distance at which all four ran: no conclusion."]


def _ratio(ratios: Estimates, quantity: str) -> str:
    """Return the geometric mean, with its interval where there are several seeds."""
    chosen = select(ratios, f"{quantity}_ratio")
    if not chosen["n"].any():
        return UNKNOWN
    ratio = records(chosen)[0]
    spread = f" ({significant(ratio.low)} to {significant(ratio.high)})" if ratio.n > 1 else ""
    return f"{significant(ratio.value)}{spread}"
