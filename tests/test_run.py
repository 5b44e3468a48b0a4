"""Rows: however the child ends, a row says so; what is written comes back; where it comes from."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pipelines
import psutil
import pytest

from workflow.bench import rows
from workflow.bench.cell import Cell
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import RowError, child, provenance, read_row, run, write_row
from workflow.bench.sources import ROOT, code

# nohup and `&` have them ignored
UNIGNORED = "[signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)]"
START = "result.write_text(json.dumps({'kind': 'started'}))\n"


def done(**row):
    return f"result.write_text(json.dumps({{'kind': 'ok', 'rows': [{row}]}}))"


def ended(kind, message):
    """The statements of a worker that ends without a row."""
    result = {"kind": kind, "message": message}
    return f"result.write_text(json.dumps({result})); sys.exit(1)"


def measured(tmp_path, body, **settings):
    """A row made by a worker with this body; it is fit to be written, whatever its status."""
    code = pipelines.STAND_IN + textwrap.dedent(body)
    folder = tmp_path / "files"
    folder.mkdir()
    cell = Cell.of("copy", "chance", **{"memory_limit_bytes": 2**30, **settings})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "WORKER", (sys.executable, "-c", code))
        (row,), _ = run.run([cell], folder)
    return write_row(tmp_path / "row.json", row)


def test_a_result_becomes_a_row_with_its_origin(tmp_path):
    row = '{"accuracy": 0.5, "loss": NaN, "status": "ok"}'
    body = f'result.write_text(\'{{"kind": "ok", "rows": [{row}]}}\')'
    row = measured(tmp_path, body)
    assert (row["status"], row["accuracy"], row["loss"], row["reason"]) == ("ok", 0.5, None, None)
    options = "--experiment copy --model chance --lr 0.001 --memory-limit-bytes 1073741824"
    assert row["command"].endswith(options)
    assert (row["length"], row["x"], row["chance"]) == (640, 512, 0.05)


BAD_ENDS = [
    ("sys.exit(3)", "error", "exit code 3"),
    ("os.abort()", "error", "SIGABRT"),
    ("pass", "error", "without a result"),
    ("result.write_text('{')", "error", "without a result"),
    (done(status="unsupported", reason="no cuda"), "unsupported", "no cuda"),
    (done(status="diverged", reason="step 3", steps=3), "diverged", "step 3"),
    (ended("oom", "MemoryError: "), "oom", "MemoryError"),
]


@pytest.mark.parametrize(("body", "status", "reason"), BAD_ENDS)
def test_a_bad_end_has_a_status_and_a_reason(tmp_path, body, status, reason):
    row = measured(tmp_path, body)
    assert row["status"] == status
    assert reason in row["reason"]
    assert row["steps"] == (3 if status == "diverged" else None)


# The kernel's count of processes that it killed for want of memory, at each reading.
@pytest.mark.parametrize("counts", [(3, 4), (None, None)], ids=["counted", "not counted here"])
def test_a_kill_by_the_kernel_is_want_of_memory(tmp_path, monkeypatch, counts):
    monkeypatch.setattr(child, "memory_kills", Mock(side_effect=counts))
    row = measured(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert row["status"] == "oom"
    assert "SIGKILL" in row["reason"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_kill_by_somebody_is_no_result(tmp_path, monkeypatch, name):
    monkeypatch.setattr(child, "memory_kills", Mock(side_effect=(3, 3)))
    with pytest.raises(EnvironmentFault, match=f"ended by {name}.*no row was written"):
        measured(tmp_path, f"{UNIGNORED}; os.kill(os.getpid(), signal.{name})")


def test_a_full_disk_is_no_result(tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        measured(tmp_path, ended("full", ""))


def test_a_timeout_kills_the_whole_group(tmp_path):
    body = f"{START}child = os.fork()\npids = Path(sys.argv[1]).with_name('pids')\n"
    body += "pids.open('a').write(f'{os.getpid()} ')\ntime.sleep(60)"
    began = time.monotonic()
    row = measured(tmp_path, body, timeout_s=1)
    assert time.monotonic() - began < 20
    assert (row["status"], row["reason"]) == ("timeout", "still running after 1 s (`timeout_s`)")
    pids = (tmp_path / "files" / "pids").read_text().split()
    assert len(pids) == 2
    assert not any(_alive(int(pid)) for pid in pids)


def test_waiting_for_the_lock_is_no_run_time(tmp_path):
    body = f"time.sleep(2.5)\n{START}{done(status='ok')}"
    assert measured(tmp_path, body, timeout_s=1)["status"] == "ok"


def test_an_interrupted_supervisor_leaves_no_worker_behind(tmp_path):
    noted = f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    command = [sys.executable, "-c", pipelines.BENCH, pipelines.STAND_IN + noted]
    command += ["run", "--experiment", "copy", "--model", "chance"]
    for number, ended in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        (tmp_path / "pid").unlink(missing_ok=True)
        parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        pid = pipelines.eventually(lambda: int((tmp_path / "pid").read_text()))
        parent.send_signal(number)
        _, stderr = parent.communicate(timeout=20)
        assert parent.returncode == ended
        assert "Traceback" not in stderr
        assert pipelines.eventually(lambda pid=pid: not _alive(pid))


def _alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_hard_limit_below_the_machines_memory_is_kept(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from workflow.bench.rows import child;"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30));"
        "child.WORKER = ['true'];"
        "print(child.execute({}, Path(sys.argv[1]), memory_bytes=2**40).code)"
    )
    done = pipelines.ran(sys.executable, "-c", code, str(tmp_path))
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_cell_alone_says_how_many_threads_numba_has(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    body = """
    row = {"status": "ok", "warnings": [os.environ.get("NUMBA_NUM_THREADS", "free")]}
    result.write_text(json.dumps({"kind": "ok", "rows": [row]}))
    """
    assert measured(tmp_path, body)["warnings"] == ["free"]


CELL = Cell.of("copy", "chance")
TIMES = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}


def put(path, **changes):
    row = {**provenance.identity(CELL), **TIMES, "status": "ok", "files": None, **changes}
    return run.write(row, path.parent, path)


def test_what_may_change_is_tried_again(tmp_path):
    statuses = ("ok", "oom", "unsupported", "diverged", "error", "timeout")
    for status in statuses:
        put(tmp_path / f"{status}.json", status=status, reason="because")
    left = [s for s in statuses if run.kept([CELL], tmp_path / f"{s}.json")]
    assert left == ["ok", "oom", "unsupported", "diverged"]


def test_a_row_of_another_cell_or_of_other_sources_is_measured_again(tmp_path, monkeypatch):
    path = tmp_path / "row.json"
    assert [put(path)] == run.kept([CELL], path)
    assert run.kept([CELL.model_copy(update={"seed": 1})], path) == []
    monkeypatch.setattr(provenance, "source_hash", lambda *_: "0" * 16)
    assert run.kept([CELL], path) == []
    monkeypatch.undo()
    path.write_text(path.read_text()[:-40])
    assert run.kept([CELL], path) == []


def test_a_checkpoint_outlives_a_killed_process_but_not_its_sources(tmp_path, monkeypatch):
    out = tmp_path / "row.json"
    for digest, left in (("a", False), ("a", True), ("b", False), ("a", False)):
        monkeypatch.setattr(provenance, "source_hash", lambda *_, digest=digest: digest)
        with run.work_folder(CELL, out) as folder:
            assert (folder / "checkpoint").exists() == left
            (folder / "checkpoint").mkdir(exist_ok=True)
    with run.work_folder(CELL, out) as folder:
        (folder / "checkpoint").rmdir()
    assert list(tmp_path.iterdir()) == []


def test_the_deadline_skips_an_optional_row_and_the_next_run_makes_it(
    tmp_path, monkeypatch, measured
):
    out = tmp_path / "r.json"
    monkeypatch.setenv(run.DEADLINE, "0")
    row, _ = run.row_of(CELL, out, keep=True, optional=True)
    assert (row["status"], measured) == ("skipped", [])
    assert row["reason"].startswith("deadline: ")
    assert run.tried(out) == 1  # another parameter of the job, so that Snakemake runs it again
    run.row_of(CELL, out, keep=True)
    assert measured == [CELL]  # what a verdict needs is never cut

    out.unlink()
    run.row_of(CELL, out, keep=True, optional=True)
    monkeypatch.delenv(run.DEADLINE)
    row, kept = run.row_of(CELL, out, keep=True, optional=True)
    assert (row["attempt"], kept, measured) == (1, False, [CELL, CELL])
    assert run.tried(out) == 1
    assert run.row_of(CELL, out, keep=True, optional=True) == (row, True)


@pytest.fixture(scope="module")
def row():
    return {**provenance.identity(CELL), **TIMES, "status": "ok", "accuracy": 0.05}


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
    assert (code(changed.encode()) == code(SOURCE.encode())) == same


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
