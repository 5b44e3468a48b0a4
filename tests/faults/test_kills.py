"""kill -9 at random moments: no finished row is lost, no half row is read, and the end is an
undisturbed run's."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pipelines
import psutil
import pytest
from hostile import TALLY
from pipelines import Rows

SEED = 20250802
QUICK, DEEP = 3, 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, float, Path]:
    """The rows of a run that nobody disturbs, its folder of verdicts on models, and the seconds of
    a run with these."""
    folder, again = (tmp_path_factory.mktemp("undisturbed") for _ in range(2))
    pipelines.finish(folder)
    contracts = Path("results", "contracts")
    shutil.copytree(folder / contracts, again / contracts)
    start = time.monotonic()
    pipelines.finish(again)
    return pipelines.rows(folder), time.monotonic() - start, folder / contracts


def seals(rows: Rows) -> set[str]:
    """The digests of rows: they tell one measurement from another."""
    return {row["digest"] for row in rows.values()}


def disturb(
    folder: Path, who: str, after: float, draw: random.Random, target: list[str] | None = None
) -> str:
    """Starts a pipeline and kills it, or one of its jobs, after some seconds; says what was hit."""
    running = pipelines.start(folder, target)
    pipelines.wait(after, running)
    children = pipelines.descendants(running)
    hit = pipelines.kill(running, who, draw)
    before = pipelines.rows(folder)
    running.wait(timeout=pipelines.LONGEST_S)  # a pipeline that lost a job goes on with the others
    if draw.random() < 0.5:
        psutil.wait_procs(
            children, timeout=60
        )  # jobs outlive their pipeline; sometimes the next one meets them
    assert "Traceback" not in pipelines.said(folder), pipelines.said(folder)
    assert seals(before) <= seals(pipelines.rows(folder))  # and none is half
    return hit


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(
    tmp_path: Path, undisturbed: tuple[Rows, float, Path], request: pytest.FixtureRequest
) -> None:
    wanted, seconds, contracts = undisturbed
    draw, tally = random.Random(SEED), request.config.stash.setdefault(TALLY, {})
    full = request.config.getoption("--full")
    for number in range(DEEP if full else QUICK):
        folder = tmp_path / str(number)
        folder.mkdir()
        if number or not full:  # else the models' contracts are checked again, and may be hit there
            shutil.copytree(contracts, folder / "results" / "contracts")
        moment = draw.uniform(0.15, 0.95) * seconds
        hit = disturb(folder, ("job", "pipeline")[number % 2], moment, draw)
        kept = pipelines.rows(folder)
        pipelines.finish(folder)
        pipelines.compare(pipelines.rows(folder), wanted)
        assert seals(kept) <= seals(pipelines.rows(folder))  # kept, not measured again
        print(
            f"kill {number + 1}: at {moment:.1f} of {seconds:.1f} s, {hit or 'all was over'}, "
            f"{len(kept)} rows kept"
        )
        tally["kills"] = tally.get("kills", 0) + bool(hit)


@pytest.mark.full
@pytest.mark.parametrize("who", ["pipeline", "job"])
def test_a_killed_smoke_tier_ends_as_an_undisturbed_one(tmp_path: Path, who: str) -> None:
    quiet, loud, draw, start = (
        tmp_path / "quiet",
        tmp_path / "loud",
        random.Random(f"{SEED} {who}"),
        time.monotonic(),
    )
    quiet.mkdir(), loud.mkdir()
    pipelines.finish(quiet, ["smoke"])
    seconds = time.monotonic() - start
    disturb(loud, who, draw.uniform(0.2, 0.8) * seconds, draw, ["smoke"])
    pipelines.finish(loud, ["smoke"])
    wanted = pipelines.rows(quiet)
    pipelines.compare(pipelines.rows(loud), wanted)
    made = {path.relative_to(quiet) for path in (quiet / "results" / "smoke").rglob("*.csv")}
    assert made == {path.relative_to(loud) for path in (loud / "results" / "smoke").rglob("*.csv")}
