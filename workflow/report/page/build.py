"""`index.html` of the estimates, the rows, the judged claims and the drawn figures."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import itables.options
import pandas as pd
from plotly.offline import get_plotlyjs

from pointer.errors import InputError
from workflow.bench.outcomes import DISTURBED
from workflow.report import claims, claims_figure, figures, models, render, tables, verdicts
from workflow.report.estimates import WORK, largest_budget
from workflow.report.estimates.runs import prepare
from workflow.report.frame import csv_text, unpack
from workflow.report.layout import NOT_RUN, records
from workflow.report.page import explorer, plots
from workflow.report.rules import Verdict

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
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
COUNTED = [f"{work}_{kind}" for work in WORK for kind in ("growth", "reduction")]
COPIED = ("accuracy", "accuracy_gap", "accuracy_difference", "copy_spread")
POINTED = ("mean_hop_lower", "longest_hop_upper", "utilisation", "mean_hop_all")
CHART_OF = {  # quantity -> the part of the page that shows it
    **dict.fromkeys(("speedup", "speedup_growth"), "speedup"),
    **dict.fromkeys(COUNTED, "operations"),
    **dict.fromkeys(COPIED, "copy_accuracy"),
    **dict.fromkeys(POINTED, "hops"),
    "throughput": "throughput",
    "time_exponent": "time",
    "loss": "loss_curves",
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


def html(
    estimates: pd.DataFrame,
    frame: pd.DataFrame,
    lines: Sequence[claims.Line],
    tier: str,
    drawn: Sequence[Path] = (),
    names: Iterable[str] = tables.NAMES,
    reference: pd.DataFrame | None = None,
    planned: int = 0,
) -> str:
    """Return the whole page. Raises InputError where a figure is missing.

    drawn: the files of figures; names: of tables; planned: rows of the tier (0: those there).
    """
    runs = prepare(frame)
    numbers = {str(path): number for number, path in enumerate(runs["path"])}
    traced = explorer.traced(frame)
    plotted = plots.all_charts(estimates, frame, numbers)
    for chart in plotted:
        chart["note"] = render.caption(chart["name"]) or render.caption(chart["table"])
    listed = [rows_table(runs)]
    listed += [report_table(name, estimates, numbers, reference) for name in names]
    data = {
        "looks": looks(plotted),
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
    cards = [card(line, numbers) for line in lines]
    return environment.get_template("page.html").render(
        tier=tier,
        state=state(frame, lines, planned),
        answers=answers(cards),
        papers=[papers_table(name, estimates, reference) for name in PAPERS],
        next_step=verdicts.next_step(line.next for line in lines),
        cards=cards,
        counts=counts(lines),
        colours=colours(),
        charts=plotted,
        tables=listed,
        traced=traced,
        figures=embedded(drawn),
        about=about(frame),
        data=data,
        plotly=explorer.pack(get_plotlyjs()),
        datatables=explorer.pack(_text(bundle)),
        styles=[_text(bundle.with_suffix(".css")), _text(TEMPLATES / "page.css")],
        script="\n".join(_text(TEMPLATES / name) for name in SCRIPTS),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def looks(plotted: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the colour of each model of the charts on the light and the dark page."""
    panels = [panel for chart in plotted for panel in chart["panels"]]
    traces = [trace for panel in panels for trace in panel["data"] if trace["meta"]["model"]]
    found = {trace["meta"]["model"]: trace["line"]["color"] for trace in traces}
    return {model: plots.on_page(colour) for model, colour in found.items()}


def state(frame: pd.DataFrame, lines: Iterable[claims.Line], planned: int) -> str:
    """Return whether all rows are there, the machine was quiet, and the controls are right."""
    there = int((frame["status"] == "ok").sum())
    timed = frame[frame["session"].notna()]
    last = timed[timed["attempt"] == timed.groupby("session")["attempt"].transform("max")]
    marked = last["warnings"].astype(str).str.contains(DISTURBED)
    disturbed = last.loc[marked, "session"].nunique()
    rows = f"{there:,} of {planned or len(frame):,} rows have their numbers"
    quiet = f"{disturbed} timing sessions were disturbed" if disturbed else "the machine was quiet"
    off = {Verdict.UNSOUND: "rows are unsound", Verdict.INVALID: "controls are off"}
    wrong = [off[line.verdict] for line in lines if line.verdict in off]
    return f"{rows}; {quiet}; {wrong[0] if wrong else 'the controls are right'}."


