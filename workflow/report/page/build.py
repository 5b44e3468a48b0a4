"""`index.html` of the rows, the judged claims and the drawn figures."""

from __future__ import annotations

import base64
import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import write_atomically
from workflow.report import canvas, claims, figures, ledger, tables
from workflow.report.layout import base
from workflow.report.page import assets, curves, explorer, listing, machines, verdicts
from workflow.report.page.chart import DASHES, SYMBOLS, on_dark

SMOKE = "smoke"
CAPTIONS = assets.TEMPLATES.with_name("captions")


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the page holds beside the curves: the drawn figures and the names of the tables."""

    figures: Sequence[Path] = ()
    tables: Iterable[str] = tables.NAMES


def write(frame: pd.DataFrame, shown: Shown, out: Path, tier: str, path: Path) -> Path:
    """`out/index.html`. Raises InputError where a figure is missing, a table is unknown, or `path` is no ledger."""
    lines = claims.judge(frame, ledger.read(path), tier)
    page = out / "index.html"
    write_atomically(page, html(frame, lines, shown, tier))
    return page


def html(frame: pd.DataFrame, lines: list[claims.Line], shown: Shown, tier: str) -> str:
    """The whole page."""
    made = curves.charts(frame)
    side_by_side = machines.side_by_side(frame)
    known, libraries = data(frame, shown.tables), (assets.plotly(), assets.datatables())
    script = assets.own_script()
    cards = verdicts.cards(lines)
    return _environment().get_template("page.html").render(
        tier=tier, smoke=tier == SMOKE, told=origin(frame), cards=cards, counts=verdicts.counts(cards),
        colours=verdicts.colours(), charts=made, machines=side_by_side, places=_places(frame),
        listings=known["tables"], listed=[table["name"] for table in known["tables"]],
        figures=_drawn(shown.figures), traced=known["traced"]["models"],
        left_out=known["traced"]["left_out"],
        data=known | {"charts": [dataclasses.asdict(chart) for chart in [*made, side_by_side]]},
        plotly=assets.inline(libraries[0].script), datatables=libraries[1].script, script=assets.inline(script),
        styles=[assets.inline(libraries[1].style), assets.inline(assets.own_style())],
        policy=assets.policy(libraries[0].script, script),
    )  # fmt: skip


def data(frame: pd.DataFrame, names: Iterable[str]) -> dict[str, Any]:
    """What the page's script reads, the charts left out; `names` are those of the report's tables."""
    every = [listing.rows(frame), machines.table(frame), *listing.report_tables(frame, names)]
    return {
        "looks": looks(frame),
        "tables": [dataclasses.asdict(table) for table in every],
        "provenance": listing.provenance(frame),
        "traced": explorer.traced(frame),
    }


def looks(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Every model's colour on the light and the dark page, its marker and its dash, in the order of the legends."""
    names = listing.model_names(frame)
    known = canvas.looks_for(names)
    return [
        {
            "model": name, "light": known[name].colour, "dark": on_dark(known[name].colour),
            "symbol": SYMBOLS[known[name].marker], "dash": DASHES[known[name].line], "base": base(name),
        }
        for name in names
    ]  # fmt: skip


def origin(frame: pd.DataFrame) -> dict[str, Any]:
    """How many rows, how they ended, and at which commits."""
    return {
        "rows": len(frame),
        "ended": Counter(sorted(frame["status"])).most_common(),
        "commits": sorted(frame["git_commit"].dropna().unique()),
        "dirty": bool(frame["git_dirty"].fillna(False).any()),
        "experiments": Counter(sorted(frame["experiment"])).most_common(),
        "failed": int((frame["status"] != "ok").sum()),
    }


def _places(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Machine -> its rows, versions and devices."""
    found = []
    for machine, rows in frame.groupby("machine"):
        versions, machine_is = listing.places(rows)
        found.append({"machine": machine, "rows": len(rows), "versions": versions, "is": machine_is})
    return found


def _drawn(files: Sequence[Path]) -> list[dict[str, str]]:
    """The static figures in the order of the report: name, caption, and the SVG as base64."""
    for path in files:
        if not path.is_file():
            raise InputError.about("--figures", str(path), "a figure that is drawn", "the command line")
    found = {path.stem: path for path in files if path.suffix == ".svg"}
    rank = {name: place for place, name in enumerate([*figures.FIGURES, "claims"])}
    return [
        {"name": name, "caption": _caption(name), "svg": base64.b64encode(found[name].read_bytes()).decode()}
        for name in sorted(found, key=lambda name: (rank.get(name, len(rank)), name))
    ]


def _caption(name: str) -> str:
    path = CAPTIONS / f"{name}.rst"
    return " ".join(path.read_text(encoding="utf-8").replace("``", "").split()) if path.is_file() else name


def _environment() -> jinja2.Environment:
    """Escapes everything; a missing name or a number that JSON lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(assets.TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":"), "ensure_ascii": False}
    return environment
