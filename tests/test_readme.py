"""The README's results: kept rows are the rows that were made, and the section says what they say and nothing else."""

import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import HOSTILE, SERVER, Row, copied, failed, row, store, timed, traced

from pointer.errors import InputError
from workflow.bench.rows import read_row
from workflow.report import figures, layout, readme
from workflow.report.__main__ import main
from workflow.report.keep import LARGEST_TRACE_BYTES, keep
from workflow.report.layout import Table

REFERENCE = Path("results/reference")
EVERYONE = "**Every model's copy accuracy"


def rows() -> list[Row]:
    """One machine: two models timed, one copy run, and three cells that failed or are hostile."""
    return [
        timed("pointer", 2048, 200.0),
        timed("transformer", 2048, 500.0),
        failed("oom", "out of memory: 9 GiB", model="longformer", length=2048),
        copied("pointer", 512, 0.9971),
        failed("diverged", "loss is NaN at step 17", experiment="copy", model="transformer", distance=512),
        copied(HOSTILE, 512, 0.05),
    ]


def section(made: list[Row], folder: Path) -> str:
    """The section of these rows."""
    store(made, folder)
    return readme.section(readme.read(folder), folder, "docs/figures")


def line(text: str, *starts: str) -> list[str]:
    """The cells of the one line of a table that begins so."""
    lines = [[cell.strip() for cell in found.strip("|").split("|")] for found in text.splitlines() if found[:1] == "|"]
    found = [cells for cells in lines if cells[: len(starts)] == list(starts)]
    assert len(found) == 1, found
    return found[0]


def test_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    text = section(rows(), tmp_path)
    assert line(text, "training, against transformer", "pointer", "A")[-1] == "2.50"
    assert line(text, "training, against transformer", "pointer", "paper")[-1] == "2.45"
    assert line(text, "training, tokens/s", "pointer", "A")[-1] == "20,480"
    assert line(text, "training, tokens/s", "transformer", "A")[-1] == "8,192"
    copy = line(text.partition(EVERYONE)[0], "accuracy, %", "pointer", "learned offset table", "A")
    assert any(cell.startswith("99.71 (99.") for cell in copy)
    assert "40,960" in line(text, "tokens until 95%", "pointer", "learned offset table")
    assert "inference, tokens/s" not in text


def test_origin_names_machine_versions_commit_and_how_the_rows_ended(tmp_path: Path) -> None:
    first = section(rows(), tmp_path).splitlines()[0]
    assert SERVER in first
    assert "6 rows (4 ok, 1 diverged, 1 oom)" in first
    assert "torch 2.13.0" in first
    assert "`000000000000`." in first


def test_machines_within_a_text_are_named_by_a_code_below_it() -> None:
    named = pd.DataFrame({"cell": ["N=512, a long machine, 2 cores, cpu", "on a long machine, 2 cores (new): 3"]})
    names = ["a long machine, 2 cores", "a long machine, 2 cores (new)", "another long machine, 2 cores", "short"]
    table = layout.coded(Table("claims", "", named, named, ("Rules.",)), names)
    assert list(table.wide["cell"]) == ["N=512, A, cpu", "on B: 3"]
    assert table.notes == ("Rules.", "A: a long machine, 2 cores.", "B: a long machine, 2 cores (new).")


def test_failures_show_their_status_and_reason_and_names_are_harmless(tmp_path: Path) -> None:
    text = section(rows(), tmp_path)
    assert line(text, "training, against transformer", "longformer")[-1].startswith(r"oom \[")
    assert "out of memory: 9 GiB" in text
    for table in text.split(EVERYONE):
        cells = line(table, "accuracy, %", "transformer", "learned absolute", "A")
        assert any(cell.startswith("diverged") for cell in cells)
    assert "<script>" not in text


@pytest.mark.parametrize("made", [[failed("error", "broken")], [copied("chance", 512, 0.05)]], ids=["failed", "copy"])
def test_section_can_be_made_of_little(made: list[Row], tmp_path: Path) -> None:
    assert "1 row (1 " in section(made, tmp_path)


def test_only_what_is_between_the_markers_changes_and_twice_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [part.figure for part in readme.PARTS if part.figure]
    monkeypatch.setattr(figures, "FIGURES", dict.fromkeys(drawn, lambda *_: Figure()))
    store(rows(), tmp_path / "rows")
    page = tmp_path / "README.md"
    page.write_text(f"above\n{readme.BEGIN}\nreplaced\n{readme.END}\nbelow\n", encoding="utf-8")
    drawings = tmp_path / "docs" / "figures"
    arguments = ["readme", "--rows", str(tmp_path / "rows"), "--readme", str(page), "--figures", str(drawings)]
    assert main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert main(arguments) == 0
    assert page.read_text(encoding="utf-8") == text
    assert text.startswith(f"above\n{readme.BEGIN}\nMeasured on")
    assert text.endswith(f"{readme.END}\nbelow\n")
    assert "replaced" not in text
    assert f"--rows {tmp_path}/rows" in text
    linked = re.findall(r"!\[.+?\]\((docs/figures/\w+\.png)\)", text)
    assert len(linked) == 2
    assert all((tmp_path / file).is_file() for file in linked)


