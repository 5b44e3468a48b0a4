"""Tables: values from known rows, failures with their reason, harmless text in every format."""

import html
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
import synthetic
from synthetic import LAPTOP, SERVER, cell, copied, failed, learned, make, mqar, peak, row, timed

from workflow.report import claims, estimates, intervals, layout, paper, render, tables, verdicts
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
    out = tmp_path_factory.mktemp("tables")
    tables.write(grid[1], out, "smoke")
    render.write(claims.table(synthetic.judged(*grid)), out)
    return out


def test_html_keeps_hostile_text_as_text(written):
    for path in written.glob("*.html"):
        assert "<script" not in path.read_text(encoding="utf-8").lower()
    page = (written / "copy_accuracy.html").read_text(encoding="utf-8")
    assert html.escape(synthetic.HOSTILE) in page


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


@pytest.mark.parametrize("rows", [[], synthetic.FAILURES], ids=["no rows", "only failures"])
def test_tables_without_a_finished_row_still_stand(rows):
    numbers = estimates.build(synthetic.table_of(rows))
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
    rows = synthetic.table_of([timed("pointer", 512, 9.0), failed("oom", "too large")])
    words = build.state(rows, [], 500)
    quiet = "1 of 500 rows have their numbers; the machine was quiet"
    assert words == f"{quiet}; the controls are right."
    lines = synthetic.judged(rows)
    assert build.state(rows, lines, 500) == f"{quiet}; controls are off."


def test_the_reference_stands_beside_ones_own_where_the_paper_has_figures():
    here = estimates.build(synthetic.table_of([timed("pointer", 2048, 100.0, machine="mine")]))
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


def test_recall_gives_accuracy_interval_tokens_and_chance_of_each_task():
    rows = [
        mqar("pointer", 4, 0.31),
        mqar("transformer", 4, 0.99),
        mqar("transformer", 16, 0.5, tokens_to_95=90_000),  # a lucky look
        learned("induction", "transformer", 0.07, length=256, chance=1 / 15),
    ]
    table = make("recall", rows)
    until, share = "mqar by pairs: tokens until 95%", "mqar by pairs: accuracy, %"
    assert cell(table, 16, quantity=until, model="transformer") == "never"
    known = intervals.wilson(990, 1000)
    low, high = 100 * known.low, 100 * known.high
    text = cell(table, 4, quantity=share, model="transformer")
    assert text == f"99.00 ({low:.2f} to {high:.2f})"
    assert cell(table, 4, quantity="mqar by pairs: tokens used", model="transformer") == "200,000"
    assert cell(table, 4, quantity=until, model="transformer") == "150,000"
    assert cell(table, 4, quantity=until, model="pointer") == "never"
    assert cell(table, 16, quantity=share, model="pointer") == "–"
    other = "induction by length N: accuracy, %"
    assert cell(table, 256, quantity=other, model="transformer").startswith("7.00")
    assert any("mqar 0.78%; induction 6.67%" in note for note in table.notes)
    assert any("may stop early: mqar 300,000; induction 300,000." in note for note in table.notes)


def test_notes_name_what_is_no_better_than_identity_and_the_sources_budget():
    shares = {"identity": 0.05, "gla": 0.06, "transformer": 0.5}
    known = {"tokens_budget": 500_000, "batch": 4}
    rows = [mqar(model, 16, share, **known) for model, share in shares.items()]
    notes = make("recall", rows).notes
    assert "No better than identity, which mixes nothing, on mqar: gla (at 16)." in notes
    (source,) = [note for note in notes if "times fewer" in note]
    assert "here it is 1,952 sequences, 4 a step: 3,279 times fewer" in source


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("selective-copy", "trains on 25,600,000 sequences, 64 a step; here"),
        ("induction", "trains on 1,638,400 sequences, 8 a step; here"),
        ("khop", "trains on 3,200,032 sequences, 32 a step; here"),
        ("listops", "trains on 160,000 sequences, 32 a step; here"),
        ("string-copy", "states neither sequences nor steps of its training."),
    ],
)
def test_a_note_sets_the_budget_of_every_tasks_source_beside_ours(task, words):
    notes = make("recall", [learned(task, "transformer", 0.5)]).notes
    assert [note for note in notes if note.startswith(f"The source of {task} {words}")]


def test_lengths_that_do_not_follow_from_the_size_are_cells_of_their_own():
    table = make("recall", [mqar("transformer", 16, 0.9), mqar("transformer", 16, 0.6, length=512)])
    lines = table.wide[table.wide["quantity"] == "mqar by pairs: accuracy, %"]
    assert [text.partition(" ")[0] for text in lines["16"]] == ["90.00", "60.00"]
    assert list(lines["N"]) == ["16 a pair", "512"]


