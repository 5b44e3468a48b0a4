"""A model that breaks its contract is refused: the check is red with the reason, and its row has the reason and no
number. The verdict is asked for once a version of the sources."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from pointer.errors import InputError
from workflow.bench import cli, outside, provenance, registry, supervisor, verdicts
from workflow.bench.measure import contract
from workflow.bench.outcomes import StoppedError
from workflow.bench.rows import read_row
from workflow.bench.run import measure
from workflow.bench.settings import Settings

CHANCE = Settings("complexity", "chance")
MEASURED = ("step_ms", "inference_ms", "accuracy", "flops_step", "n_params", "peak_memory_bytes")
BROKEN = {  # class of tests/planted.py -> the check that it fails and the reason
    "Leaky": ("causal", "output 0 differs by"),
    "WrongShape": ("shapes", "the mixer of layer 0 returns y [3, 9, 64] for x [3, 10, 64]"),
    "AcrossBatch": ("independent of batch", "output 0 differs by"),
    "Stateful": ("repeatable", "two inference calls on the same tokens differ at position 0"),
    "Heavy": ("parity", "parameters without position tables; accepted: 3,200,000 within 10%"),
}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/ is on Python's path, here and in processes that are started."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")


@pytest.mark.parametrize("kind", BROKEN)
def test_the_check_of_a_planted_model_is_red_with_its_reason(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, (check, words) = outside.joined("bad", f"planted:{kind}"), BROKEN[kind]
    assert cli.main(["check", name]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"FAIL  {check}: ") and words in line for line in lines), lines
    assert lines[-1].endswith("no number of it is published")


def test_an_honest_model_outside_keeps_the_contract() -> None:
    assert [found for found in contract.check("good=planted:Honest") if not found.ok] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Leaky", *(pytest.param(k, marks=pytest.mark.full) for k in BROKEN if k != "Leaky")])
def test_the_row_of_a_broken_model_says_why_and_holds_no_number(tmp_path: Path, kind: str) -> None:
    argv = ["run", "--experiment", "efficiency", "--model", f"bad=planted:{kind}", "--threads", "1"]
    check, words = BROKEN[kind]
    for name in ("first", "second"):
        assert cli.main([*argv, "--store", str(tmp_path / "store"), "--out", str(tmp_path / f"{name}.json")]) == 0
        row = read_row(tmp_path / f"{name}.json")
        assert row["status"] == "error"
        assert row["reason"].startswith(f"breaks its contract: {check}: ")
        assert words in row["reason"]
        assert [row[key] for key in MEASURED] == [None] * len(MEASURED)
    kept = list((tmp_path / "store" / "contracts").glob("bad-*.json"))
    assert len(kept) == 1
    assert json.loads(kept[0].read_text())["status"] == "error"


def test_settings_that_break_the_contract_are_refused_and_others_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = outside.joined("sneaky", "planted:Sneaky")
    argv = ["run", "--experiment", "complexity", "--model", name, "--length", "64", "--threads", "1"]
    for given, status in (([], "ok"), (["--set", "leak=true"], "error")):
        out = tmp_path / f"{status}.json"
        assert cli.main([*argv, *given, "--store", str(tmp_path / "store"), "--out", str(out)]) == 0
        assert read_row(out)["status"] == status
    assert read_row(out)["reason"].startswith("breaks its contract: causal: output 0 differs by")
    assert cli.main(["check", name, "--set", "leak=true"]) == 1
    assert "FAIL  causal" in capsys.readouterr().out
    assert cli.main([*argv, "--set", "leek=1", "--store", str(tmp_path / "store")]) == 2
    assert "'leek' is unknown. Did you mean 'leak'?" in capsys.readouterr().err


def test_what_else_fails_with_a_setting_is_the_models() -> None:
    found = list(contract.check(outside.joined("fragile", "planted:Fragile"), {"power": 2}))
    assert [(check.name, check.ok) for check in found] == [("builds", False)]
    assert found[0].reason.startswith("raised KeyError: 2 (planted.py, line ")


def test_a_setting_that_is_no_keyword_is_told_how_to_become_one() -> None:
    with pytest.raises(
        InputError, match=r"setting power of .* accepted: a keyword: `def __init__\(self, shape, \*, power"
    ):
        contract.check(outside.joined("positional", "planted:Positional"), {"power": 2})
    with pytest.raises(InputError, match="'shape' is unknown"):
        contract.check(outside.joined("positional", "planted:Positional"), {"shape": 2})


def test_settings_of_an_own_model_lift_no_check() -> None:
    found = list(contract.check(outside.joined("fragile", "planted:Fragile"), {"power": 1}))
    assert {"same in training", "gradients"} <= {check.name for check in found if check.ok}


def test_a_baseline_that_python_cannot_read_has_a_hash_and_one_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its cells become rows that say why, and the others' are planned as before."""
    entry = dataclasses.replace(registry.info("identity"), path="unreadable:Mine", kind="model")
    monkeypatch.setattr(registry, "info", lambda name: entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    for number, text in enumerate(("def (", "\udcff", "import sys; sys.exit(0)")):
        (tmp_path / "unreadable.py").write_bytes(text.encode(errors="surrogateescape"))
        assert registry.sources(f"unreadable-{number}")
        found = list(contract.check(f"unreadable-{number}"))
        assert [(check.name, check.ok) for check in found] == [("builds", False)]


def inspector(folder: Path, body: str) -> list[str]:
    """A stand-in for the process that checks; it counts its calls."""
    script = folder / "inspector.py"
    before = (
        f"import json, sys, os, signal\nfrom pathlib import Path\nopen({str(folder / 'calls')!r}, 'a').write('x')\n"
    )
    script.write_text(f"{before}result = Path(sys.argv[2])\n{body}\n")
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("body", "status", "reason", "calls"),
    [
        ("result.write_text(json.dumps({'status': 'ok'}))", "ok", None, 1),
        ("result.write_text(json.dumps({'status': 'broken', 'reason': 'x'}))", "error", "breaks its contract: x", 1),
        ("sys.exit(3)", "error", "its contract could not be checked: ended with exit code 3", 2),
    ],
)
def test_what_a_check_finds_is_kept_and_what_stops_it_is_not(
    tmp_path: Path, body: str, status: str, reason: str | None, calls: int
) -> None:
    command = inspector(tmp_path, body)
    for attempt in ("a", "b"):
        found = verdicts.of(CHANCE, tmp_path, tmp_path / attempt, command)
        assert found.status == status
        assert found.ok == (status == "ok")
        assert (found.reason or "").startswith(reason or "")
    assert (tmp_path / "calls").read_text() == "x" * calls


