"""Tables that say why a model learns: its settings changed one by one, the chain, and the same table on attention.

What the notes conclude follows from the rows by rule (`ablation_summary.effect`), never by hand.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from workflow.report import ablation_summary, intervals, summary
from workflow.report.drafting import Draft
from workflow.report.layout import UNKNOWN, Table, base, significant, whole

EFFECTS = {
    "never": "never within the budget",
    "some seeds": "in some seeds only",
    "later": "later by more than one look",
    "sooner": "sooner by more than one look",
    "same": "no difference that the looks resolve",
}
WITHOUT_CHAIN = "chain=False"
POINTER, SAME_TABLE = "pointer", "transformer-relative"
ALIKE = ["distance", "tokens_budget", *summary.PLACE]
FAIR = ("transformer", "transformer-rotary", SAME_TABLE, POINTER)


def ablation(frame: pd.DataFrame) -> Table:
    """Tokens until 95% and accuracy with one setting changed at a time."""
    found = ablation_summary.rows(frame, "ablation")
    title = "Ablation: copy by distance D with one setting changed"
    return _table("ablation", title, frame, found, *_effects(found))


def two_hop(frame: pd.DataFrame) -> Table:
    """The same at distances that one layer's pointer cannot reach."""
    found = ablation_summary.rows(frame, "two_hop")
    notes = (
        "Where all shared candidates are the nearest offsets, a layer points at most window - 1 tokens back, and six "
        "layers add up to at most 6 (window - 1).",
        "reach=32 holds the table to the same offsets where a layer has room for more of them.",
    )
    title = "Beyond one pointer's reach: copy by distance D"
    return _table("two_hop", title, frame, found, *notes, *_outcomes(found), *_chains(found))


def _table(name: str, title: str, frame: pd.DataFrame, found: pd.DataFrame, *conclusions: str) -> Table:
    cells, draft = ablation_summary.cells(found), Draft(frame["machine"])
    draft.add("tokens until 95%", cells, "distance", _until)
    draft.add("accuracy, %", cells, "distance", _accuracy)
    shared = ablation_summary.shared(frame, name)
    notes = (
        "Mean over the seeds that reached 95% of a held-out sequence, in brackets the least and the most of them; "
        f"accuracy over all seeds. {_looks(cells)}",
        f"All rows: {shared}." if shared else "",
        *conclusions,
    )
    return draft.table(name, title, cells, *filter(None, notes))


def _looks(cells: pd.DataFrame) -> str:
    """How finely the tokens are known, and the budget."""
    known = cells.dropna(subset="look_tokens").groupby("distance")["look_tokens"].max()
    if known.empty:
        return ""
    looks = ", ".join(f"{whole(tokens)} tokens (D={distance})" for distance, tokens in known.items())
    return f"Looked at every {looks}. Budget: {_budget(cells)} tokens."


def _budget(cells: pd.DataFrame) -> str:
    return " or ".join(whole(budget) for budget in sorted(cells["tokens_budget"].dropna().unique()))


def _until(record: Any) -> str:
    return _spread(record, "tokens_to_95", whole)


def _seconds(record: Any) -> str:
    return _spread(record, "seconds_to_95", significant)


def _spread(record: Any, column: str, show: Any) -> str:
    """Mean (least to most), and how many seeds where not all."""
    if record["solved"] == 0:
        return "never"
    least, most = record[f"{column}_least"], record[f"{column}_most"]
    between = f" ({show(least)} to {show(most)})" if most > least else ""
    return f"{show(record[column])}{between}" + (f", {_seeds(record)}" if record["solved"] < record["runs"] else "")


def _seeds(record: Any) -> str:
    return f"{record['solved']:.0f} of {record['runs']} seeds"


def _accuracy(record: Any) -> str:
    if pd.isna(record["accuracy"]):
        return UNKNOWN
    least, most = 100 * record["accuracy_least"], 100 * record["accuracy_most"]
    between = f" ({least:.2f} to {most:.2f})" if most > least else ""
    return f"{100 * record['accuracy']:.2f}{between}"


def _effects(found: pd.DataFrame) -> list[str]:
    """A sentence a distance and model: which settings decide, which only change the pace, which do nothing."""
    pooled = ablation_summary.cells(found, ["model", "distance"])
    ran = pooled[pooled["status"] == "ok"]
    sentences = []
    for (model, distance), group in ran.groupby([ran["model"].map(base), "distance"]):
        default = group[group["model"] == model]
        if default.empty or default["solved"].iloc[0] == 0:
            sentences.append(
                f"D={distance}: {model} with its defaults is not there or never reaches 95%: no comparison."
            )
        else:
            sentences.append(f"D={distance}: {_compared(default.iloc[0], group)}")
    return sentences


def _compared(default: Any, group: pd.DataFrame) -> str:
    named: dict[str, list[str]] = {effect: [] for effect in EFFECTS}
    changed = group[group["model"] != default["model"]]
    for _, cell in changed.sort_values("model", key=lambda names: names.map(ablation_summary.natural)).iterrows():
        effect = ablation_summary.effect(cell, default)
        factor = f" ({cell['tokens_to_95'] / default['tokens_to_95']:.2g}×)" if effect in ("later", "sooner") else ""
        named[effect].append(f"{_settings(cell['model'])}{factor}")
    fewest, most = group["runs"].min(), group["runs"].max()
    seeds = f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' if most > 1 else ''}"
    said = [f"{seeds} each, {default['model']} with its defaults: {_until(default)} tokens"]
    said += [f"{EFFECTS[effect]}: {', '.join(names)}" for effect, names in named.items() if names]
    return f"{'; '.join(said)}."