def test_longer_strings_than_training_had_are_sizes_without_tokens():
    known = {"letters": 50, "length": 102, "accuracy_by_size": [[100, 0.4, 900]]}
    table = make("recall", [learned("string-copy", "transformer", 0.98, **known)])
    by = "string-copy by letters"
    assert cell(table, 50, quantity=f"{by}: tokens used", model="transformer") == "200,000"
    assert cell(table, 100, quantity=f"{by}: accuracy, %", model="transformer") == "40.00"
    assert cell(table, 100, quantity=f"{by}: tokens used", model="transformer") == "–"


def test_whole_strings_are_counted_over_the_strings_of_all_seeds():
    known = {"letters": 50, "length": 102, "accuracy_by_size": [[100, 0.4, 900]]}
    rows = []
    for seed, right in enumerate(([50, 50, 49, 0], [49, 49, 50, 49])):
        keys = {"seed": seed, "correct_by_sequence": right, **known}
        rows.append(learned("string-copy", "transformer", 0.9, **keys))
    table = make("recall", [*rows, mqar("transformer", 16, 0.9, correct_by_sequence=[16, 16])])
    by = "string-copy by letters: whole strings right, %"
    assert cell(table, 50, quantity=by, model="transformer") == "37.5"
    assert cell(table, 100, quantity=by, model="transformer") == "–"
    assert not table.wide["quantity"].str.contains("mqar by pairs: whole").any()


def test_bits_a_byte_come_from_both_experiments_that_train_on_text():
    text = {"task": "bytes", "length": 1024, "data_hash": "abc", "tokens_used": 99_328}
    text |= {"bits_per_byte_guessing": 4.6, "accuracy": 0.4}
    traced = {"experiment": "interpretability", "model": "pointer"}
    rows = [row(experiment="bytes", model="transformer", bits_per_byte=3.21, **text)]
    rows += [row(bits_per_byte=2.5, **traced, **text)]
    rows += [row(distance=512, task="copy", length=640, **traced)]
    table = make("bytes", rows)
    assert cell(table, 1024, quantity="bits a byte", model="transformer") == "3.21"
    assert cell(table, 1024, quantity="bits a byte", model="pointer") == "2.50"
    assert cell(table, 1024, quantity="next byte right, %", model="pointer") == "40.00"
    assert set(table.data["x"]) == {1024}
    assert any("4.60 bits" in note for note in table.notes)
    assert any("abc" in note for note in table.notes)


def test_a_note_names_the_models_that_use_no_context_of_text_yet():
    text = {"experiment": "bytes", "task": "bytes", "length": 1024, "data_hash": "abc"}
    text["tokens_used"] = 99_328
    bits = {"transformer": 3.6, "local": 3.7, "deltanet": 2.8, "identity": 3.6}
    rows = [row(model=model, bits_per_byte=value, **text) for model, value in bits.items()]
    fewer = row(model="gla", bits_per_byte=4.0, **text | {"tokens_used": 50_000})
    (note,) = [note for note in make("bytes", [*rows, fewer]).notes if "identity" in note]
    assert note.startswith("transformer, local do not do better than identity")
    assert not any("identity" in note for note in make("bytes", rows[2:]).notes)


def test_a_note_says_what_distance_no_layer_of_a_window_sees():
    rows = [copied(model, d, 0.05) for model in ("longformer", "local") for d in (512, 1536)]
    note = "longformer at D=1536 (1,530 back); local at D=512, 1536 (378 back)"
    assert f"Out of reach by construction: {note}." in make("copy_accuracy", rows).notes


def test_a_cell_of_an_ablation_says_mean_spread_and_how_many_seeds_got_there():
    table = make("ablation", synthetic.ablated())
    until, one = "tokens until 95%", {"model": "pointer", "variant": "credit to candidates only"}
    defaults = cell(table, 512, model="pointer", variant="", quantity=until)
    assert defaults == "50,000 (40,000 to 60,000)"
    assert cell(table, 512, model="pointer", variant="no credit", quantity=until) == "never"
    assert cell(table, 512, **one, quantity=until) == "40,000, 1 of 3 seeds"
    assert cell(table, 512, **one, quantity="accuracy, %") == "36.67 (5.00 to 100.00)"
    notes = " ".join(table.notes)
    assert "10,000 tokens (D=512)" in notes
    assert "Budget: 200,000 tokens" in notes
