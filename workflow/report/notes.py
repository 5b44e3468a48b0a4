"""The notes below the tables that follow from estimates. Each function takes all estimates and
those of its table; empty notes are left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from workflow.bench import tasks
from workflow.report import controls, models
from workflow.report.estimates import KEY, PLACE, select
from workflow.report.layout import RECALL, Estimates, named, records, short, significant, whole

POINTER = "pointer"
FASTER_THAN_WORK = 0.5  # by how much an exponent of time may lie above that of counted work
# Tokens back that all layers together see: layers x (window - 1), on the paper's trunk.
REACH = {"longformer": 6 * 255, "local": 6 * 63}
FLOOR = (
    "Noise floor, the step of a second instance over the first's in the same rounds, with its 99% "
    "interval: {}."
)
SHARE = f"Speed of {POINTER} as a share of the trunk alone (identity): {{}}."
BUDGETS = "Budgets in tokens, the same for every model, which may stop early: {}."
STEPS = "In optimiser steps: {}; so few show which models learn fastest, not which can learn it."
UNTIL = (
    "Tokens until 95%: at the first evaluation reaching 95%, for seeds whose final accuracy is "
    "also at least 95%; tokens between evaluations: {}."
)
NO_CONTEXT = (
    "{} do not do better than identity, which sees the last byte only: no context is used yet."
)
CAVEATS = {  # task or model -> how to read its numbers
    "mqar": "On mqar, knowing which values a sequence has but not whose they are scores one over "
    "the pairs: no recall. Attention learns it in its authors' training (Zoology, arXiv "
    "2312.04927). Zoology has 8192 symbols, more than half of a model of this size, and 64 pairs "
    "in 512 tokens.",
    "khop": "On khop (4 symbols, N = 128) the current symbol alone gives the answer at 32%, 48%, "
    "27% and 31% of positions for k = 1 to 4.",
    "induction": "On induction one symbol a sequence carries loss, so training is noisy: a model "
    "that does not learn it can end below guessing.",
    "string-copy": "Accuracy on string-copy is of letters, each predicted after the true ones; "
    "its authors count whole strings. It is also scored on strings 2 and 4 times as long as any in "
    "training, sizes without tokens; learned absolute positions that late were never trained.",
    "listops": "listops is a classification at the expression's last token, by a causal model; at "
    "N = 2000 the first operator alone gives 36% of the answers.",
    "longformer": "At N up to 256 longformer, whose window is 256, computes what transformer does.",
}


def _notes(texts: Mapping[str, str]) -> list[str]:
    """Return words with the text in their braces; nothing where there is no text."""
    return [words.format(text) if text else "" for words, text in texts.items()]


def timed(estimates: Estimates, _own: Estimates) -> list[str]:
    """Return how far two instances of one model differ, and the share of the trunk alone."""
    against = {"phase": "training", "against": "identity"}
    share = select(estimates, "speedup", model=POINTER, variant="", **against)
    floor = select(estimates, "twin", phase="training")
    return _notes({FLOOR: _by_place(floor), SHARE: _by_place(share)})


def _by_place(ratios: Estimates) -> str:
    """Return ratios with their intervals by length, those of several places or trunks apart."""
    texts = []
    places = ratios[ratios["value"].notna()].groupby([*PLACE, "trunk"], dropna=False)
    for (machine, device, dtype, _, trunk), group in places:
        cells = []
        for line in records(group.sort_values("x")):
            interval = f" ({line.low:.2f} to {line.high:.2f})" if pd.notna(line.low) else ""
            cells.append(f"{line.value:.2f}{interval} at N={line.x}")
        where = f" on {short(str(machine))}, {device}, {dtype}, {trunk}" if len(places) > 1 else ""
        texts.append(", ".join(cells) + where)
    return "; ".join(texts)


def speedup(estimates: Estimates, own: Estimates) -> list[str]:
    """Return the notes of times, and which models' code differs between machines."""
    rates = select(estimates, "throughput")
    rates = rates[rates["code"] != ""]
    versions = rates.groupby(["model", "variant"])["code"].nunique()
    changed = models.ordered(model for model, _ in versions.index[versions > 1])
    where = sorted(set(rates.loc[rates["model"].isin(changed), "machine"].map(short)))
    text = f"{' and '.join(where)}: {', '.join(changed)}" if changed else ""
    return [*timed(estimates, own), *_notes({"Timed with different code versions on {}.": text})]


