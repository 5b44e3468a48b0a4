"""kill -9 at random moments: no finished row is lost and no half row is read."""

import contextlib
import random
import time

import pipelines
import psutil
import pytest

SEED = 20250802
QUICK, DEEP = 2, 20  # kills of jobs and of pipelines in turn


def disturb(folder, who, after, draw, *target):
    """Start a pipeline and kill it, or one of its jobs, after some seconds; return what was hit."""
    running = pipelines.start(folder, *target)
    pipelines.wait(after, running)
    children = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(running.pid).children(recursive=True)
    hit = pipelines.kill(running, who, draw)
    before = pipelines.rows(folder)
    running.wait(timeout=pipelines.LONGEST_S)  # a pipeline that lost a job goes on with the others
    if draw.random() < 0.5:
        # Jobs outlive their pipeline; sometimes the next one meets them.
        psutil.wait_procs(children, timeout=60)
    assert "Traceback" not in pipelines.output(folder), pipelines.output(folder)
    assert pipelines.digests(before) <= pipelines.digests(pipelines.rows(folder))
    return hit


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path, undisturbed, request):
    full, draw = request.config.getoption("--full"), random.Random(SEED)
    wanted = pipelines.rows(undisturbed)
    seconds = float((undisturbed / "seconds.txt").read_text())
    for number in range(DEEP if full else QUICK):
        # Deep, the models' contracts are checked once again, and may be hit there.
        known = undisturbed / pipelines.CONTRACTS if number or not full else None
        folder = pipelines.new_folder(tmp_path / str(number), known)
        moment = draw.uniform(0.15, 0.95) * seconds
        hit = disturb(folder, ("job", "pipeline")[number % 2], moment, draw)
        kept = pipelines.rows(folder)
        pipelines.finish(folder)
        pipelines.compare(pipelines.rows(folder), wanted)
        assert pipelines.digests(kept) <= pipelines.digests(pipelines.rows(folder))
        print(f"kill {number + 1}: at {moment:.1f} of {seconds:.1f} s, {hit or 'all was over'}")


@pytest.mark.full
@pytest.mark.parametrize("who", ["pipeline", "job"])
def test_a_killed_smoke_tier_ends_as_an_undisturbed_one(tmp_path, who):
    draw = random.Random(f"{SEED} {who}")
    quiet, loud = pipelines.new_folder(tmp_path / "quiet"), pipelines.new_folder(tmp_path / "loud")
    start = time.monotonic()
    pipelines.finish(quiet, "smoke")
    seconds = time.monotonic() - start
    disturb(loud, who, draw.uniform(0.2, 0.8) * seconds, draw, "smoke")
    pipelines.finish(loud, "smoke")
    pipelines.compare(pipelines.rows(loud), pipelines.rows(quiet))
    tables = {path.relative_to(quiet) for path in (quiet / "results" / "smoke").rglob("*.csv")}
    made = {path.relative_to(loud) for path in (loud / "results" / "smoke").rglob("*.csv")}
    assert made == tables
