"""Rows: what is written comes back, and nothing else; where a row comes from."""

import json
import math
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from workflow.bench import rows, sources
from workflow.bench.cell import Cell
from workflow.bench.rows import RowError, provenance, read_row, write_row
from workflow.bench.rows.provenance import identity
from workflow.bench.sources import ROOT

TIMES = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}


@pytest.fixture(scope="module")
def row():
    return {**identity(Cell.of("copy", "chance")), **TIMES, "status": "ok", "accuracy": 0.05}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": 1.5}, "accuracy is 1.5; accepted: less than or equal to 1"),
        ({"status": "fine"}, "status 'fine' is unknown"),
        ({"threads": 0}, "threads is 0"),
        ({"peak_memory_bytes": 0}, "peak_memory_bytes is 0"),
        ({"loss": math.nan}, "loss is nan"),
        ({"accurracy": 1.0}, "'accurracy' is unknown"),
        ({"length": None}, "length is None"),
        ({"schema": 99}, "schema is 99; accepted: 2"),
    ],
)
def test_what_the_schema_lacks_is_not_written(tmp_path, row, change, words):
    with pytest.raises(RowError, match=words):
        write_row(tmp_path / "row.json", {**row, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_row_comes_back_as_it_was_without_what_does_not_apply(tmp_path, row):
    path = tmp_path / "deep" / "row.json"
    written = write_row(path, row)
    assert read_row(path) == written
    assert set(written) == set(rows.keys())
    assert written["step_ms"] is written["peak_memory_bytes"] is None
    assert written["warnings"] == []
    content = json.loads(path.read_text())
    assert None not in content.values()
    assert content["task"] == {"name": "copy", "distance": 512}
    assert (content["axis"], content["x"]) == ("distance", 512)


def test_rows_of_a_folder_are_read_from_files_and_from_lines(tmp_path, row):
    (tmp_path / "a").mkdir()
    one = write_row(tmp_path / "a" / "lr0.001.json", row)
    (tmp_path / "a" / "lr0.001.trace.json").write_text("{}")
    two = rows.seal({**row, "seed": 1}, "here")
    (tmp_path / "rows.jsonl").write_text(f"{rows.as_json(two, file='copy/chance/d512-s1.json')}\n")
    skipped = Counter()
    read = dict(rows.read_rows(tmp_path, skipped))
    files = (tmp_path / "a" / "lr0.001.json", tmp_path / "copy" / "chance" / "d512-s1.json")
    assert read == dict(zip(files, (one, two), strict=True))
    assert +skipped == Counter({"trace beside a row": 1})


def test_rows_of_some_statuses_are_removed_as_the_docs_say(tmp_path, row):
    command = re.search(r"^grep .*$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    runs = tmp_path / "results" / "runs"
    for status in ("ok", "oom", "error"):
        made = write_row(runs / f"{status}.json", row | {"status": status})
        lines = [rows.as_json(one, file="a.json") for one in (rows.seal(row, ""), made)]
        (runs / f"session-{status}.jsonl").write_text("\n".join(lines))
    subprocess.run(command[0], shell=True, cwd=tmp_path, check=True)
    assert sorted(path.name for path in runs.iterdir()) == ["ok.json", "session-ok.jsonl"]


@pytest.mark.parametrize("line", ["", "{", "[]", '{"file": "a.json"}'])
def test_a_line_that_is_no_row_is_named(tmp_path, row, line):
    good = rows.as_json(rows.seal(row, "here"), file="b.json")
    (tmp_path / "rows.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(RowError, match=r"rows\.jsonl:2|a\.json"):
        rows.read_rows(tmp_path)


def test_a_group_may_write_where_the_umask_says_so(tmp_path, row):
    before = os.umask(0o002)
    write_row(tmp_path / "row.json", row)
    os.umask(before)
    assert (tmp_path / "row.json").stat().st_mode & 0o777 == 0o664


SOURCE = '"""Doc."""\n\n# Note.\nclass A:\n    """Doc."""\n\n    text = """\n# kept\n\n"""  # why\n'


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('"""Doc."""\n\n', '"""Other\nlines."""\n', True),
        ("# Note.\n", "", True),
        ('    """Doc."""\n\n', "", True),
        ("# kept", "# changed", False),  # in a string
        ('\n\n"""  # why', '\n"""  # why', False),
        ("    text", "    texts", False),
        ('A:\n    """Doc."""', "A:\n    'Doc.'; x = 1", False),
    ],
)
def test_docstrings_comments_and_blank_lines_make_no_numbers(before, after, same):
    assert before in SOURCE
    changed = SOURCE.replace(before, after)
    assert (sources.code(changed.encode()) == sources.code(SOURCE.encode())) == same


def test_a_users_git_variables_name_no_other_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    ours = provenance.git_state.__wrapped__()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert provenance.git_state.__wrapped__() == ours


def test_the_source_hash_changes_with_what_makes_a_number_and_with_nothing_else(monkeypatch):
    read = Path.read_bytes
    source_hash = provenance.source_hash.__wrapped__  # without their caches
    shared_hash = provenance.shared_hash.__wrapped__

    def hashes():
        made = {name: source_hash(name, "copy", "copy") for name in ("local", "gla", "pointer")}
        made["shared"] = shared_hash("copy", "copy")
        return made | {"timed": shared_hash("efficiency", "")}

    def changed(file):
        def edited(path):
            return b"edited" if path == ROOT / file else read(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", edited)
            after = hashes()
        return {name for name, value in after.items() if value != before[name]}

    before = hashes()
    copying = {"shared", "local", "gla", "pointer"}
    assert changed("pointer/trunk.py") == {*copying, "timed"}
    assert changed("pointer/content.py") == {"pointer"}
    assert changed("pointer/select_fused.py") == {"pointer"}  # imported where it is needed
    assert changed("workflow/bench/measure/learning.py") == copying
    assert changed("workflow/bench/measure/timing.py") == {"timed"}
    assert changed("workflow/bench/measure/pointers.py") == set()  # of other experiments
    assert changed("workflow/bench/tasks/mqar.py") == set()
    assert changed("workflow/bench/measure/contract.py") == set()  # only verdicts
    assert changed("workflow/bench/tasks/copy.py") == {*copying, "timed"}
    assert changed("baselines/local.py") == {"local"}
    assert changed("baselines/longformer.py") == {"local"}  # which local imports
    assert changed("workflow/report/__main__.py") == set()
    assert changed("workflow/bench/rows/run.py") == set()