@pytest.mark.parametrize("text", ["", readme.BEGIN, f"{readme.END}{readme.BEGIN}", 2 * (readme.BEGIN + readme.END)])
def test_missing_markers_are_named(text: str, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"markers of .*README.md .*results:begin"):
        readme.around(page)


def test_a_cell_that_stands_twice_with_other_settings_is_refused(tmp_path: Path) -> None:
    store([copied("pointer", 512, 0.9), copied("pointer", 512, 0.8, tokens_budget=5)], tmp_path)
    with pytest.raises(InputError, match=r"0\.json and .*1\.json.*one row a cell"):
        readme.read(tmp_path)


def test_sizes_of_a_task_are_cells_of_their_own_and_each_task_has_its_table(tmp_path: Path) -> None:
    known = {"accuracy": 0.5, "tokens_used": 9}
    hops = [row(experiment="khop", task="khop", hops=k, length=128, **known) for k in (1, 2)]
    far = row(experiment="induction", task="induction", length=1024, **known)
    store([*hops, far], tmp_path)
    frame = readme.read(tmp_path)
    shown = [part for part in readme.parts(frame) if part.build]
    assert [part.heading for part in shown] == ["Recall by content"]
    text = str(shown[0].build(frame))  # type: ignore[misc]
    first, second = text.split("**Accuracy on khop by hops k (")
    assert "Accuracy on induction by length N (" in first
    assert [heads(part) for part in (first, second)] == [["1024"], ["1", "2"]]
    assert [part.count("Hard argmax inference") for part in (first, second)] == [0, 1]


def heads(text: str) -> list[str]:
    """The sizes across a Markdown table."""
    line = next(line for line in text.splitlines() if line.startswith("| quantity"))
    return [cell.strip() for cell in line.split("|") if cell.strip().isdigit()]


def test_every_models_copy_accuracy_is_shown_where_most_were_trained(tmp_path: Path) -> None:
    made = [copied("pointer", 512, 1.0), copied("pointer", 777, 1.0), copied("logsparse", 512, 0.25)]
    table = readme.everyone_copying(table_frame(made, tmp_path))
    assert isinstance(table, Table)
    assert table.title.startswith("Every model's copy accuracy by distance D")
    assert list(table.wide["model"]) == ["pointer", "logsparse"]
    assert [column for column in table.wide if column.isdigit()] == ["512"]
    assert "logsparse attends to positions a power of two back: D=512 is one step for it." in table.notes
    assert readme.everyone_copying(table_frame([made[0], made[1]], tmp_path / "fewer")) == ""


def table_frame(made: list[Row], folder: Path) -> pd.DataFrame:
    """The frame of these rows."""
    store(made, folder)
    return readme.read(folder)


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--rows"):
        readme.read(tmp_path)


def test_kept_rows_are_the_same_bytes_with_small_traces_and_without_weights(tmp_path: Path) -> None:
    files = {"trace": "trace.json", "weights": "weights.safetensors"}
    manifest = store([*rows(), traced(512, files=files), traced(1024)], tmp_path / "runs")
    (tmp_path / "runs" / "6.weights.safetensors").write_bytes(b"weights")
    (tmp_path / "runs" / "7.trace.json").write_text(" " * LARGEST_TRACE_BYTES, encoding="utf-8")
    kept = keep(manifest, tmp_path / "kept")
    there = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert set(kept) == set(there)
    machine = tmp_path / "kept" / "intel-r-xeon-r-processor-2-10ghz-2-cores"
    assert there[machine / "efficiency" / "pointer" / "0.json"] == (tmp_path / "runs" / "0.json").read_bytes()
    assert sorted(path.name for path in machine.glob("interpretability/pointer/*")) == [
        "6.json",
        "6.trace.json",
        "7.json",
    ]
    assert all(machine in path.parents for path in there)
    keep(manifest, tmp_path / "kept")
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == there


def test_the_committed_section_is_what_the_committed_rows_give(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    if not REFERENCE.is_dir():
        pytest.skip("no rows are committed yet: results/reference does not exist")
    text = Path("README.md").read_text(encoding="utf-8")
    command = re.search(r"python -m workflow\.report readme --rows (\S+)`", text)
    assert command, "the README has no generated section: python -m workflow.report readme"
    folder, (before, after) = Path(command[1]), readme.around(Path("README.md"))
    made = readme.section(readme.read(folder), folder, "docs/figures")
    assert text == f"{before}{readme.BEGIN}\n{made}{readme.END}{after}"
    drawn = [part.figure for part in readme.parts(readme.read(folder)) if part.figure]
    assert len(drawn) >= 2
    assert all((root / "docs" / "figures" / f"{name}.{kind}").is_file() for name in drawn for kind in ("png", "svg"))
    assert all(read_row(path) for path in pd.unique(readme.read(folder)["path"]))


def test_a_machine_has_one_code_in_all_tables(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    codes = set(re.findall(r"^- ([A-Z]+): (.+, \d+ cores)\.$", text, re.MULTILINE))
    assert len(codes) > 1
    assert len(codes) == len({code for code, _ in codes}) == len({machine for _, machine in codes})
