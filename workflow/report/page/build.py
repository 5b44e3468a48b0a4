"""`index.html` of the estimates, the rows, the judged claims and the drawn figures."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import itables.options
import pandas as pd
from plotly.offline import get_plotlyjs

from pointer.errors import InputError
from workflow.bench.outcomes import DISTURBED
from workflow.bench.rows import write_atomically
from workflow.report import (
    claims,
    claims_figure,
    figures,
    models,
    render,
    tables,
    verdicts,
)
from workflow.report.estimates import WORK, largest_budget
from workflow.report.estimates.runs import prepare
from workflow.report.frame import csv_text, unpack
from workflow.report.layout import NOT_RUN
from workflow.report.page import explorer, plots
from workflow.report.rules import Verdict

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
CAPTIONS = TEMPLATES.with_name("captions")
SCRIPTS = ("base.js", "charts.js", "tables.js", "arcs.js", "explorer.js", "page.js")
TEXTS = (
    "experiment", "task", "model", "variant", "axis", "x", "length", "device", "machine", "dtype",
    "threads", "seed", "repeat", "status", "reason",
)  # fmt: skip
WHOLE = ("x", "length", "threads", "seed", "repeat")
MEASURES = {  # column of the rows -> its heading and the unit it is divided by
    "tokens_per_s": ("training, tokens/s", 1),
    "step_ms": ("step, ms", 1),
    "inference_tokens_per_s": ("inference, tokens/s", 1),
    "peak_memory_bytes": ("peak, MiB", 2**20),
    "saved_bytes": ("kept, MiB", 2**20),
    "flops_step": ("step, GFLOP", 10**9),
    "accuracy": ("accuracy", 1),
    "loss": ("loss, nats", 1),
    "tokens_to_95": ("tokens to 95%", 1),
}
ORIGIN = (
    "path", "started", "ended", "git_commit", "git_dirty", "source_hash", "digest", "command",
)  # fmt: skip
CHART_OF = {  # quantity -> the part of the page that shows it
    "speedup": "speedup",
    "speedup_growth": "speedup",
    "throughput": "throughput",
    "time_exponent": "time",
    **{f"{work}_{kind}": "operations" for work in WORK for kind in ("growth", "reduction")},
    "accuracy": "copy_accuracy",
    "accuracy_gap": "copy_accuracy",
    "accuracy_difference": "copy_accuracy",
    "copy_spread": "copy_accuracy",
    "loss": "loss_curves",
    "mean_hop_lower": "explorer",
    "longest_hop_upper": "explorer",
    "utilisation": "explorer",
    "mean_hop_all": "explorer",
}


QUESTIONS = {  # of the first screen -> the claim whose verdicts answer it
    "Does it train faster at N = 2,048?": "speed-2048",
    "Does it copy over 512 tokens?": "copy-512",
    "Is its cost linear?": "linear-compute",
    "Do its early layers look about 50 tokens back?": "hops-local",
}
LENGTHS = [256, 512, 1024, 2048]  # the paper's
PAPERS = {  # the paper's tables: quantity, sizes, and what else chooses
    "throughput": ("throughput", LENGTHS, {"phase": "training"}),
    "speedup": ("speedup", LENGTHS, {"phase": "training", "against": "transformer"}),
    "copy_accuracy": ("accuracy", [512, 1024, 1536, 2048], {}),
}
PAPERS_MODELS = ["pointer-formula", "pointer", "transformer"]


class Shown(NamedTuple):
    """What the page holds beside the charts: the files of drawn figures, the names of tables, the
    reference's estimates, and how many rows the tier plans (0: those that are there)."""

    figures: Sequence[Path]
    tables: Iterable[str]
    reference: pd.DataFrame | None = None
    planned: int = 0


EVERY_TABLE = Shown((), tables.NAMES)


def write(
    estimates: pd.DataFrame,
    frame: pd.DataFrame,
    lines: Sequence[claims.Line],
    out: Path,
    tier: str,
    shown: Shown,
) -> Path:
    """Write `out/index.html`. Raises InputError where a figure is missing."""
    page = out / "index.html"
    write_atomically(page, html(estimates, frame, lines, tier, shown))
    return page


