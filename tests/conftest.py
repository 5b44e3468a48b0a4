"""What all tests share: --full, why a test is skipped, long files first, one shared pipeline."""

import fcntl
import functools
import os
import shutil
import sys
import tempfile
import time

import pytest

# Tests check results, not speed: one thread each, and no window. Set before torch and matplotlib
# are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A machine lock of this test process alone: the times of its rows are nobody's result.
own_lock = f"{tempfile.gettempdir()}/pointer-bench-tests-{os.getpid()}.lock"
os.environ.setdefault("POINTER_BENCH_LOCK", own_lock)

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SLURM_COMMANDS = ("slurmctld", "slurmd", "munged", "squeue")
# The files that take longest come first, so that the workers of pytest-xdist end together. Between
# those that need the fixture `undisturbed` stand some that do not, so that no worker waits for it.
LONG_FILES = (
    "test_kills.py", "test_contract.py", "test_readme.py", "test_walkthrough.py", "test_slurm.py",
    "test_workflow.py", "test_fuzz.py", "test_page_browser.py", "test_style.py", "test_triton.py",
    "test_baselines.py",
)  # fmt: skip


def pytest_addoption(parser):
    words = "run the tests marked full as well (many minutes)"
    parser.addoption("--full", action="store_true", help=words)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_runtest_setup(item):
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        pytest.skip("takes minutes: runs with --full (make test-full)")
    for marker, reason in (("browser", no_browser), ("slurm", _no_slurm), ("gpu", _no_gpu)):
        if item.get_closest_marker(marker) and (why := reason()):
            pytest.skip(why)


@pytest.fixture(autouse=True)
def small_numbers():
    """Keep the smallest numbers after a test that runs the worker here, which sets them to zero."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def chromium_path():
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def no_browser():
    return "" if chromium_path() else "no Chromium here (.ci/install-system-packages chromium)"


def _no_slurm():
    missing = [command for command in SLURM_COMMANDS if not shutil.which(command)]
    if missing:
        package = "Debian: .ci/install-system-packages slurm-wlm munge"
        return f"no Slurm here: {', '.join(missing)} ({package})"
    return "" if os.geteuid() == 0 else "starting the Slurm daemons needs root"


@functools.cache
def _no_gpu():
    import torch

    present = torch.cuda.is_available() or torch.backends.mps.is_available()
    return "" if present else "no CUDA or MPS device here"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A pipeline of `pipelines.TIER`, run once; seconds.txt: what it takes, contracts known."""
    import pipelines

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "undisturbed"
    seconds = folder / "seconds.txt"
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not seconds.exists():
            shutil.rmtree(folder, ignore_errors=True)
            start = time.time()
            pipelines.finish(pipelines.new_folder(folder))
            starting = (folder / "results" / ".pipeline").stat().st_mtime - start
            contracts = (folder / pipelines.CONTRACTS).iterdir()
            checked = max(path.stat().st_mtime for path in contracts)
            seconds.write_text(str(starting + time.time() - checked))
    return folder


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    """Rows of every kind with their traces, and their estimates."""
    import synthetic

    from workflow.report import estimates, frame

    folder = tmp_path_factory.mktemp("grid")
    rows = frame.collect(synthetic.store(synthetic.grid(), folder), folder)
    return rows, estimates.build(rows)


@pytest.fixture
def measured(monkeypatch):
    """Cells that were measured, by a stand-in for the child process and for the contract."""
    from workflow.bench.outcomes import Clock
    from workflow.bench.rows import complete, contracts, provenance, run

    cells = []

    def at_once(asked, folder):
        cells.extend(asked)
        (folder / "weights.safetensors").write_bytes(b"w")
        known = {**provenance.identity(asked[0]), **Clock().times(), "status": "oom"}
        known |= {"reason": "too big", "files": {"weights": "weights.safetensors"}}
        return [complete(known)], None

    monkeypatch.setattr(run, "run", at_once)
    passed = contracts.Verdict("chance", {}, "", "ok", [])
    monkeypatch.setattr(contracts, "verdict", lambda *_: passed)
    return cells
