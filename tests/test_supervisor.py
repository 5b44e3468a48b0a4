"""The supervisor: however the child ends, there is a row that says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from pointer.errors import InputError
from workflow.bench import supervisor
from workflow.bench.outcomes import StoppedError
from workflow.bench.rows import write_row
from workflow.bench.settings import Settings

BEFORE = "import json, os, signal, sys, time\nfrom pathlib import Path\nresult = Path(sys.argv[2])\n"
UNIGNORED = (
    "[signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)]"  # nohup and `&` have them ignored
)
START = "result.with_name(result.name + '.started').touch()\n"


def run(tmp_path: Path, body: str, **settings: Any) -> dict[str, Any]:
    """A row made by a worker with this body; it is fit to be written, whatever its status."""
    script = tmp_path / "worker.py"
    script.write_text(BEFORE + textwrap.dedent(body))
    folder = tmp_path / "files"
    folder.mkdir()
    cell = Settings.of("copy", "chance", **{"memory_limit_bytes": 2**30, **settings})
    return write_row(tmp_path / "row.json", supervisor.run(cell, folder, [sys.executable, str(script)]))


def test_a_result_becomes_a_row_with_its_origin(tmp_path: Path) -> None:
    row = run(tmp_path, "result.write_text(json.dumps({'accuracy': 0.5, 'loss': float('nan')}))")
    assert (row["status"], row["accuracy"], row["loss"], row["reason"]) == ("ok", 0.5, None, None)
    assert row["command"] == "pointer-bench run --experiment copy --model chance --memory-limit-bytes 1073741824"
    assert (row["length"], row["distance"], row["chance"]) == (1280, 512, 0.05)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("bytearray(8 * 2**30)", "oom", "MemoryError"),
        ("raise RuntimeError('DefaultCPUAllocator: not enough memory')", "oom", "DefaultCPUAllocator"),
        ("raise RuntimeError('CUDA out of memory. Tried to allocate')", "oom", "CUDA out of memory"),
        ("raise ValueError('bad shape')", "error", "ValueError: bad shape"),
        ("sys.exit(3)", "error", "exit code 3"),
        ("os.abort()", "error", "SIGABRT|Aborted"),
        ("pass", "error", "without a result"),
        ("result.write_text('{')", "error", "without a result"),
        ("result.write_text('[]')", "error", "without a result"),
        ("result.write_text(json.dumps({'accurracy': 1})) ", "error", "'accurracy'"),
        ("result.write_text(json.dumps({'status': 'unsupported', 'reason': 'no cuda'}))", "unsupported", "no cuda"),
        ("result.write_text(json.dumps({'status': 'diverged', 'reason': 'step 3'}))", "diverged", "step 3"),
        (
            "result.write_text(json.dumps({'status': 'error', 'reason': 'MemoryError: '})); sys.exit(1)",
            "oom",
            "MemoryError",
        ),
        (
            "result.write_text(json.dumps({'status': 'error', 'reason': 'KeyError: x (a.py:3)'})); sys.exit(1)",
            "error",
            "KeyError: x",
        ),
    ],
)
def test_a_bad_end_has_a_status_and_a_reason(tmp_path: Path, body: str, status: str, reason: str) -> None:
    row = run(tmp_path, body)
    assert row["status"] == status
    assert any(part in row["reason"] for part in reason.split("|")), row["reason"]


def kills(monkeypatch: pytest.MonkeyPatch, *counts: int | None) -> None:
    """The kernel's count of processes that it killed for want of memory, at each reading."""
    left = list(counts)
    monkeypatch.setattr(supervisor, "memory_kills", lambda: left.pop(0))


