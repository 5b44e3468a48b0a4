"""Tables fit a page, with the reference beside; a change remakes a part of the report."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import synthetic
from synthetic import cell, timed

from workflow.bench.grid import PARTS, REPORT, Grid
from workflow.bench.sources import ROOT
from workflow.report import claims, estimates, render, tables, verdicts
from workflow.report.page import build

NEEDED = "array,booktabs,longtable,lscape"
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{%s}
\begin{document}%s\end{document}"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a folder with every table of synthetic rows and the verdicts."""
    folder = tmp_path_factory.mktemp("tables")
    rows = synthetic.table_of(synthetic.grid())
    numbers = estimates.build(rows)
    tables.write(numbers, folder)
    render.write(claims.table(synthetic.judged(numbers, rows)), folder)
    return folder


def test_every_table_fits_a_page_of_latex(written):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex here (Debian: texlive-latex-recommended)")
    inputs = "".join(rf"\input{{{path.name}}}" for path in sorted(written.glob("*.tex")))
    (written / "all.tex").write_text(DOCUMENT % (NEEDED, inputs), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(2):  # longtable knows its widths the second time
        done = subprocess.run(command, cwd=written, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout) == []


def test_columns_of_latex_are_no_wider_than_a_page(written):
    for path in written.glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        widths = [float(width) for width in re.findall(r"p\{([\d.]+)pt\}", text)]
        room = render.HEIGHT if "landscape}" in text else render.WIDTH
        assert sum(widths) + 6 * len(widths) <= room + 1, path.name
    assert "landscape" in (written / "claims.tex").read_text(encoding="utf-8")


def test_the_answer_is_at_most_twelve_lines_with_what_is_next(written):
    lines = verdicts.text(written / "claims.csv").splitlines()
    assert len(lines) <= 12
    assert lines[0].startswith("Does Pointer work? ")
    assert re.search(r"Next, for \d+ open verdicts: snakemake --cores 4 \w+, about ", lines[-1])


def test_the_page_says_how_many_of_the_planned_rows_are_there():
    rows = synthetic.table_of([timed("pointer", 512, 9.0), synthetic.failed("oom", "too large")])
    words = build.state(estimates.build(rows), rows, 500)
    assert words.startswith("1 of 500 rows have their numbers; the machine was quiet; ")


def test_the_reference_stands_beside_ones_own_where_the_paper_has_figures():
    here = estimates.build(synthetic.table_of([timed("pointer", 2048, 100.0, machine="mine")]))
    reference = estimates.of_reference()
    places = set(reference["machine"]) - {"reference"}
    assert places
    assert all(place.startswith("reference: ") for place in places)
    table = tables.make("throughput", here, {"phase": "training"}, reference)
    (place,) = places
    assert cell(table, 2048, machine="mine") == "40,960"
    assert float(cell(table, 2048, machine=place, model="pointer").replace(",", "")) > 0
    assert cell(table, 2048, machine="paper", model="transformer") == "11,549"
    assert set(table.data["machine"]) == {"mine"}  # its numbers are not one's own
    copied = tables.make("copy_accuracy", here, {"quantity": "accuracy"}, reference).wide
    machines = copied.loc[copied["model"].eq("transformer"), "machine"]
    assert machines.isin(["reference", "paper"]).all()
    assert tables.make("memory", here, None, reference).data["machine"].isin(["mine"]).all()


def test_a_table_has_a_line_a_model():
    rows = [
        *(timed(m, 512, t) for m, t in (("pointer", 50.0), ("transformer", 100.0))),
        synthetic.copied("pointer", 512, 0.99),
        synthetic.copied("pointer", 512, 0.5, tokens_budget=10),
    ]
    wide = synthetic.make("models", rows).wide.set_index("model")
    line = wide.loc["Pointer, linear (this suite)"]
    assert line[["copy D=512", "speed N=512"]].tolist() == ["99.0", "2.00"]
    assert not wide.index.duplicated().any()


def test_no_part_of_the_report_reads_a_file_that_would_not_remake_it():
    owner = {file: part for part, names in PARTS.items() for n in names for file in REPORT.glob(n)}
    follows = {"page": {"tables", "figures", "claims"}, "none": set(PARTS)}
    for file in REPORT.rglob("*.py"):
        text, part = file.read_text(encoding="utf-8"), owner.get(file, "shared")
        for read, other in owner.items():
            module = ".".join(read.relative_to(ROOT).with_suffix("").parts)
            named = module in text or re.search(
                rf"from {module.rpartition('.')[0]} import [^)]*?\b{read.stem}\b", text
            )
            allowed = {part, "estimates"} | follows.get(part, set())
            if named and read.suffix == ".py" and file.name != "__main__.py":
                assert other in allowed, f"{file.name} of {part} reads {read.name} of {other}"


def test_a_change_remakes_one_part_of_the_report(monkeypatch):
    grid = Grid({})
    for part, names in PARTS.items():
        assert all(list(REPORT.glob(name)) for name in names), part
    before = {part: grid.report_code(part) for part in PARTS}
    read, changed = Path.read_bytes, set()

    def edited(path):
        return b"edited" if path.name in changed else read(path)

    monkeypatch.setattr(Path, "read_bytes", edited)
    for name, parts in (("figures.py", {"figures"}), ("layout.py", set(PARTS))):
        changed = {name}
        after = {part: grid.report_code(part) for part in PARTS}
        assert {part for part in PARTS if after[part] != before[part]} == parts
