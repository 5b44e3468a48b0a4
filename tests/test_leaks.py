"""Leaks that hide from a few lengths, cuts and modes are found; a model that fails is refused."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pipelines import STAND_IN, worked
from torch import nn

from workflow.bench import cli, experiments, registry
from workflow.bench.cell import Cell
from workflow.bench.measure import causality, contract
from workflow.bench.measure.causality import Broken, Leaks, Subject, audit, causal
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import contracts, provenance, read_row

CPU = torch.device("cpu")


class Leaky(nn.Module):
    """Logits from a causal mean, but where `leaks` says so from the next token inside a chunk."""

    def __init__(self, chunk=128, least=512, when="always"):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20)
        self.chunk, self.least, self.when = chunk, least, when

    def forward(self, tokens):
        x = self.embedding(tokens)
        length = x.shape[1]
        counts = torch.arange(1, length + 1)[:, None]
        mean = x.cumsum(1) / counts
        leaks = length >= self.least and length % self.chunk == 0
        leaks &= self.when != "training" or self.training
        leaks &= self.when != "bfloat16" or torch.is_autocast_enabled("cpu")
        if leaks:
            chunks = x.unflatten(1, (-1, self.chunk))
            mean = mean + chunks.roll(-1, dims=2).flatten(1, 2)
        return self.head(mean)


@pytest.mark.parametrize("chunk", [64, 128, 512, 96, 192, 320])
def test_a_leak_inside_chunks_of_any_size_breaks_the_contract(chunk):
    def build(length):
        torch.manual_seed(0)
        return Leaky(chunk, least=chunk)

    with pytest.raises(Broken, match=r"output \d+ differs by"):
        causal(Subject("leaky", build, build))


class MixesBatch(Leaky):
    """Causal, but each sequence depends on the others of its batch."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits - 0.5 * logits.mean(0, keepdim=True)


def test_a_model_that_mixes_its_batch_is_not_blamed_on_the_future():
    mixes = Subject("mixes", lambda length: MixesBatch(least=10**9), lambda length: MixesBatch())
    causal(mixes)
    with pytest.raises(Broken, match="run alone instead of in a batch"):
        causality.independent_of_batch(mixes)


@pytest.mark.parametrize(
    ("when", "dtype", "words"),
    [
        ("always", "float32", "differs by"),
        ("training", "float32", "in training mode"),
        ("bfloat16", "bfloat16", "differs by"),
    ],
)
@pytest.mark.parametrize("chunk", [128, 512])
def test_the_audit_finds_it_at_the_rows_own_length(chunk, when, dtype, words):
    model = Leaky(chunk, when=when)
    cell = Cell.of("copy", "transformer", distance=512, length=1024, batch=2).resolved()
    with pytest.raises(Leaks, match=f"{words}.* it sees the future"):
        audit(model, cell.learned(), CPU, dtype)
    honest = Leaky(chunk, least=10**9)
    audit(honest, cell.learned(), CPU, dtype)


@pytest.mark.parametrize("length", [2, 3, 65, 512, 1024, 2048])
def test_cuts_lie_off_the_borders_and_one_in_the_last_tenth(length):
    cuts = causality.cut_points(length)
    assert all(1 <= cut < length for cut in cuts)
    if length >= 512:
        assert 8 <= len(cuts) <= 16
        assert sum(cut % 64 == 0 for cut in cuts) == 1
        assert cuts[-1] >= 0.9 * length


MQAR = {"pairs": 4, "length": 64, "symbols": 64}
SIZES = {"mqar": MQAR, "string-copy": {"letters": 15}, "listops": {"length": 64}}
SMALL = {"tokens": 1024, "batch": 2, "evaluate_symbols": 100, "threads": 1}
TRAINING = {name for name, entry in experiments.EXPERIMENTS.items() if entry.trains}
TRAINING = sorted(TRAINING - {"rates"})  # which gives no score


def cell(experiment, model):
    task = experiments.EXPERIMENTS[experiment].task
    sizes = {"distance": 16, "length": 64} if task == "copy" else SIZES.get(task, {"length": 64})
    return Cell.of(experiment, model, **SMALL | sizes)


@pytest.mark.parametrize("experiment", TRAINING)
def test_a_model_that_leaks_after_some_steps_gets_no_score(experiment, tmp_path):
    kind = "PointsAhead" if experiment == "interpretability" else "Turns"
    _, result = worked(tmp_path, cell(experiment, f"late=planted:{kind}"))
    (found,) = result["rows"]
    assert found["status"] == "error"
    assert found["reason"].startswith("fails the contract: the model's output ")
    assert re.search(r"when tokens from \d+ on change: it sees the future$", found["reason"])
    assert "accuracy" not in found
    assert "hops_mean" not in found


def test_a_control_that_says_that_it_sees_the_future_gets_its_score(tmp_path):
    (found,) = worked(tmp_path, cell("mqar", "pointer-repository"))[1]["rows"]
    assert (found["status"], found["reason"]) == ("ok", None)


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
    count = f"open({str(folder / 'calls')!r}, 'a').write('x')\n"
    code = STAND_IN + count + body
    monkeypatch.setattr(contracts.child, "WORKER", (sys.executable, "-c", code))


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
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),  # by somebody, not by the kernel
    ],
)
def test_a_fault_of_the_environment_is_no_verdict(tmp_path, monkeypatch, body, words):
    monkeypatch.setattr(contracts.child, "memory_kills", lambda: 3)
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
