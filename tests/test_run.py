"""However the child ends, there is a row that says so; a finished row is left as it is."""

import contextlib
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from workflow.bench.cell import Cell
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import child, provenance, run, write_row

BEFORE = """import json, os, signal, sys, time
from pathlib import Path
result = Path(sys.argv[2])
"""
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
    script = tmp_path / "worker.py"
    script.write_text(BEFORE + textwrap.dedent(body))
    folder = tmp_path / "files"
    folder.mkdir()
    cell = Cell.of("copy", "chance", **{"memory_limit_bytes": 2**30, **settings})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "WORKER", (sys.executable, str(script)))
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


def kills(monkeypatch, *counts):
    """The kernel's count of processes that it killed for want of memory, at each reading."""
    left = list(counts)
    monkeypatch.setattr(child, "memory_kills", lambda: left.pop(0))


@pytest.mark.parametrize("counts", [(3, 4), (None, None)], ids=["counted", "not counted here"])
def test_a_kill_by_the_kernel_is_want_of_memory(tmp_path, monkeypatch, counts):
    kills(monkeypatch, *counts)
    row = measured(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert row["status"] == "oom"
    assert "SIGKILL" in row["reason"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_kill_by_somebody_is_no_result(tmp_path, monkeypatch, name):
    kills(monkeypatch, 3, 3)
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
    worker = tmp_path / "worker.py"
    noted = f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    worker.write_text(BEFORE + noted)
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        (tmp_path / "pid").unlink(missing_ok=True)
        command = [sys.executable, "-c", PARENT, str(worker)]
        parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        pid = _eventually(lambda: int((tmp_path / "pid").read_text()))
        parent.send_signal(number)
        _, stderr = parent.communicate(timeout=20)
        assert parent.returncode == code
        assert "Traceback" not in stderr
        assert _eventually(lambda pid=pid: not _alive(pid))


PARENT = """
import signal, sys
# SIGINT is ignored where the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
from workflow.bench import cli
from workflow.bench.rows import child, contracts
contracts.verdict = lambda *_: contracts.Verdict("chance", {}, "", "ok", [])
child.WORKER = (sys.executable, sys.argv[1])
sys.exit(cli.main(["run", "--experiment", "copy", "--model", "chance"]))
"""


def _alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _eventually(ask):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            found = ask()
        except (OSError, ValueError):
            found = None
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("never came true")


def test_a_hard_limit_below_the_machines_memory_is_kept(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from workflow.bench.rows import child;"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30));"
        "child.WORKER = ['true'];"
        "print(child.execute({}, Path(sys.argv[1]), memory_bytes=2**40).code)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    for sources, left in (("a", False), ("a", True), ("b", False), ("a", False)):
        monkeypatch.setattr(provenance, "source_hash", lambda *_, sources=sources: sources)
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