def scaling(_all: Estimates, own: Estimates) -> list[str]:
    """Return the models whose time grows faster than their counted work, which misses some."""
    time = select(own, "time_exponent", phase="training")
    work = select(own, "flops_step_exponent")[["model", "variant", "value"]]
    pairs = time.merge(work, on=["model", "variant"], suffixes=("", "_counted"))
    texts = []
    for line in records(pairs[pairs["low"] > pairs["value_counted"] + FASTER_THAN_WORK]):
        exponents = f"{line.value:.2f} against {line.value_counted:.2f}"
        texts.append(f"{named(line.model, line.variant)} ({exponents})")
    return _notes({"Doubtful, as time grows faster than the counted work: {}.": ", ".join(texts)})


def memory(estimates: Estimates, own: Estimates) -> list[str]:
    """Return the batches, how peaks were taken, and what fused attention keeps beside pointer."""
    plain = select(estimates, "saved_bytes_per_token", variant="", dtype="float32")
    kept = plain.pivot_table(index="x", columns="model", values="value")
    kept = kept.reindex(columns=["transformer", POINTER]).dropna()
    batches = own.dropna(subset=["batch", "value"]).drop_duplicates("x").sort_values("x")
    sizes = ", ".join(f"{line.batch} at N={line.x}" for line in records(batches))
    methods = " or ".join(sorted({method for method in own["method"] if method}))
    notes = _notes(
        {"Sequences a step: {}.": sizes, "Peak by {}, less what the process held before.": methods}
    )
    if len(kept):
        times = kept["transformer"].iloc[-1] / kept[POINTER].iloc[-1]
        notes.append(
            f"Fused attention is linear in memory as well: at N={kept.index[-1]} transformer keeps "
            f"{times:.2f} times what {POINTER} does."
        )
    return notes


def copy_accuracy(estimates: Estimates, own: Estimates) -> list[str]:
    """Return the level of guessing, the budgets, and where LogSparse has it easy."""
    budgets, beyond = [], []
    for tokens, group in own.dropna(subset=["tokens", "x"]).groupby("tokens"):
        budgets.append(f"{whole(tokens)} tokens (D={_listed(group['x'])})")
    for model, tokens_back in REACH.items():
        at = _listed(own.loc[(own["model"] == model) & (own["x"] > tokens_back), "x"])
        if at:
            beyond.append(f"{model} at D={at} ({whole(tokens_back)} back)")
    far = own.loc[own["model"] == "logsparse", "x"].dropna()
    powers = _listed(d for d in far if d & (d - 1) == 0)
    levels = _values(select(estimates, "chance", experiment="copy")["value"], _percent)
    texts = {
        "Guessing gives {}.": levels,
        "Budgets: {}; a run may stop before, and more might teach more.": ", ".join(budgets),
        "Out of reach by construction: {}.": "; ".join(beyond),
        "logsparse attends to positions a power of two back: D={} is one step for it.": powers,
    }
    return _notes(texts)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def copy_loss(_all: Estimates, own: Estimates) -> list[str]:
    """Return the loss of guessing."""
    guesses = _values(own["symbols"], lambda symbols: f"ln {symbols} = {math.log(symbols):.3f}")
    return _notes({"Guessing gives {}.": guesses})


def hops(estimates: Estimates, _own: Estimates) -> list[str]:
    """Return how far the model was trained whose hops on text are shown."""
    text = {"experiment": "interpretability", "task": "bytes"}
    if not select(estimates, "bits_per_byte", **text)["n"].any():
        return []
    ranges = []
    for quantity in ("tokens_used", "bits_per_byte", "bits_per_byte_guessing"):
        show = whole if quantity == "tokens_used" else significant
        own = select(estimates, quantity, **text)
        ends = [show(own["least"].min()), show(own["most"].max())]
        ranges.append(" to ".join(dict.fromkeys(ends)))
    words = "Text: after {} tokens, at {} bits a byte (by the frequency of bytes {})."
    return [words.format(*ranges)]