@pytest.mark.parametrize("counts", [(3, 4), (None, None)], ids=["counted", "not counted here"])
def test_a_kill_by_the_kernel_is_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int | None, int | None]
) -> None:
    kills(monkeypatch, *counts)
    row = run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert row["status"] == "oom"
    assert "SIGKILL" in row["reason"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_kill_by_somebody_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kills(monkeypatch, 3, 3)
    with pytest.raises(StoppedError, match=f"ended by {name}.*no row was written"):
        run(tmp_path, f"{UNIGNORED}; os.kill(os.getpid(), signal.{name})")


def test_the_kernels_count_is_read_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "VMSTAT", tmp_path / "vmstat")
    assert supervisor.memory_kills() is None
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 7\n")
    assert supervisor.memory_kills() == 7


def test_a_full_disk_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        run(tmp_path, "raise OSError(28, os.strerror(28))")


def test_a_folder_named_from_here_is_found_by_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "worker.py").write_text(BEFORE + "result.write_text('{\"steps\": 1}')")
    Path("files").mkdir()
    cell = Settings.of("copy", "chance", memory_limit_bytes=2**30)
    row = supervisor.run(cell, Path("files"), [sys.executable, str(tmp_path / "worker.py")])
    assert (row["status"], row["steps"]) == ("ok", 1)


def test_what_was_measured_before_a_bad_end_is_kept(tmp_path: Path) -> None:
    row = run(tmp_path, "result.write_text(json.dumps({'status': 'diverged', 'reason': 'step 3', 'steps': 3}))")
    assert (row["status"], row["steps"]) == ("diverged", 3)


def test_bad_settings_that_only_the_worker_sees_are_bad_input(tmp_path: Path) -> None:
    reported = {"status": "error", "reason": "InputError: no such setting (registry.py:3)"}
    body = f"result.write_text(json.dumps({reported})); sys.exit(1)"
    with pytest.raises(InputError, match=r"^no such setting$"):
        run(tmp_path, body)


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    body = (
        START
        + "child = os.fork()\nPath(sys.argv[1]).with_name('pids').open('a').write(f'{os.getpid()} ')\ntime.sleep(60)"
    )
    began = time.monotonic()
    row = run(tmp_path, body, timeout_s=1)
    assert time.monotonic() - began < 20
    assert (row["status"], row["reason"]) == ("timeout", "still running after 1 s (`timeout_s`)")
    pids = (tmp_path / "files" / "pids").read_text().split()
    assert len(pids) == 2
    assert not any(_alive(int(pid)) for pid in pids)


def test_waiting_for_the_lock_is_no_run_time(tmp_path: Path) -> None:
    assert (
        run(tmp_path, "time.sleep(2.5)\n" + START + "result.write_text('{\"steps\": 1}')", timeout_s=1)["status"]
        == "ok"
    )


def test_an_interrupted_supervisor_leaves_no_worker_behind(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(BEFORE + f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(60)")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        (tmp_path / "pid").unlink(missing_ok=True)
        command = [sys.executable, "-c", PARENT, str(worker)]
        parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        pid = _eventually(lambda: int((tmp_path / "pid").read_text()))
        parent.send_signal(number)
        _, stderr = parent.communicate(timeout=20)
        assert parent.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert "Traceback" not in stderr
        assert _eventually(lambda pid=pid: not _alive(pid))


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from workflow.bench import cli, supervisor, verdicts
verdicts.of = lambda *_: verdicts.Verdict("ok")
supervisor.run.__defaults__ = ((sys.executable, sys.argv[1]),)
sys.exit(cli.main(["run", "--experiment", "copy", "--model", "chance"]))
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else False


def _eventually(ask: Any) -> Any:
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


def test_stderr_of_the_worker_is_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "print('half done', file=sys.stderr); result.write_text('{\"steps\": 1}')")
    assert "half done" in capsys.readouterr().err


def test_the_worker_is_told_every_setting(tmp_path: Path) -> None:
    row = run(tmp_path, "result.write_text(json.dumps({'warnings': [Path(sys.argv[1]).read_text()]}))", seed=7)
    assert json.loads(row["warnings"][0]) == row["settings"]
    assert row["settings"]["seed"] == 7