def _settings(name: str) -> str:
    """The changed settings in a variant's name."""
    return name.partition(" {")[2].removesuffix("}").replace(", ", " with ")


def _outcomes(found: pd.DataFrame) -> list[str]:
    """A sentence a distance: what each variant came to."""
    pooled = ablation_summary.cells(found, ["model", "distance"])
    ran = pooled[pooled["status"] == "ok"].sort_values("model", key=lambda names: names.map(ablation_summary.natural))
    return [
        f"D={distance}: " + "; ".join(f"{cell['model']}: {_outcome(cell)}" for _, cell in group.iterrows()) + "."
        for distance, group in ran.groupby("distance")
    ]


def _chains(found: pd.DataFrame) -> list[str]:
    """A sentence a distance: what the chain changes where all else is alike."""
    pooled = ablation_summary.cells(found, ["model", "distance"])
    ran = pooled[pooled["status"] == "ok"]
    sentences = []
    for distance, group in ran.groupby("distance"):
        cells = {str(cell["model"]): cell for _, cell in group.iterrows()}
        for name in sorted(name for name in cells if WITHOUT_CHAIN in name):
            chained, without = cells.get(_with_chain(name)), cells[name]
            if chained is not None:
                sentences.append(f"D={distance}, the chain beside {name}: {_chained(chained, without)}")
    return sentences


def _with_chain(name: str) -> str:
    model, _, settings = name.partition(" {")
    kept = [setting for setting in settings.removesuffix("}").split(", ") if setting != WITHOUT_CHAIN]
    return f"{model} {{{', '.join(kept)}}}" if kept else model


def _chained(chained: Any, without: Any) -> str:
    if chained["solved"] == without["solved"] == 0:
        return "neither reaches 95%, which says nothing of the chain."
    said = EFFECTS[ablation_summary.effect(chained, without)]
    least, most = (f"accuracy_{end}" for end in ("least", "most"))
    if chained[most] < without[least]:
        said += "; accuracy at the end lower in every seed"
    elif chained[least] > without[most]:
        said += "; accuracy at the end higher in every seed"
    return f"{said}."


def _outcome(cell: Any) -> str:
    return f"tokens until 95% {_until(cell)}, accuracy at the end {_accuracy(cell)}%"


def fairness(frame: pd.DataFrame) -> Table:
    """Tokens and time until 95% for attention that knows position in three ways, and for pointer."""
    found = ablation_summary.rows(frame, "fairness")
    draft, keys = Draft(frame["machine"]), [*ablation_summary.CELL, "position"]
    cells = ablation_summary.cells(found, keys)
    draft.add("tokens until 95%", cells, "distance", _until, "position")
    draft.add("seconds until 95%", cells, "distance", _seconds, "position")
    draft.add("training, tokens/s", cells, "distance", lambda r: whole(r["tokens_per_s"]), "position")
    draft.add("accuracy, %", cells, "distance", _accuracy, "position")
    notes = (
        f"{SAME_TABLE} has {POINTER}'s offset table and its update rule, on softmax attention over all positions.",
        "Seconds are of training alone, without the looks at held-out sequences; rows with fewer threads than the "
        f"machine has may have run beside others. {_looks(cells)}",
        *_brings(found),
    )
    return draft.table("fairness", "What position table and pointer bring, copy by distance D", cells, *notes)


def _brings(found: pd.DataFrame) -> list[str]:
    """The conclusion at the shortest distance where all of FAIR ran alike."""
    good = found[found["status"] == "ok"].drop_duplicates([*ALIKE, "model", "seed"])
    for _, group in good.groupby(ALIKE, dropna=False):
        if set(FAIR) <= set(group["model"]):
            return [_table_brings(group), _pointer_brings(group)]
    return ["No distance at which all four ran: no conclusion."]


def _table_brings(group: pd.DataFrame) -> str:
    """Attention with and without the table."""
    cells = ablation_summary.cells(group, ["model", "position"]).set_index("model")
    attentions = [(model, cells.loc[model]) for model in FAIR[:-1]]
    said = [f"{model} ({cell['position']}) {_until(cell)}" for model, cell in attentions]
    where = f"tokens until 95% at D={group['distance'].iloc[0]}, within {_budget(cells)}"
    return f"What the position table brings, {where}: {'; '.join(said)}."


def _pointer_brings(group: pd.DataFrame) -> str:
    """Pointer against attention with the same table: ratios of rows of the same seed."""
    rated = group.assign(rate=group["tokens_used"] / group["train_seconds"]).set_index("seed")
    ours, theirs = (rated[rated["model"] == model] for model in (POINTER, SAME_TABLE))
    wanted = {"tokens_to_95": "times the tokens", "seconds_to_95": "times the time", "rate": "times the tokens/s"}
    said = [f"{_ratio(ours[column] / theirs[column])} {unit}" for column, unit in wanted.items()]
    return (
        f"What the pointer brings beside the same table: {', '.join(said)} of {SAME_TABLE} (ratios of one seed each)."
    )


def _ratio(ratios: pd.Series[float]) -> str:
    """Geometric mean, with its interval where there are several seeds."""
    known = [float(value) for value in ratios.dropna()]
    if not known:
        return UNKNOWN
    found = intervals.ratio(known)
    spread = f" ({significant(found.low)} to {significant(found.high)})" if len(known) > 1 else ""
    return f"{significant(found.value)}{spread}"
