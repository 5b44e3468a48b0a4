"""How far a pipeline is: rows counted by what is there, time left by the pace so far."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflow.bench import progress


def test_the_time_left_follows_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(progress.INSIDE, "1")
    assert progress.words() == ""
    now = 1_000_000_000.0
    monkeypatch.setattr(progress.time, "time", lambda: now)
    progress.begin({"a": 600.0, "b": 600.0, "c": 1200.0})
    assert re.fullmatch(r"\[0 of 3, 0 s, about 40 min left\] ", progress.words())
    now += (
        2400  # half done in twice the time: the rest takes 40 minutes more, a little less by plan
    )
    Path("a").touch()
    Path("b").touch()
    minutes = re.fullmatch(r"\[2 of 3, 40 min, about (\d+) min left\] ", progress.words())
    assert minutes is not None
    assert 36 <= int(minutes[1]) <= 40
    monkeypatch.delenv(progress.INSIDE)
    assert progress.words() == ""  # of a row that is made by hand
