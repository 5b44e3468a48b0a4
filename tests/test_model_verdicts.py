"""A model that fails its contract is refused, and its row has the reason and no number."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.bench import cli, registry
from workflow.bench.measure import contract
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import contracts, provenance, read_row

MEASURED = ("step_ms", "inference_ms", "accuracy", "flops_step", "n_params", "peak_memory_bytes")


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    """tests/ is on Python's path, here and in processes that are started."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")


def test_settings_that_break_the_contract_are_refused_and_others_are_not(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    name = "sneaky=planted:Sneaky"
    argv = f"run --experiment complexity --model {name} --length 64 --threads 1".split()
    for given, status in (([], "ok"), (["--set", "leak=true"], "error")):
        out = tmp_path / f"{status}.json"
        assert cli.main([*argv, *given, "--out", str(out)]) == 0
        row = read_row(out)
        assert row["status"] == status
    assert row["reason"].startswith("fails the contract: causal: output 0 differs by")
    assert [row[key] for key in MEASURED] == [None] * len(MEASURED)
    assert cli.main([*argv, "--set", "leek=1"]) == 2
    assert "'leek' is unknown. Did you mean 'leak'?" in capfd.readouterr().err


def test_what_else_fails_with_a_setting_is_the_models():
    found = list(contract.check("fragile=planted:Fragile", {"power": 2}))
    assert [(check.name, check.ok) for check in found] == [("builds", False)]
    assert found[0].reason.startswith("raised KeyError: 2 (planted.py, line ")


def checker(folder, monkeypatch, body):
    """A stand-in for the process that checks; it counts its calls."""
    script = folder / "checker.py"
    before = "import json, sys, os, signal, time\nfrom pathlib import Path\n"
    count = f"open({str(folder / 'calls')!r}, 'a').write('x')\n"
    script.write_text(f"{before}{count}result = Path(sys.argv[2])\n{body}\n")
    monkeypatch.setattr(contracts.child, "WORKER", (sys.executable, str(script)))


def verdict(folder):
    return contracts.verdict("chance", {}, folder / "chance.json", folder)


def finish(**result):
    return f"result.write_text(json.dumps({result}))"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (finish(kind="oom", message="MemoryError: "), "MemoryError"),
        (finish(kind="full", message="No space left"), "No space left"),
        (finish(kind="environment", message="no locator available"), "no locator available"),
        ("os._exit(0)", "without a result"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_a_fault_of_the_environment_is_no_verdict(tmp_path, monkeypatch, body, words):
    checker(tmp_path, monkeypatch, body)
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match=words):
            verdict(tmp_path)
    assert (tmp_path / "calls").read_text() == "xx"
    assert not (tmp_path / "chance.json").exists()


def test_too_little_memory_for_the_check_is_exit_code_1(tmp_path):
    """Under a limit numba's library does not load: once this was kept as the model's failure."""
    out = str(tmp_path / "pointer.json")
    check = [sys.executable, "-m", "workflow.bench", "check", "pointer", "--out", out]
    command = f"ulimit -v 900000; exec {shlex.join(check)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be checked" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_takes_too_long_is_a_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(contracts, "TIME_LIMIT_S", 1)
    checker(tmp_path, monkeypatch, "result.write_text('{}'); time.sleep(60)")
    assert [verdict(tmp_path).status for _ in range(2)] == ["timeout", "timeout"]
    assert (tmp_path / "calls").read_text() == "x"


def test_a_check_that_somebody_kills_leaves_no_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(contracts.child, "memory_kills", lambda: 3)
    checker(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(EnvironmentFault, match="SIGKILL"):
        verdict(tmp_path)
    assert not (tmp_path / "chance.json").exists()


@pytest.mark.parametrize("damage", ["cut", "of other sources"])
def test_a_verdict_that_does_not_hold_is_asked_for_again(tmp_path, monkeypatch, damage):
    checker(tmp_path, monkeypatch, finish(kind="ok", checks=[]))
    verdict(tmp_path)
    if damage == "cut":
        (tmp_path / "chance.json").write_text("{")
    else:
        monkeypatch.setattr(contracts, "key", lambda *_: "another")
    assert verdict(tmp_path).status == "ok"
    assert (tmp_path / "calls").read_text() == "xx"


def test_a_verdict_is_of_one_version_of_the_sources(monkeypatch):
    keys = {name: contracts.key(name, "{}") for name in registry.names()}
    assert len(set(keys.values())) == len(keys)
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "another", "platform": "any"})
    contracts.key.cache_clear()
    assert contracts.key("chance", "{}") != keys["chance"]
    monkeypatch.undo()
    contracts.key.cache_clear()


def test_settings_of_an_own_model_lift_no_check(monkeypatch):
    monkeypatch.setattr(contract, "check_subject", contract.applicable)
    found = contract.check("fragile=planted:Fragile", {"power": 1})
    assert {"same_in_training", "gradients"} <= {check.__name__ for check in found}