def answers(cards: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the questions of the first screen, each with its cards of the readings ALOUD."""
    aloud = [card for card in cards if card["line"].reading in verdicts.ALOUD]
    found = []
    for question, claim in QUESTIONS.items():
        own = [card for card in aloud if card["line"].claim.id == claim]
        found += [{"question": question, "cards": own}] if own else []
    return found


def papers_table(
    name: str, estimates: pd.DataFrame, reference: pd.DataFrame | None
) -> dict[str, Any]:
    """Return one of the paper's tables beside ours and the reference's, as texts."""
    quantity, sizes, further = PAPERS[name]
    where = {**further, "x": sizes, "model": PAPERS_MODELS}
    chosen = largest_budget(estimates[estimates["quantity"] == quantity])
    wide = tables.make(name, chosen, where, reference).wide
    columns = ["model", "machine", *map(str, sizes)]
    wide = wide.reindex(columns=columns).fillna("").replace({"machine": {NOT_RUN: "any machine"}})
    # Intervals and notes stand in the tables below.
    lines = wide.replace(r" [(\[].*", "", regex=True).to_numpy().tolist()
    return {"title": tables.TABLES[name].title, "columns": columns, "lines": lines}


def card(line: claims.Line, rows: plots.Rows) -> dict[str, Any]:
    """Return a claim as the template shows it, cells as label, value, outcome and numbers of rows;
    no rows where the claim is judged by the paper's own numbers."""
    outcomes, cells = dict(line.outcomes), []
    for cell in line.cells:
        outcome, behind = str(outcomes.get(cell.label, "")), plots.numbers(cell.rows, rows)
        cells.append((cell.label, claims.value_text(cell), outcome, behind))
    deciding = claims.deciding(line)
    charts = [CHART_OF[test.quantity] for test in line.claim.tests if test.quantity in CHART_OF]
    return {
        "line": line,
        "id": line.name.replace(" ", "-"),
        "reading": line.read_as.title if line.read_as else "",
        "ours": claims.ours(deciding, 3),
        "number": claims.number(deciding),
        "cells": cells,
        "charts": list(dict.fromkeys(charts)),
        "rows": sorted({number for *_, behind in cells for number in behind}),
    }


def counts(lines: Sequence[claims.Line]) -> list[tuple[Verdict, str, int]]:
    """Return verdicts, their words, and how many lines have them, in the vocabulary's order."""
    number, order = Counter((line.verdict, line.words) for line in lines), list(Verdict)
    ranked = sorted(number, key=lambda pair: (order.index(pair[0]), pair[1]))
    return [(*pair, number[pair]) for pair in ranked]


def colours() -> dict[str, dict[str, str]]:
    """Return each verdict's colour on the light and on the dark page."""
    looks = claims_figure.VERDICTS.items()
    return {verdict.name: plots.on_page(colour) for verdict, (colour, _) in looks}


def rows_table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return every row with its main numbers, failed ones too."""
    divided = {name: runs[name] / unit for name, (_, unit) in MEASURES.items()}
    shown = runs[list(TEXTS)].assign(**divided)
    columns = [(name, name in WHOLE) for name in TEXTS]
    columns += [(title, True) for title, _ in MEASURES.values()]
    return {
        "name": "rows", "main": True, "title": "All rows", "columns": columns, "notes": [],
        "lines": json.loads(shown.to_json(orient="values", double_precision=6)),
        "rows": [[number] for number in range(len(runs))], "csv": "",
    }  # fmt: skip


def report_table(
    name: str, estimates: pd.DataFrame, numbers: plots.Rows, reference: pd.DataFrame | None
) -> dict[str, Any]:
    """Return a table; columns: heading, and whether it sorts by a cell's leading number."""
    table = tables.make(name, estimates, reference=reference)
    behind = [plots.numbers(files, numbers) for files in table.rows or [""] * len(table.wide)]
    return {
        "name": name, "main": name in tables.MAIN, "title": table.title,
        "columns": [(column, column.isdigit()) for column in map(str, table.wide)],
        "lines": table.wide.to_numpy().tolist(), "notes": list(table.notes), "rows": behind,
        "csv": csv_text(table.data),
    }  # fmt: skip


def origins(runs: pd.DataFrame) -> dict[str, Any]:
    """Return where each row comes from: values of `keys`, and a number into `versions`."""
    which, versions = pd.factorize(runs["versions"].map(installed, na_action=None))
    shown = runs[list(ORIGIN)].astype("string").assign(machine=machines(runs), versions=which)
    keys = [str(column).replace("_", " ") for column in shown]
    rows = json.loads(shown.to_json(orient="values"))
    return {"keys": keys, "rows": rows, "versions": versions.tolist()}


def installed(cell: Any) -> str:
    """Return the versions of a row in words."""
    versions = unpack(cell) or {}
    return ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) or "unknown"


def machines(rows: pd.DataFrame) -> list[str]:
    """Return the machine of each row in words."""
    found = []
    for run in records(rows):
        parts = [str(run.machine)]
        if pd.notna(run.device_name) and run.device_name != run.machine:
            parts.append(run.device_name)
        if pd.notna(run.ram_bytes):
            parts.append(f"{run.ram_bytes / 2**30:.1f} GiB RAM")
        found.append(", ".join(parts))
    return found


def about(frame: pd.DataFrame) -> dict[str, Any]:
    """Return how many rows there are, how they ended, at which commits, and on which machines."""
    listed = []
    for name, rows in frame.groupby("machine"):
        versions = {installed(cell) for cell in rows["versions"].unique()}
        details = [*sorted(set(machines(rows))), *sorted(versions)]
        listed.append({"name": name, "rows": len(rows), "details": details})
    return {
        "rows": len(frame),
        "failed": int((frame["status"] != "ok").sum()),
        "statuses": Counter(sorted(frame["status"])).most_common(),
        "experiments": Counter(sorted(frame["experiment"])).most_common(),
        "commits": sorted(frame["git_commit"].dropna().unique()),
        "dirty": bool(frame["git_dirty"].fillna(False).any()),
        "machines": listed,
    }


def embedded(drawn: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the drawn figures in the order of the report: name, caption, and the SVG as base64."""
    svgs = {path.stem: path for path in drawn if path.suffix == ".svg"}
    found = []
    for name in dict.fromkeys([*figures.MAIN, *figures.NAMES, *sorted(svgs)]):
        if name not in svgs:
            continue
        if not svgs[name].is_file():
            raise InputError.about("--from", str(svgs[name]), "a figure that is drawn", "the files")
        svg, text = base64.b64encode(svgs[name].read_bytes()).decode(), render.caption(name) or name
        found.append({"name": name, "main": name in figures.MAIN, "caption": text, "svg": svg})
    return found