def html(
    estimates: pd.DataFrame,
    frame: pd.DataFrame,
    lines: Sequence[claims.Line],
    tier: str,
    shown: Shown = EVERY_TABLE,
) -> str:
    """Return the whole page."""
    runs = prepare(frame)
    numbers = {str(path): number for number, path in enumerate(runs["path"])}
    traced = explorer.traced(frame)
    plotted = plots.all_charts(estimates, frame, numbers)
    listed = [rows_table(runs)]
    listed += [report_table(name, estimates, numbers, shown.reference) for name in shown.tables]
    data = {
        "looks": looks(runs, plotted),
        "paper": [models.title(model) for model in PAPERS_MODELS],
        "charts": plotted,
        "tables": listed,
        "traced": traced["models"],
        "origin": origins(runs),
    }
    environment = render.templates(autoescape=True)
    compact = {"allow_nan": False, "separators": (",", ":"), "ensure_ascii": False}
    environment.policies["json.dumps_kwargs"] = compact
    bundle = Path(str(itables.options.dt_bundle))
    return environment.get_template("page.html").render(
        tier=tier,
        state=state(estimates, frame, shown.planned),
        answers=answers(lines),
        papers=[papers_table(name, estimates, shown.reference) for name in PAPERS],
        next_step=verdicts.next_step(line.next for line in lines),
        cards=[card(line, runs, numbers) for line in lines],
        counts=counts(lines),
        colours=colours(),
        charts=plotted,
        tables=listed,
        traced=traced,
        figures=embedded(shown.figures),
        about=about(frame),
        data=data,
        plotly=explorer.pack(get_plotlyjs()),
        datatables=explorer.pack(_text(bundle)),
        styles=[_text(bundle.with_suffix(".css")), _text(TEMPLATES / "page.css")],
        script="\n".join(_text(TEMPLATES / name) for name in SCRIPTS),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def looks(runs: pd.DataFrame, plotted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each model and variant of the charts with its colour on the light and the dark
    page."""
    panels = [panel for chart in plotted for panel in chart["panels"]]
    drawn = {trace["meta"].get("model") for panel in panels for trace in panel["data"]}
    paper = pd.DataFrame({"model": PAPERS_MODELS, "variant": ""})
    series = models.series(pd.concat([runs, paper]))
    known = models.looks(series)
    found = []
    for pair in series:
        name, colour = models.label(*pair), known[pair].colour
        if name in drawn:
            found.append({"model": name, **plots.on_page(colour)})
    return found


def state(estimates: pd.DataFrame, frame: pd.DataFrame, planned: int) -> str:
    """Return whether all planned rows are there, the machine was quiet, and the controls are
    right."""
    there = int((frame["status"] == "ok").sum())
    timed = frame[frame["session"].notna()]
    last = timed[timed["attempt"] == timed.groupby("session")["attempt"].transform("max")]
    marked = last["warnings"].astype(str).str.contains(DISTURBED)
    disturbed = last.loc[marked, "session"].nunique()
    rows = f"{there:,} of {planned or len(frame):,} rows have their numbers"
    quiet = f"{disturbed} timing sessions were disturbed" if disturbed else "the machine was quiet"
    off = claims.controls_off(estimates)
    return f"{rows}; {quiet}; {'controls are off' if off else 'the controls are right'}."


def answers(lines: Sequence[claims.Line]) -> list[dict[str, Any]]:
    """Return the questions of the first screen, each with the formula's and the linear model's
    answer."""
    found = []
    for question, claim in QUESTIONS.items():
        own = [line for line in lines if line.claim.id == claim and line.reading in verdicts.ALOUD]
        if own:
            told = [
                {
                    "reading": line.read_as.title if line.read_as else "",
                    "number": claims.number(claims.deciding(line)),
                    "verdict": line.words,
                    "kind": kind(line.verdict),
                    "mark": line.verdict.mark,
                    "id": line.name.replace(" ", "-"),
                }
                for line in own
            ]
            found.append({"question": question, "figure": own[0].claim.figure, "told": told})
    return found


def papers_table(
    name: str, estimates: pd.DataFrame, reference: pd.DataFrame | None
) -> dict[str, Any]:
    """Return one of the paper's tables beside ours and the reference's: headings, and lines as
    texts."""
    quantity, sizes, further = PAPERS[name]
    where = {**further, "x": sizes, "model": PAPERS_MODELS}
    chosen = largest_budget(estimates[estimates["quantity"] == quantity])
    wide = tables.make(name, chosen, where, reference).wide
    columns = ["model", "machine", *map(str, sizes)]
    wide = wide.reindex(columns=columns).fillna("").replace({"machine": {NOT_RUN: "any machine"}})
    texts = wide.to_numpy().tolist()
    # Intervals and notes stand in the tables below.
    lines = [[text.split(" (")[0].split(" [")[0] for text in line] for line in texts]
    return {"title": tables.TABLES[name].title, "columns": columns, "lines": lines}


def card(line: claims.Line, runs: pd.DataFrame, rows: plots.Rows) -> dict[str, Any]:
    """Return a claim as the template shows it.

    `cells` are label, value with interval, outcome, and numbers of rows; `charts` those of its
    quantities; `rows` what to filter the rows by: nothing where the claim is judged by the paper's
    own numbers."""
    outcomes = dict(line.outcomes)
    cells = []
    for cell in line.cells:
        outcome = str(outcomes.get(cell.label, ""))
        behind = plots.numbers(cell.rows, rows)
        cells.append((cell.label, claims.value_text(cell), outcome, behind))
    chosen = runs.iloc[sorted({number for *_, behind in cells for number in behind})]
    charts = [CHART_OF[test.quantity] for test in line.claim.tests if test.quantity in CHART_OF]
    return {
        "claim": line.claim,
        "ours": claims.ours(claims.deciding(line), 3),
        "number": claims.number(claims.deciding(line)),
        "verdict": line.words,
        "name": line.name.replace(" ", "-"),
        "reading": line.read_as.title if line.read_as else "",
        "kind": kind(line.verdict),
        "mark": line.verdict.mark,
        "why": line.why,
        "cells": cells,
        "charts": list(dict.fromkeys(charts)),
        "rows": {column: sorted(set(chosen[column])) for column in ("experiment", "model")},
    }


def kind(verdict: Verdict) -> str:
    """Return the verdict as a class of the style sheet."""
    return verdict.name.lower().replace("_", "-")


def counts(lines: Sequence[claims.Line]) -> list[dict[str, Any]]:
    """Return how many lines have each verdict in words, in the vocabulary's order."""
    order = list(Verdict)
    ranked = sorted(lines, key=lambda line: (order.index(line.verdict), line.words))
    number = Counter(line.words for line in lines)
    first = {line.words: line.verdict for line in reversed(ranked)}
    return [
        {"kind": kind(verdict), "verdict": words, "mark": verdict.mark, "number": number[words]}
        for words, verdict in reversed(first.items())
    ]


def colours() -> list[dict[str, str]]:
    """Return each verdict's class with its colour on the light and on the dark page."""
    return [
        {"kind": kind(verdict), **plots.on_page(colour)}
        for verdict, (colour, _) in claims_figure.VERDICTS.items()
    ]


def rows_table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return every row with its main numbers; failures stand among the others, with their
    reason."""
    titles = [_column(name, name, name in WHOLE) for name in TEXTS]
    titles += [_column(name, title, True) for name, (title, _) in MEASURES.items()]
    lines = []
    for run in runs.to_dict("records"):
        cells: list[Any] = [None if pd.isna(run[name]) else run[name] for name in TEXTS]
        cells = [value if isinstance(value, str | None) else int(value) for value in cells]
        cells += [plots.number(run[name], unit) for name, (_, unit) in MEASURES.items()]
        lines.append(cells)
    made = {
        "name": "rows",
        "main": True,
        "title": "All rows",
        "columns": titles,
        "lines": lines,
        "notes": [],
    }
    return made | {"rows": [[number] for number in range(len(runs))], "csv": ""}


def _column(key: str, title: str, numeric: bool) -> dict[str, Any]:
    """Return a column of a table; numeric: whether it sorts by the number that a cell begins
    with."""
    return {"key": key, "title": title, "numeric": numeric}


def report_table(
    name: str, estimates: pd.DataFrame, numbers: plots.Rows, reference: pd.DataFrame | None
) -> dict[str, Any]:
    """Return a table of the report; each line knows its rows."""
    table = tables.make(name, estimates, reference=reference)
    titles = [_column(column, column, column.isdigit()) for column in map(str, table.wide)]
    behind = [plots.numbers(files, numbers) for files in table.rows or [""] * len(table.wide)]
    made = {"name": name, "main": name in tables.MAIN, "title": table.title, "columns": titles}
    lines = {"lines": table.wide.to_numpy().tolist(), "notes": list(table.notes)}
    return made | lines | {"rows": behind, "csv": csv_text(table.data)}


def origins(runs: pd.DataFrame) -> dict[str, Any]:
    """Return where each row comes from: values of `keys`, and numbers into `versions` and
    `machines`."""
    versions: dict[str, int] = {}
    machines: dict[str, int] = {}
    rows = []
    for run in runs.to_dict("records"):
        texts = [None if pd.isna(run[key]) else str(run[key]) for key in ORIGIN]
        shared = versions.setdefault(installed(run["versions"]), len(versions))
        rows.append([*texts, shared, machines.setdefault(machine(run), len(machines))])
    keys = [key.replace("_", " ") for key in ORIGIN]
    return {"keys": keys, "rows": rows, "versions": list(versions), "machines": list(machines)}


def installed(cell: Any) -> str:
    """Return the versions of a row in words."""
    versions = unpack(cell) or {}
    return ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) or "unknown"


def machine(run: Any) -> str:
    """Return the machine of a row in words."""
    text = str(run["machine"])
    if pd.notna(run["device_name"]) and run["device_name"] != run["machine"]:
        text += f", {run['device_name']}"
    if pd.notna(run["ram_bytes"]):
        text += f", {run['ram_bytes'] / 2**30:.1f} GiB RAM"
    return text


def about(frame: pd.DataFrame) -> dict[str, Any]:
    """Return how many rows there are, how they ended, at which commits, and on which machines."""
    machines = []
    for name, rows in frame.groupby("machine"):
        details = sorted({machine(run) for run in rows.to_dict("records")})
        versions = sorted({installed(cell) for cell in rows["versions"].unique()})
        machines.append({"name": name, "rows": len(rows), "details": [*details, *versions]})
    return {
        "rows": len(frame),
        "failed": int((frame["status"] != "ok").sum()),
        "statuses": Counter(sorted(frame["status"])).most_common(),
        "experiments": Counter(sorted(frame["experiment"])).most_common(),
        "commits": sorted(frame["git_commit"].dropna().unique()),
        "dirty": bool(frame["git_dirty"].fillna(False).any()),
        "machines": machines,
    }


def embedded(drawn: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the drawn figures in the order of the report: name, caption, and the SVG as base64."""
    for path in drawn:
        if not path.is_file():
            raise InputError.about("--from", str(path), "a figure that is drawn", "the files")
    svgs = {path.stem: path for path in drawn if path.suffix == ".svg"}
    order = dict.fromkeys([*figures.MAIN, *figures.NAMES, *sorted(svgs)])
    found = []
    for name in [name for name in order if name in svgs]:
        caption = CAPTIONS / f"{name}.rst"
        text = " ".join(_text(caption).replace("``", "").split()) if caption.is_file() else name
        svg = base64.b64encode(svgs[name].read_bytes()).decode()
        found.append({"name": name, "main": name in figures.MAIN, "caption": text, "svg": svg})
    return found
