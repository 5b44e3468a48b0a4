"""Tables: values from known rows, failures with their reason, harmless text in every format."""

import html
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
import synthetic
from synthetic import (
    HOSTILE,
    LAPTOP,
    SERVER,
    cell,
    copied,
    failed,
    make,
    peak,
    row,
    table_of,
    timed,
)

from workflow.report import (
    LEDGER,
    claims,
    estimates,
    intervals,
    layout,
    ledger,
    paper,
    render,
    tables,
    verdicts,
)
from workflow.report.page import build

SHORT = "Intel Xeon Processor @ 2.10GHz, 2 cores"  # SERVER in a table


def test_training_time_is_20_sequences_over_the_throughput_of_the_sessions():
    steps, keys = (400.0, 100.0, 200.0), {"model": "pointer-formula", "machine": "m"}
    rows = [timed(length=2048, step_ms=ms, repeat=i, **keys) for i, ms in enumerate(steps)]
    table = make("training_time", rows)  # 4096 tokens a step: 20 sequences are 10 steps
    assert cell(table, 2048, machine="m") == "2.00 [1]"  # and they vary, which a note says
    assert cell(table, 2048, machine="paper", model="pointer-formula") == "1.45"
    assert cell(table, 2048, machine="paper", model="transformer") == "3.55"
    assert table.data.loc[0, ["value", "n", "paper"]].tolist() == pytest.approx([2, 3, 1.45])


def test_machines_devices_and_precisions_are_never_mixed():
    rows = [
        timed("pointer", 2048, 100.0, machine="fast"),
        timed("pointer", 2048, 400.0, machine="slow"),
        timed("pointer", 2048, 10.0, machine="fast", device="cuda"),
        timed("pointer", 2048, 5.0, machine="fast", device="cuda", dtype="bfloat16"),
    ]
    table = make("training_time", rows)
    assert cell(table, 2048, machine="slow") == "4.00"
    assert cell(table, 2048, machine="fast", device="cpu (2 threads)") == "1.00"
    assert cell(table, 2048, machine="fast", device="cuda", dtype="float32") == "0.100"
    assert cell(table, 2048, machine="fast", device="cuda", dtype="bfloat16") == "0.0500"


@pytest.mark.parametrize("name", ["training_time", "throughput", "speedup"])
def test_noise_floor_and_share_of_the_trunk_stand_under_every_table_of_speed(name):
    rows = [timed("identity", n, 95.0) for n in (512, 1024)]
    rows += [timed("pointer", n, 100.0) for n in (512, 1024)]
    rows += [synthetic.twin("pointer", n, 102.0) for n in (512, 1024)]
    notes = make(name, rows).notes
    (floor,) = [note for note in notes if note.startswith("Noise floor")]
    (share,) = [note for note in notes if note.startswith("Speed of pointer as a share of the")]
    assert floor.endswith(": 1.02 (1.02 to 1.02) at N=512, 1.02 (1.02 to 1.02) at N=1024.")
    assert share.endswith(" (identity): 0.95 at N=512, 0.95 at N=1024.")


def test_failures_print_their_status_and_a_cell_not_run_prints_a_dash():
    rows = [
        timed("pointer", 256, 10.0, machine="m"),
        failed("oom", "DefaultCPUAllocator", model="pointer", length=512, machine="m"),
        timed("transformer", 256, 10.0, machine="m"),
        failed("timeout", "ran past 60 s", model="transformer", length=256, machine="m", repeat=1),
    ]
    table = make("training_time", rows)
    assert cell(table, 512, model="pointer", machine="m") == "oom [1]"
    assert cell(table, 512, model="transformer", machine="m") == "–"
    assert cell(table, 256, model="transformer", machine="m") == "0.0125 [2]"
    assert "[1] oom: DefaultCPUAllocator (1 of 1 runs)" in table.notes
    assert "[2] timeout: ran past 60 s (1 of 2 runs)" in table.notes