def _values(values: pd.Series, show: Callable[[Any], str]) -> str:
    texts = dict.fromkeys(show(value) for value in sorted(values.dropna().unique()))
    return " or ".join(texts)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def recall(estimates: Estimates, own: Estimates) -> list[str]:
    """Return budgets, resolution and the level of guessing by task, and caveats of tasks."""
    own_tasks = [task for task in RECALL if task in set(own["task"])]

    def by_task(lines: Estimates, values: pd.Series, show: Callable[[Any], str]) -> str:
        texts = [(task, _values(values[lines["task"] == task], show)) for task in own_tasks]
        return "; ".join(f"{task} {text}" for task, text in texts if text)

    trained = own.dropna(subset=["tokens"])
    steps = trained["tokens"] // (trained["batch"] * trained["length"])
    between = select(estimates, "evaluation_interval", experiment=own_tasks)
    chances = select(estimates, "chance", experiment=own_tasks)
    texts = {
        BUDGETS: by_task(trained, trained["tokens"], whole),
        STEPS: by_task(trained, steps, whole),
        UNTIL: by_task(between, between["value"], whole),
        "The best constant guess gives: {}.": by_task(chances, chances["value"], _percent),
    }
    named_here = {*own["task"], *own["model"]}
    return [
        *_notes(texts),
        *(_beside_source(task, trained[trained["task"] == task]) for task in own_tasks),
        *(_not_above_identity(task, own[own["task"] == task]) for task in own_tasks),
        *(note for name, note in CAVEATS.items() if name in named_here),
        controls.unvalidated(estimates, own),
    ]


def _beside_source(task: str, trained: Estimates) -> str:
    """Return how much more the source of a task trains, computed from settings."""
    if trained.empty:
        return ""
    stated = getattr(tasks.info(task), "trained_in_source", None)
    if stated is None:
        return f"The source of {task} states neither sequences nor steps of its training."
    sequences, batch = stated
    ours = trained["batch"] * (trained["tokens"] // (trained["batch"] * trained["length"]))
    return (
        f"The source of {task} trains on {whole(sequences)} sequences, {batch} a step; here it is "
        f"{_values(ours, whole)} sequences, {_values(trained['batch'], whole)} a step: "
        f"{_values(sequences / ours, whole)} times fewer."
    )


def _beside_identity(lines: Estimates, alike: list[str]) -> Estimates:
    """Return lines beside those of `identity` that are alike, its columns as `..._floor`."""
    alone = lines["model"] == "identity"
    return lines[~alone].merge(lines[alone], on=alike, suffixes=("", "_floor"))


def _not_above_identity(task: str, own: Estimates) -> str:
    """Return which models have no higher accuracy than `identity`."""
    pairs = _beside_identity(select(own, "accuracy"), ["x", "length", "tokens"])
    lower = pairs[~(pairs["low"] > pairs["high_floor"])].groupby("x")
    texts = "; ".join(f"{_named(group)} (at {x})" for x, group in lower)
    return f"No better than identity, which mixes nothing, on {task}: {texts}." if texts else ""


def _named(lines: Estimates) -> str:
    """Return the models of lines, with their variants, in the order of all tables."""
    rank = models.ordered(lines["model"])
    found = sorted(records(lines), key=lambda line: rank.index(line.model))
    return ", ".join(dict.fromkeys(named(line.model, line.variant) for line in found))


def bytes_(estimates: Estimates, own: Estimates) -> list[str]:
    """Return the level of guessing, the texts, and the models that use no context."""
    guesses = select(estimates, "bits_per_byte_guessing")["value"]
    same = [key for key in KEY if key != "quantity"]
    used = select(own, "tokens_used")[[*same, "value"]].rename(columns={"value": "used"})
    bits = select(own, "bits_per_byte").merge(used, on=same)
    pairs = _beside_identity(bits, [*PLACE, "data", "length", "used"])
    names = _named(pairs[pairs["value"] >= pairs["value_floor"]])
    levels = _values(guesses, lambda bits: f"{bits:.2f}")
    hashes = ", ".join(sorted({text for text in own["data"] if text}))
    texts = {
        "Guessing by the frequency of bytes takes {} bits a byte.": levels,
        "Text (hash): {}; rows of different texts do not compare.": hashes,
        NO_CONTEXT: names,
    }
    return [*_notes(texts), controls.unvalidated(estimates, own)]


def ablation(estimates: Estimates, own: Estimates) -> list[str]:
    """Return how finely the tokens are known, the budget, and the settings that all lines share."""
    experiments_here = own["experiment"].unique().tolist()
    between = select(estimates, "evaluation_interval", experiment=experiments_here)
    longest = between.dropna(subset="value").groupby("x")["value"].max()
    intervals = ", ".join(f"{whole(tokens)} tokens (D={x})" for x, tokens in longest.items())
    shared = next((text for text in estimates.get("shared", ()) if text), "")
    budget = _values(own["tokens"], whole)
    words = f"Evaluated every {{}}: a smaller difference is none. Budget: {budget} tokens."
    return _notes({words: intervals, "All rows: {}.": shared})
