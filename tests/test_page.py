"""The results page as a file: complete, self-contained, escaped; its numbers are those of the rows."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from synthetic import HOSTILE, LAPTOP, SERVER, copied, failed, table_of, timed, traced

from workflow.report import LEDGER, claims, frame, ledger, models, paper, summary
from workflow.report.__main__ import main
from workflow.report.page import build, chart, curves, explorer, listing, machines, verdicts

BREAKOUT = "</script><script>alert(2)</script>"


def page_of(rows: pd.DataFrame, tier: str = "default") -> str:
    return build.html(rows, claims.of_rows(rows, LEDGER, tier), build.Shown(), tier)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows of every kind, with traces, and two that try to break out of a script."""
    rows = [*synthetic.grid(), copied(BREAKOUT, 512, 0.2), failed("error", BREAKOUT, machine=BREAKOUT)]
    folder = tmp_path_factory.mktemp("page")
    return frame.collect(synthetic.store(rows, folder), folder)


@pytest.fixture(scope="module")
def page(grid: pd.DataFrame) -> str:
    return page_of(grid)


class Scripts(HTMLParser):
    """The text of every script element, by type, and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self.policy = ""
        self._type: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._type = given.get("type") or "code" if tag == "script" else None
        self.addresses += [str(given[key]) for key in ("src", "href", "data", "action") if given.get(key)]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        assert not [key for key in given if key.startswith("on")], "a handler in an attribute"

    def handle_endtag(self, tag: str) -> None:
        self._type = None

    def handle_data(self, data: str) -> None:
        if self._type:
            self.scripts.append((self._type, data))


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_is_one_file_that_asks_for_nothing(page: str) -> None:
    parsed = Scripts(page)
    outside = [a for a in parsed.addresses if not a.startswith(("#", "data:"))]
    assert outside == ["https://arxiv.org/abs/2508.02631"]  # a link, followed by a reader only
    assert "default-src 'none'" in parsed.policy
    assert len(page.encode()) < 10_000_000


def test_only_the_pages_own_scripts_may_run(page: str) -> None:
    parsed = Scripts(page)
    code = [text for kind, text in parsed.scripts if kind == "code"]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert len(code) == 2
    assert re.findall(r"'sha256-([^']+)'", parsed.policy) == hashes
    assert "unsafe-eval" not in parsed.policy
    assert "'unsafe-inline'" not in parsed.policy.partition("script-src")[2].partition(";")[0]


def test_hostile_text_stays_text(page: str) -> None:
    assert [kind for kind, _ in Scripts(page).scripts] == ["application/json", "application/json", "code", "code"]
    assert HOSTILE not in page
    assert BREAKOUT not in page
    data = data_of(page)
    assert {HOSTILE, BREAKOUT} <= {look["model"] for look in data["looks"]}
    names = {trace["name"] for c in data["charts"] for panel in c["panels"] for trace in panel["data"]}
    assert chart.shown(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert not [name for name in names if "<" in name]


def test_the_same_rows_give_the_same_page(grid: pd.DataFrame, page: str) -> None:
    assert page_of(grid) == page


def test_smoke_rows_give_no_verdict(grid: pd.DataFrame, page: str) -> None:
    smoke = page_of(grid, "smoke")
    assert 'id="smoke"' in smoke
    assert 'id="smoke"' not in page
    assert set(re.findall(r'data-kind="([a-z-]+)" aria-pressed', smoke)) == {"smoke"}


def test_a_page_of_rows_that_cannot_stand_side_by_side_says_so() -> None:
    first = timed("pointer", 512, 30.0)
    rows = [first, timed("longformer", 512, 50.0, started=first["started"], ended=first["ended"])]
    text = page_of(table_of(rows))
    assert set(re.findall(r'data-kind="([a-z-]+)" aria-pressed', text)) == {"unsound"}


def test_a_page_of_no_rows_says_what_is_missing() -> None:
    text = page_of(table_of([]))
    assert curves.NO_TIMES in text
    assert "there is no chain to show" in text


def test_every_claim_is_a_card_with_its_command(page: str) -> None:
    known = ledger.read(LEDGER)
    assert re.findall(r'id="claim-([a-z0-9-]+)"', page) == sorted(
        (claim.id for claim in known), key=lambda i: (bool(re.fullmatch(r"c\d", i)), [c.id for c in known].index(i))
    )
    assert len(re.findall(r"data-copy=", page)) == len(known)


def test_every_contradiction_is_explained_in_two_sentences() -> None:
    for claim in ledger.read(LEDGER):
        sentences = re.findall(r"[^.]+(?:\.\d[^.]*)*\.(?=\s|$)", claim.explained)
        assert len(sentences) == (2 if claim.contradiction else 0), claim.id


def test_every_metric_of_rows_is_shown_somewhere() -> None:
    quantities = {test.quantity for claim in ledger.read(LEDGER) for test in claim.tests}
    assert quantities - {None} <= set(verdicts.SHOWN_IN)
    shown = {name for name, _ in verdicts.SHOWN_IN.values()}
    assert shown <= {made.name for made in curves.charts(table_of([]))} | {"explorer"}


def test_plotly_accepts_every_chart(grid: pd.DataFrame) -> None:
    from plotly import graph_objects

    made = [*curves.charts(grid), machines.side_by_side(grid)]
    assert [c.name for c in made if not c.panels] == ["recall"]  # the grid has no row of these tasks
    for panel in (panel for c in made for panel in c.panels):
        data = [{key: value for key, value in trace.items() if key != "meta"} for trace in panel.data]
        figure = graph_objects.Figure(data=data, layout={"shapes": panel.shapes})
        assert len(figure.data) == len(panel.data) > 0
    for entry in explorer.traced(grid)["models"]:
        assert len(graph_objects.Figure(**{k: entry["histogram"][k] for k in ("data", "layout")}).data) == 6


def test_curves_hold_the_rows_numbers_beside_the_papers() -> None:
    rows = table_of([timed("pointer", 512, 400.0), timed("pointer", 1024, 410.0)])
    (panel,) = curves.time(rows).panels
    ours, theirs = [t for t in panel.data if t["meta"]["model"] == "pointer"]
    assert ours["x"] == [512, 1024]
    assert ours["y"] == pytest.approx([20 * 512 * 0.4 / 4096, 20 * 1024 * 0.41 / 4096])
    assert ours["error_y"]["array"] == pytest.approx([0.05 * y for y in ours["y"]], rel=1e-4)
    known = paper.training_time()
    assert theirs["meta"]["role"] == "paper"
    assert theirs["y"] == pytest.approx(list(known.loc[known["model"] == "pointer", "value"]), rel=1e-5)
    assert "pointer 1.00 at 512 to 2.05 at 1,024" in panel.alt


def test_no_panel_of_absolute_numbers_mixes_machines(grid: pd.DataFrame) -> None:
    for made in (curves.time(grid), curves.throughput(grid), curves.peak(grid)):
        labels = [panel.label for panel in made.panels]
        assert [sum(machine in label for machine in (SERVER, LAPTOP)) for label in labels] == [1, 1]


def test_machines_stand_side_by_side_as_ratios(grid: pd.DataFrame) -> None:
    made = machines.side_by_side(grid)
    panel = next(p for p in made.panels if p.label == "pointer against transformer, training")
    assert [t["name"].partition(",")[0] for t in panel.data][:1] == ["2-core laptop"]
    assert [t["name"] for t in panel.data][-1] == paper.PLACE
    cells = summary.speedup(grid, "training", "transformer")
    mine = cells[(cells["model"] == "pointer") & (cells["machine"] == LAPTOP) & (cells["status"] == "ok")]
    assert panel.data[0]["y"] == pytest.approx(list(mine.sort_values("length")["ratio"]), rel=1e-5)
    columns = [column["title"] for column in machines.table(grid).columns]
    assert len([c for c in columns if SERVER in c]) == len([c for c in columns if LAPTOP in c]) == 1


def test_failures_stand_in_the_rows_and_under_the_curves(grid: pd.DataFrame) -> None:
    rows = listing.rows(grid)
    status, reason = (next(n for n, c in enumerate(rows.columns) if c["key"] == key) for key in ("status", "reason"))
    assert len(rows.lines) == len(grid)
    bad = [line for line in rows.lines if line[status] != "ok"]
    assert len(bad) == (grid["status"] != "ok").sum() > 5
    assert all(line[reason] for line in bad)
    assert any(
        "DefaultCPUAllocator" in line and "pointer-dense at N = 2048" in line for line in curves.time(grid).failures
    )


def test_every_row_tells_where_it_comes_from(grid: pd.DataFrame) -> None:
    told = listing.provenance(grid)
    assert len(told["rows"]) == len(grid)
    for line, row in zip(told["rows"], listing.rows(grid).lines, strict=True):
        known = dict(zip(told["keys"], line, strict=False))
        assert known["command"] == "python -m workflow.bench run"
        assert known["git commit"] == "0" * 40
        assert told["versions"][line[-2]] == "torch 2.13.0"
        assert str(row[5]).split("<")[0] in told["machines"][line[-1]]


def test_lines_of_tables_tell_where_they_come_from(grid: pd.DataFrame) -> None:
    table = next(t for t in listing.report_tables(grid) if t.name == "throughput")
    models_column = next(n for n, c in enumerate(table.columns) if c["key"] == "model")
    line = next(n for n, cells in enumerate(table.lines) if cells[models_column] == "longformer")
    assert "24 rows of longformer\ncommit 000000000000" in table.provenance[table.told[line]]
    assert "torch 2.13.0" in table.provenance[table.told[line]]


def unpacked(entry: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(entry["packed"])))
    return content


def test_chains_come_from_the_trace_beside_the_row(grid: pd.DataFrame) -> None:
    found = explorer.traced(grid)
    assert [entry["distance"] for entry in found["models"]] == [2048, 512]
    content, written = unpacked(found["models"][0]), synthetic.trace(2048)
    assert content["tokens"] == written["tokens"]
    assert [i - hop for i, hop in enumerate(content["hops"][2][1])] == written["targets"][2][1]
    assert any("error. RuntimeError: no trace for this model" in line for line in found["left_out"])


def test_a_trace_that_points_ahead_is_left_out_with_its_reason(tmp_path: Path) -> None:
    rows = frame.collect(synthetic.store([traced(512), traced(1024)], tmp_path), tmp_path)
    ahead = tmp_path / "0.trace.json"
    ahead.write_text(json.dumps({"targets": [[[0, 2, 2]]]}))
    (tmp_path / "1.trace.json").unlink()
    found = explorer.traced(rows)
    assert found["models"] == []
    assert [line.rpartition(": ")[2] for line in found["left_out"]] == [
        "no trace lies beside its row",
        "its trace holds targets that are no earlier positions",
    ]


def test_the_histogram_shows_the_papers_hops_where_they_lie() -> None:
    made = explorer.histogram([[1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]], [0, *(2**k for k in range(11))], "#000000")
    assert made["data"][0]["y"] == [0.1, 0, 0.2, 0, 0, 0, 0.3, 0, 0, 0, 0.4]
    ticks = made["layout"]["xaxis"]["ticktext"]
    (band, line) = made["layout"]["shapes"]
    place = ticks.index("32–63")
    assert place - 0.5 < band["x0"] < band["x1"] < place + 0.5
    assert line["x0"] == line["x1"]
    assert ticks.index("256–511") < line["x0"] < ticks.index("256–511") + 0.5
    assert "layer 1 mostly 512–1023 (40%)" in made["alt"]


@pytest.mark.parametrize("colour", [*models.COLOURS, *models.GREYS])
def test_marks_stand_out_on_the_dark_page(colour: str) -> None:
    assert chart._contrast(chart.on_dark(colour), chart.DARK) >= chart.CONTRAST


def test_a_missing_figure_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.parquet"
    table_of([timed("pointer", 512, 400.0)]).to_parquet(rows)
    assert (
        main(["page", "--rows", str(rows), "--figures", str(tmp_path / "time.png"), "--out", str(tmp_path / "report")])
        == 2
    )
    assert "a figure that is drawn" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_library_that_would_end_its_script_is_refused() -> None:
    from workflow.report.page import assets

    with pytest.raises(ValueError, match="cannot be inlined"):
        assets.inline("let x = '</script>'")


def test_the_pictures_of_the_page_are_small(root: Path) -> None:
    for name in ("page-verdicts.png", "page-explorer.png"):
        assert 1_000 < (root / "docs" / "figures" / name).stat().st_size < 300_000