def test_memory_units():
    saved = row(experiment="complexity", length=256, batch=16, saved_bytes=8 * 2**20)
    table = make("memory", [peak("pointer", 256, 300 * 2**20), saved])
    assert cell(table, 256, quantity="peak, MiB") == "300"
    assert cell(table, 256, quantity="kept for backward, MiB a sequence") == "0.500"
    # 16 sequences of 256
    assert cell(table, 256, quantity="kept for backward, KiB a token") == "2.00"
    assert any("16 at N=256" in note for note in table.notes)


def test_operations_grow_by_2_when_linear_and_are_counted_for_one_sequence():
    rows = []
    for n, batch in ((256, 16), (512, 8)):
        work = {"flops_step": n * batch * 10**6, "flops_forward": n * batch * 10**5}
        rows.append(row(experiment="complexity", length=n, batch=batch, **work))
        own = {"model": "transformer", "length": n, "batch": 1, "flops_step": n * n}
        rows.append(row(experiment="complexity", **own))
    table = make("operations", rows)
    growth = "training step, growth from N/2"
    assert cell(table, 512, model="pointer", quantity=growth) == "2.00×"
    assert cell(table, 512, model="transformer", quantity=growth) == "4.00×"
    assert cell(table, 256, model="transformer", quantity=growth) == "–"
    assert cell(table, 512, model="pointer", quantity="training step, GFLOP") == "0.512"


def test_copy_accuracy_gives_interval_budget_position_and_the_papers_figure():
    rows = [copied("pointer", 512, 0.99), copied("transformer", 512, 0.05)]
    rows.append(copied("chance", 512, 0.05, tokens_used=0))
    table = make("copy_accuracy", rows)
    known = intervals.wilson(0.99 * 10_240, 10_240)
    ours = {"model": "pointer", "position": "learned offset table"}
    text = f"99.00 ({100 * known.low:.2f} to {100 * known.high:.2f})"
    assert cell(table, 512, quantity="accuracy, %", **ours) == text
    assert cell(table, 512, quantity="tokens used", **ours) == "49,152"
    assert cell(table, 512, quantity="tokens until 95%", **ours) == "40,960"
    assert cell(table, 512, quantity="tokens until 95%", model="transformer") == "never"
    learning = table.wide[table.wide["quantity"] == "tokens until 95%"]
    assert "chance" not in set(learning["model"])
    assert cell(table, 512, quantity="accuracy, %", model="transformer", machine="paper") == "99.38"
    assert "Guessing gives 5.00%." in table.notes


def test_machines_have_their_names_and_what_all_lines_share_is_a_note():
    rows = [timed("pointer", 256, 10.0, machine=machine) for machine in (LAPTOP, SERVER)]
    table = make("training_time", rows)
    assert set(table.wide["machine"]) == {LAPTOP, SHORT, "paper"}
    assert "All lines but the paper's: cpu (2 threads), float32." in table.notes
    peaks = [peak("pointer", 256, 2**20), row(experiment="complexity", length=256, saved_bytes=9)]
    assert list(make("memory", peaks).wide) == ["quantity", "model", "256"]


@pytest.fixture(scope="module")
def written(tmp_path_factory, grid):
    """A folder with every table of the grid and its verdicts, of smoke size."""
    rows, numbers = grid
    out = tmp_path_factory.mktemp("tables")
    tables.write(numbers, out, "smoke")
    render.write(claims.table(synthetic.judged(numbers, rows)), out)
    return out


def test_html_keeps_hostile_text_as_text(written):
    for path in written.glob("*.html"):
        assert "<script" not in path.read_text(encoding="utf-8").lower()
    page = (written / "copy_accuracy.html").read_text(encoding="utf-8")
    assert html.escape(HOSTILE) in page


def test_markdown_keeps_hostile_text_as_text(written):
    for path in written.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        body = [line for line in text.splitlines() if line.startswith("|")]
        bars = {line.replace(r"\|", "").count("|") for line in body}
        assert len(bars) == 1, path.name  # none broke out
    text = (written / "copy_accuracy.md").read_text(encoding="utf-8")
    assert r"50%\_{x}&amp;\$\\alpha\$\~^\#" in text


