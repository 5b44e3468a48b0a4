"""How far a pipeline is: rows counted by what is there, time left by the pace so far."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import synthetic

from workflow.bench import progress
from workflow.bench.rows import timed


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    progress.show("a row")
    return capsys.readouterr().out


def test_the_time_left_follows_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(progress.INSIDE, "1")
    assert shown(capsys) == "a row\n"
    now = 1_000_000_000.0
    monkeypatch.setattr(progress.time, "time", lambda: now)
    progress.begin({"a": 600.0, "b": 600.0, "c": 1200.0})
    assert shown(capsys) == "[0 of 3, 0 s, about 40 min left] a row\n"
    # Half done in twice the time: the rest takes 40 minutes more, a little less by the plan.
    now += 2400
    Path("a").touch()
    Path("b").touch()
    minutes = re.fullmatch(r"\[2 of 3, 40 min, about (\d+) min left\] a row\n", shown(capsys))
    assert minutes is not None
    assert 36 <= int(minutes[1]) <= 40
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    terminal = shown(capsys)
    assert re.fullmatch(r"\r\x1b\[Ka row\n█{10}░{10} 2 of 3, 40 min, about \d+ min left", terminal)
    monkeypatch.setenv("COLUMNS", "30")
    assert len(shown(capsys).splitlines()[-1]) < 30
    monkeypatch.delenv(progress.INSIDE)
    assert shown(capsys) == "a row\n"  # of a row that is made by hand


def test_a_session_tells_its_ratios_beside_the_papers() -> None:
    plain: dict[str, object] = {"mixer": {}, "twin": False}
    steps = {"transformer": 300.0, "pointer-formula": 200.0, "pointer": 100.0}
    rows = [synthetic.timed(name, 2048, ms, settings=plain) for name, ms in steps.items()]
    rows.append(synthetic.twin("pointer", 2048, 1.0))
    assert timed.ratios(rows) == [
        "N=2048: pointer-formula trains 1.50x as fast as transformer (paper 2.45x)",
        "N=2048: pointer trains 3.00x as fast as transformer",
    ]
    assert timed.ratios(rows[1:]) == []
