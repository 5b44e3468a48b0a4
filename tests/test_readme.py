"""docs/results.md and the README's answer: the numbers of the rows and nothing else."""

import json
import re
import shlex
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from synthetic import HOSTILE, copied, failed, store, timed, traced

from workflow.bench import cli
from workflow.bench.sources import ROOT
from workflow.report import LEDGER, claims, estimates, figures, ledger, models, readme, why
from workflow.report.__main__ import main
from workflow.report.frame import LARGEST_TRACE_BYTES, keep, listed_rows, load

REFERENCE = Path("results/reference")
LINEAR = models.title("pointer")
MACHINE = "Intel Xeon Processor @ 2.10GHz, 2 cores"  # SERVER, without what tells nothing apart
BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
MARKERS = f"{BEGIN}\nreplaced\n{END}\n<!-- why:begin -->\nreplaced\n<!-- why:end -->\n"


def rows():
    """One machine: two models timed, one copy run, and three cells that failed or are hostile."""
    lost = {"experiment": "copy", "model": "transformer", "distance": 512}
    return [
        timed("pointer", 2048, 200.0),
        timed("transformer", 2048, 500.0),
        failed("oom", "out of memory: 9 GiB", model="longformer", length=2048),
        copied("pointer", 512, 0.9971),
        failed("diverged", "loss is NaN at step 17", **lost),
        copied(HOSTILE, 512, 0.05),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def page(folder):
    """Write README.md and results.md of the rows, without drawing; return the latter."""
    store(rows(), folder / "rows")
    (folder / "README.md").write_text(f"above\n{MARKERS}below\n", encoding="utf-8")
    (folder / "docs").mkdir()
    places = {"rows": "rows", "readme": "README.md", "results": "docs/results.md"}
    places["figures"] = "docs/figures"
    arguments = [f"--{name}={folder / place}" for name, place in places.items()]
    with pytest.MonkeyPatch.context() as patch:
        nothing = dict.fromkeys(figures.FIGURES, lambda *_: Figure())
        patch.setattr(figures, "FIGURES", nothing)
        assert main(["readme", *arguments]) == 0
    return (folder / "docs" / "results.md").read_text(encoding="utf-8")


def line(text, *starts):
    """The cells of the one line of a table that begins so."""
    rows = [row.strip("|").split("|") for row in text.splitlines() if row[:1] == "|"]
    lines = [[cell.strip() for cell in row] for row in rows]
    (matching,) = [cells for cells in lines if cells[: len(starts)] == list(starts)]
    return matching


def under(text, title):
    return text.partition(f"\n**{title}")[2].partition("\n**")[0]


def test_numbers_are_those_of_the_rows(page, folder):
    speed, rate = under(page, "Speed-up over transformer"), under(page, "Tokens/s in training")
    assert line(speed, LINEAR, MACHINE)[-1] == "2.50"
    assert line(speed, models.title("pointer-formula"), "paper")[-1] == "2.45"
    assert line(rate, LINEAR, MACHINE)[-1] == "20,480"
    copied = line(under(page, "Copy accuracy in %"), LINEAR, "learned offset table")
    assert any(cell.startswith("99.71 (99.") for cell in copied)
    assert f"Machines: {MACHINE} (6 rows)" in page
    claim = "Copy accuracy exceeds 95% at every distance up to 2048"
    answer = line((folder / "README.md").read_text(), claim)
    assert answer[1] == "over 95%"
    verdict = "**invalid: controls off**: D=512, 49,152 of 100,000 tokens: 99.71%"
    assert answer[3].startswith(verdict)


def test_failures_show_their_status_and_reason_and_names_are_harmless(page):
    assert line(under(page, "Speed-up over transformer"), "longformer")[-1].startswith(r"oom \[")
    assert "out of memory: 9 GiB" in page
    assert "diverged" in page
    assert "loss is NaN at step 17" in page
    assert "<script>" not in page


def test_only_the_answer_of_the_readme_changes(page, folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("above\n<!-- answer:begin -->\n| claim")
    assert text.endswith("<!-- why:end -->\nbelow\n")
    assert "replaced" not in text
    drawn = {path.name for path in (folder / "docs" / "figures").iterdir()}
    assert drawn == {"speedup.png", "copy_accuracy.png"}
    assert all(f"](figures/{name})" in page for name in drawn)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kept_rows_are_the_same_with_small_traces_and_without_weights(tmp_path):
    files = {"trace": "trace.json", "weights": "weights.safetensors"}
    manifest = store([*rows(), traced(512, files=files), traced(1024)], tmp_path / "runs")
    (tmp_path / "runs" / "6.weights.safetensors").write_bytes(b"weights")
    (tmp_path / "runs" / "7.trace.json").write_text(" " * LARGEST_TRACE_BYTES, encoding="utf-8")
    kept = keep(listed_rows(manifest), tmp_path / "kept", replace=True)
    files_kept = contents(tmp_path / "kept")
    assert set(kept) == set(files_kept)
    machine = tmp_path / "kept" / "intel-r-xeon-r-processor-2-10ghz-2-cores"
    trace = machine / "interpretability" / "pointer" / "6.trace.json"
    assert set(files_kept) == {machine / "rows.jsonl", trace}
    lines = [json.loads(line) for line in files_kept[machine / "rows.jsonl"].splitlines()]
    assert len(lines) == len(rows()) + 2
    made = json.loads((tmp_path / "runs" / "0.json").read_text())
    assert lines[0] == {**made, "file": f"efficiency/{made['session']}/0.json"}
    keep(listed_rows(manifest), tmp_path / "kept", replace=True)
    assert contents(tmp_path / "kept") == files_kept


@pytest.fixture(scope="module")
def reference():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        frame = load(REFERENCE)
    return frame, estimates.build(frame)


def test_the_committed_pages_are_what_the_committed_rows_give(reference, monkeypatch):
    monkeypatch.chdir(ROOT)
    frame, table = reference
    book = ledger.read(LEDGER)
    lines = claims.judge(table, book, unsound=claims.unsound_rows(frame))
    text = Path("README.md").read_text(encoding="utf-8")
    example = readme.example(frame, table, REFERENCE)
    assert readme.with_block(text, "answer", readme.answer(lines), Path("README.md")) == text
    assert readme.with_block(text, "why", example, Path("README.md")) == text
    assert Path("docs/results.md").read_text("utf-8") == readme.page(frame, table, "figures")
    report = readme.document(frame, table, book, lines)
    assert Path("docs/report.md").read_text("utf-8") == report


def test_the_example_in_the_readme_prints_what_stands_below_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    text = Path("README.md").read_text(encoding="utf-8")
    block = text.partition("```console\n$ pointer-bench ")[2].partition("```")[0]
    command, _, output = block.partition("\n")
    assert cli.main([*shlex.split(command), "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == output
    assert "pointer-bench session" in output


def test_commands_below_the_tables_are_answered(reference):
    """Each finds estimates, of which a reader then chooses one."""
    table = reference[1]
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    commands = re.findall(r"^Rows: `pointer-bench why (.+)`$", text, re.MULTILINE)
    assert commands
    for quantity, *words in map(shlex.split, commands):
        names = [name.removeprefix("--") for name in words[::2]]
        given = dict(zip(names, words[1::2], strict=True))
        assert len(why.select(table, quantity, given)) > 0