def test_latex_escapes_and_balances(written):
    for path in written.glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\\begin{") == text.count("\\end{")
        assert "\\toprule" in text
        assert "\\bottomrule" in text
        body = re.sub(r"\\begin\{longtable\}.*", "", text)  # its column format has a > of its own
        assert not any(sign in body for sign in "–×≥<>")
    text = (written / "copy_accuracy.tex").read_text(encoding="utf-8")
    assert r"50\%\_\{x\}\&\$\textbackslash{}alpha\$\textasciitilde{}\textasciicircum{}\#" in text


KINDS = ("efficiency", "copy", "complexity", "interpretability")
FAILURES = [failed("error", None, model="pointer", experiment=e, distance=512) for e in KINDS]


@pytest.mark.parametrize("rows", [[], FAILURES], ids=["no rows", "only failures"])
def test_tables_without_a_finished_row_still_stand(rows):
    numbers = estimates.build(table_of(rows))
    for name in tables.NAMES:
        table = tables.make(name, numbers)
        assert render.markdown(table, table.title)
        assert render.latex(table, table.title)
        pd.read_csv(io.StringIO(table.data.to_csv(index=False)))


def test_throughput_as_published():
    rates = paper.throughput().pivot(index="length", columns="model", values="value")
    assert list(rates.index) == [256, 512, 1024, 2048]
    assert list(rates[paper.MODEL]) == [14_446, 34_914, 37_189, 28_268]
    assert list(rates["transformer"]) == [30_320, 29_427, 19_703, 11_549]


DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{array,booktabs,longtable,lscape}
\begin{document}%s\end{document}"""


def test_every_table_fits_a_page_of_latex(written):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex here (Debian: texlive-latex-recommended)")
    inputs = "".join(rf"\input{{{path.name}}}" for path in sorted(written.glob("*.tex")))
    (written / "all.tex").write_text(DOCUMENT % inputs, encoding="utf-8")
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
    rows = table_of([timed("pointer", 512, 9.0), failed("oom", "too large")])
    words = build.state(rows, [], 500)
    quiet = "1 of 500 rows have their numbers; the machine was quiet"
    assert words == f"{quiet}; the controls are right."
    lines = claims.judge(estimates.build(rows), ledger.read(LEDGER))
    assert build.state(rows, lines, 500) == f"{quiet}; controls are off."


def test_the_reference_stands_beside_ones_own_where_the_paper_has_figures():
    here = estimates.build(table_of([timed("pointer", 2048, 100.0, machine="mine")]))
    reference = estimates.of_reference()
    places = set(reference["machine"]) - {"reference"}
    assert places
    assert all(place.startswith("reference: ") for place in places)
    table = tables.make("throughput", here, {"phase": "training"}, reference)
    assert cell(table, 2048, machine="mine") == "40,960"
    for place in places:
        rate = cell(table, 2048, machine=layout.short(place), model="pointer")
        assert float(rate.replace(",", "")) > 0
    assert cell(table, 2048, machine="paper", model="transformer") == "11,549"
    assert set(table.data["machine"]) == {"mine"}  # its numbers are not one's own
    copied = tables.make("copy_accuracy", here, {"quantity": "accuracy"}, reference).wide
    machines = copied.loc[copied["model"].eq("transformer"), "machine"]
    assert machines.isin(["reference", "paper"]).all()
    assert tables.make("memory", here, None, reference).data["machine"].isin(["mine"]).all()


def test_a_table_has_a_line_a_model():
    rows = [
        *(timed(m, 512, t) for m, t in (("pointer", 50.0), ("transformer", 100.0))),
        copied("pointer", 512, 0.99),
        copied("pointer", 512, 0.5, tokens_budget=10),
    ]
    wide = make("models", rows).wide.set_index("model")
    line = wide.loc["Pointer, linear (this suite)"]
    assert line[["copy D=512", "speed N=512"]].tolist() == ["99.0", "2.00"]
    assert not wide.index.duplicated().any()
