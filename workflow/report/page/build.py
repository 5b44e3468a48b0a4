"""`index.html` of the estimates, the rows, the judged claims and the drawn figures."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import itables.options
import jinja2
import pandas as pd
from plotly.offline import get_plotlyjs

from pointer.errors import InputError
from workflow.bench.rows import write_atomically
from workflow.report import claims, figures, models, tables
from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack
from workflow.report.page import cards, explorer, plots

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
CAPTIONS = TEMPLATES.with_name("captions")
SCRIPTS = ("base.js", "charts.js", "tables.js", "arcs.js", "explorer.js", "page.js")
TEXTS = (
    "experiment",
    "task",
    "model",
    "variant",
    "axis",
    "x",
    "length",
    "device",
    "machine",
    "dtype",
    "threads",
    "seed",
    "repeat",
    "status",
    "reason",
)
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
    "path",
    "started",
    "ended",
    "git_commit",
    "git_dirty",
    "source_hash",
    "digest",
    "command",
    "settings",
)


class Shown(NamedTuple):
    """What the page holds beside the charts: the files of drawn figures, and the names of
    tables."""

    figures: Sequence[Path]
    tables: Iterable[str]


EVERY_TABLE = Shown((), tables.NAMES)


def write(
    estimates: pd.DataFrame,
    frame: pd.DataFrame,
    lines: Sequence[claims.Line],
    out: Path,
    tier: str,
    shown: Shown,
) -> Path:
    """Write `out/index.html`. Raises InputError where a figure is missing or a table is unknown."""
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
    listed += [report_table(name, estimates, frame, numbers) for name in shown.tables]
    data = {
        "looks": looks(runs, plotted),
        "charts": plotted,
        "tables": listed,
        "traced": traced["models"],
        "origin": origins(runs),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "separators": (",", ":"),
        "ensure_ascii": False,
    }
    bundle = Path(str(itables.options.dt_bundle))
    return environment.get_template("page.html").render(
        tier=tier,
        cards=[cards.card(line, runs, numbers) for line in lines],
        counts=cards.counts(lines),
        colours=cards.colours(),
        charts=plotted,
        tables=listed,
        traced=traced,
        figures=embedded(shown.figures),
        about=about(frame),
        data=data,
        plotly=explorer.pack(get_plotlyjs()),
        datatables=explorer.pack(read(bundle)),
        styles=[read(bundle.with_suffix(".css")), read(TEMPLATES / "page.css")],
        script="\n".join(read(TEMPLATES / name) for name in SCRIPTS),
    )


def read(path: Path) -> str:
    """Return the text of a script or style sheet."""
    return path.read_text(encoding="utf-8")


def looks(runs: pd.DataFrame, plotted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each model and variant of the charts with its colour on the light and the dark
    page."""
    panels = [panel for chart in plotted for panel in chart["panels"]]
    drawn = {trace["meta"].get("model") for panel in panels for trace in panel["data"]}
    paper = pd.DataFrame({"model": ["pointer", "transformer"], "variant": ""})
    series = models.series(pd.concat([runs, paper]))
    known = models.looks(series)
    found = []
    for pair in series:
        if models.label(*pair) in drawn:
            colour = known[pair].colour
            found.append(
                {"model": models.label(*pair), "light": colour, "dark": plots.on_dark(colour)}
            )
    return found


def rows_table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return every row with its main numbers; failures stand among the others, with their
    reason."""
    columns = [(name, name) for name in TEXTS] + [
        (name, title) for name, (title, _) in MEASURES.items()
    ]
    cells = {}
    for name, _ in columns:
        unit = MEASURES[name][1] if name in MEASURES else None
        cells[name] = [cell(value, unit) for value in runs[name]]
    lines = [list(line) for line in zip(*cells.values(), strict=True)]
    titles = [heading(name, title, name in (*MEASURES, *WHOLE)) for name, title in columns]
    made = {"name": "rows", "title": "All rows", "columns": titles, "lines": lines, "notes": []}
    return made | {"rows": [[number] for number in range(len(runs))], "csv": ""}


def heading(key: str, title: str, numeric: bool) -> dict[str, Any]:
    """Return a column of a table; numeric: whether it sorts by the number that a cell begins
    with."""
    return {"key": key, "title": title, "numeric": numeric}


def cell(value: Any, unit: float | None) -> Any:
    """Return a cell as JSON takes it; None where it is missing."""
    if pd.isna(value):
        return None
    if unit is not None:
        return plots.number(value / unit)
    return value if isinstance(value, str) else int(value)


def report_table(
    name: str, estimates: pd.DataFrame, frame: pd.DataFrame, numbers: plots.Rows
) -> dict[str, Any]:
    """Return a table of the report; each line knows its rows. Raises InputError for an unknown
    name."""
    if name not in tables.NAMES:
        raise InputError.unknown("table", name, tables.NAMES, "`--tables`")
    table = tables.make(name, estimates)
    titles = [heading(column, column, column.isdigit()) for column in map(str, table.wide)]
    behind = [plots.numbers(files, numbers) for files in table.rows or [""] * len(table.wide)]
    made = {
        "name": name,
        "title": table.title,
        "columns": titles,
        "lines": table.wide.to_numpy().tolist(),
    }
    return made | {
        "notes": list(table.notes),
        "rows": behind,
        "csv": table.data.to_csv(index=False),
    }


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
    device = (
        f", {run['device_name']}"
        if pd.notna(run["device_name"]) and run["device_name"] != run["machine"]
        else ""
    )
    ram = f", {run['ram_bytes'] / 2**30:.1f} GiB RAM" if pd.notna(run["ram_bytes"]) else ""
    return f"{run['machine']}{device}{ram}"


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


def embedded(drawn: Sequence[Path]) -> list[dict[str, str]]:
    """Return the drawn figures in the order of the report: name, caption, and the SVG as base64."""
    for path in drawn:
        if not path.is_file():
            raise InputError.about(
                "--figures", str(path), "a figure that is drawn", "the command line"
            )
    svgs = {path.stem: path for path in drawn if path.suffix == ".svg"}
    order = [name for name in (*figures.FIGURES, "claims") if name in svgs]
    found = []
    for name in [*order, *sorted(svgs.keys() - set(order))]:
        caption = CAPTIONS / f"{name}.rst"
        text = " ".join(read(caption).replace("``", "").split()) if caption.is_file() else name
        found.append(
            {
                "name": name,
                "caption": text,
                "svg": base64.b64encode(svgs[name].read_bytes()).decode(),
            }
        )
    return found