def test_a_check_that_took_too_long_is_not_begun_again_for_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "TIME_LIMIT_S", 1)
    command = inspector(tmp_path, "Path(f'{result}.started').touch(); import time; time.sleep(60)")
    found = [verdicts.of(CHANCE, tmp_path, tmp_path / attempt, command) for attempt in ("a", "b")]
    assert found[0] == found[1]
    assert found[0].status == "timeout"
    assert str(tmp_path / "contracts" / "chance-") in (found[0].reason or "")
    assert (tmp_path / "calls").read_text() == "x"


def test_a_check_that_somebody_kills_leaves_no_verdict(tmp_path: Path) -> None:
    command = inspector(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    for attempt in ("a", "b"):
        with pytest.raises(StoppedError, match="SIGKILL"):
            verdicts.of(CHANCE, tmp_path, tmp_path / attempt, command)
    assert (tmp_path / "calls").read_text() == "xx"


def test_a_verdict_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    command = inspector(tmp_path, "result.write_text(json.dumps({'status': 'ok'}))")
    verdicts.of(CHANCE, tmp_path, tmp_path / "a", command)
    (kept,) = (tmp_path / "contracts").glob("chance-*.json")
    kept.write_text("{")
    assert verdicts.of(CHANCE, tmp_path, tmp_path / "b", command).ok
    assert (tmp_path / "calls").read_text() == "xx"


def test_a_verdict_is_of_one_version_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: verdicts.key(name) for name in registry.names()}
    assert len(set(keys.values())) == len(keys)
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "another", "platform": "any"})
    verdicts.key.cache_clear()
    assert verdicts.key("chance") != keys["chance"]
    monkeypatch.undo()
    verdicts.key.cache_clear()


def test_a_stored_number_is_not_published_once_the_contract_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"started": "2026-01-01T00:00:00.000000+00:00", "ended": "2026-01-01T00:00:01.000000+00:00"}

    def run(settings: Settings, folder: Path) -> dict[str, object]:
        known = {**provenance.identity(settings), **times, "accuracy": 1.0, "status": "ok"}
        return supervisor.complete(known)

    monkeypatch.setattr(supervisor, "run", run)
    statuses = []
    for number, verdict in enumerate([verdicts.Verdict("ok"), verdicts.Verdict("error", "leaks")]):
        monkeypatch.setattr(verdicts, "of", lambda *_, verdict=verdict: verdict)
        scratch = tmp_path / str(number)
        scratch.mkdir()
        row = measure(Settings("copy", "chance"), scratch, tmp_path / "row.json", tmp_path / "store")
        statuses.append((row["status"], row["reason"], row["accuracy"]))
    assert statuses == [("ok", None, 1.0), ("error", "leaks", None)]
