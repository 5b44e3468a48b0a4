"""docs/results.md and the README's answer: the numbers of the rows and nothing else. Kept rows are the same bytes."""

from pathlib import Path

import pytest
from synthetic import HOSTILE, Row, copied, failed, store, timed, traced

from pointer.errors import InputError
from workflow.report import figures, readme
from workflow.report.__main__ import main
from workflow.report.keep import LARGEST_TRACE_BYTES, keep

REFERENCE = Path("results/reference")


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


def written(made: list[Row], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """README.md and results.md of these rows, without drawing."""
    monkeypatch.setattr(figures, "FIGURES", dict.fromkeys(figures.FIGURES, lambda _: figures.canvas.nothing("t", "w")))
    store(made, folder / "rows")
    page = folder / "README.md"
    if not page.is_file():
        page.write_text(f"above\n{readme.BEGIN}\nreplaced\n{readme.END}\nbelow\n", encoding="utf-8")
    (folder / "docs").mkdir(exist_ok=True)
    places = {"rows": "rows", "readme": "README.md", "results": "docs/results.md", "figures": "docs/figures"}
    arguments = [text for name, place in places.items() for text in (f"--{name}", str(folder / place))]
    assert main(["readme", *arguments]) == 0
    return {name: (folder / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")}


def line(text: str, *starts: str) -> list[str]:
    """The cells of the one line of a table that begins so."""
    lines = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row[:1] == "|"]
    matching = [cells for cells in lines if cells[: len(starts)] == list(starts)]
    assert len(matching) == 1, matching
    return matching[0]


def test_numbers_are_those_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = written(rows(), tmp_path, monkeypatch)
    text = pages["docs/results.md"]
    assert line(text, "training, against transformer", "pointer", "A")[-1] == "2.50"
    assert line(text, "training, against transformer", "pointer", "paper")[-1] == "2.45"
    assert line(text, "training, tokens/s", "pointer", "A")[-1] == "20,480"
    assert any(cell.startswith("99.71 (99.") for cell in line(text, "accuracy, %", "pointer", "learned offset table"))
    assert "40,960" in line(text, "tokens until 95%", "pointer", "learned offset table")
    answer = line(pages["README.md"], "Copy accuracy exceeds 95% at every distance up to 2048")
    assert answer[1:] == ["over 95%", "0.997", "invalid: controls off"]


def test_failures_show_their_status_and_reason_and_names_are_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(rows(), tmp_path, monkeypatch)["docs/results.md"]
    assert line(text, "training, against transformer", "longformer")[-1].startswith(r"oom \[")
    assert "out of memory: 9 GiB" in text
    assert "diverged" in text
    assert "loss is NaN at step 17" in text
    assert "<script>" not in text


@pytest.mark.parametrize("made", [[failed("error", "broken")], [copied("chance", 512, 0.05)]], ids=["failed", "copy"])
def test_the_page_can_be_made_of_little(made: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "## Real text" not in written(made, tmp_path, monkeypatch)["docs/results.md"]


def test_only_the_answer_of_the_readme_changes_and_twice_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(rows(), tmp_path, monkeypatch)
    assert written(rows(), tmp_path, monkeypatch) == first
    text = first["README.md"]
    assert text.startswith(f"above\n{readme.BEGIN}\n| claim")
    assert text.endswith(f"{readme.END}\nbelow\n")
    assert "replaced" not in text
    drawn = {path.name for path in (tmp_path / "docs" / "figures").iterdir()}
    assert drawn == {"speedup.png", "copy_accuracy.png"}
    assert all(f"](figures/{name})" in first["docs/results.md"] for name in drawn)


@pytest.mark.parametrize("text", ["", readme.BEGIN, f"{readme.END}{readme.BEGIN}", 2 * (readme.BEGIN + readme.END)])
def test_missing_markers_are_named(text: str, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"markers of .*README.md .*answer:begin"):
        readme.around(page)


def test_a_cell_that_stands_twice_with_other_settings_is_refused(tmp_path: Path) -> None:
    store([copied("pointer", 512, 0.9), copied("pointer", 512, 0.8, tokens_budget=5)], tmp_path)
    with pytest.raises(InputError, match=r"0\.json and .*1\.json.*one row a cell"):
        readme.read(tmp_path)


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


def test_the_committed_pages_are_what_the_committed_rows_give(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    frame = readme.read(REFERENCE)
    before, after = readme.around(Path("README.md"))
    text = Path("README.md").read_text(encoding="utf-8")
    assert text == f"{before}{readme.BEGIN}\n{readme.answer(frame)}{readme.END}{after}"
    assert Path("docs/results.md").read_text(encoding="utf-8") == readme.page(frame, REFERENCE, "figures")
