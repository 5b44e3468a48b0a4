"""What all tests share: the repository's folder, the option --full, and the reasons why a marked
test is skipped."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Tests check results, not speed: one thread each, and no window. Set before torch and matplotlib
# are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A machine lock of this test process alone: the times of its rows are nobody's result.
os.environ.setdefault(
    "POINTER_BENCH_LOCK", f"{tempfile.gettempdir()}/pointer-bench-tests-{os.getpid()}.lock"
)

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SLURM_COMMANDS = ("slurmctld", "slurmd", "munged", "squeue")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run the tests marked full as well (many minutes)"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        pytest.skip("takes minutes: runs with --full (make test-full)")
    for marker, reason in (("browser", _no_browser), ("slurm", _no_slurm), ("gpu", _no_gpu)):
        if item.get_closest_marker(marker) and (why := reason()):
            pytest.skip(why)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """How many cases the fuzzing tried and how many processes the fault tests killed."""
    from hostile import TALLY

    counts = config.stash.get(TALLY, {})
    if counts:
        terminalreporter.section("counts")
        terminalreporter.write_line(", ".join(f"{name}: {count}" for name, count in counts.items()))
        fuzzed = sum(count for name, count in counts.items() if name.startswith("fuzzed"))
        terminalreporter.write_line(f"fuzzed in all: {fuzzed} cases")


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def _no_browser() -> str:
    return "" if _chromium() else "no Chromium here (Debian: .ci/install-system-packages chromium)"


def _no_slurm() -> str:
    missing = [command for command in SLURM_COMMANDS if not shutil.which(command)]
    if missing:
        package = "Debian: .ci/install-system-packages slurm-wlm munge"
        return f"no Slurm here: {', '.join(missing)} ({package})"
    return "" if os.geteuid() == 0 else "starting the Slurm daemons needs root"


@functools.cache
def _no_gpu() -> str:
    import torch

    return (
        ""
        if torch.cuda.is_available() or torch.backends.mps.is_available()
        else "no CUDA or MPS device here"
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; for tests marked browser."""
    found = _chromium()
    assert found, _no_browser()
    return found
