"""gpu-check: refuses a machine without CUDA, and goes through all its steps on a CPU where little
is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pointer import selfcheck
from workflow.bench import cli, gpu_check
from workflow.bench.measure import devices

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
# What a bare GPU machine may lack: everything but torch, numpy, psutil, PyYAML and what those
# bring.
ABSENT = (
    *("snakemake", "numba", "llvmlite", "jsonschema", "pandas", "pyarrow", "scipy", "statsmodels"),
    *("matplotlib", "rich", "safetensors", "cpuinfo", "tabulate", "triton", "pytest", "hypothesis"),
)
BARE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv = ["pointer-bench", *sys.argv[1:]]
runpy.run_module("workflow.bench", run_name="__main__")
"""


def test_without_cuda_it_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    absent = dataclasses.replace(devices.ABILITIES["cuda"], present=lambda: False)
    monkeypatch.setitem(devices.ABILITIES, "cuda", absent)
    assert cli.main(["gpu-check", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "needs a CUDA device" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_dry_run_goes_through_where_little_is_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BARE, "gpu-check", "--dry", "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    failed = [check["name"] for check in found["checks"] if not check["ok"]]
    assert failed == ["selection: available"], done.stdout + done.stderr
    assert done.returncode == 1
    assert {row["reason"] for row in found["rows"]} == {None}
    assert {row["model"] for row in found["rows"]} == set(gpu_check.MODELS)
    assert all(row["step_ms"] > 0 and row["kernels"] for row in found["rows"])
    text = (tmp_path / "gpu-check.md").read_text()
    assert all(f", {name}: " in text for name in gpu_check.MODELS)


def test_a_missing_package_is_named_in_one_line() -> None:
    code = BARE.replace("sys.argv =", "sys.modules['yaml'] = None; sys.argv =")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "gpu-check"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "pointer-bench: this Python lacks the package 'yaml'; constraints.txt has its version\n"
    )


def test_the_selection_and_the_models_of_this_machine_pass() -> None:
    assert [check for check in gpu_check.checks(CPU) if not check.ok] == []


def test_a_check_that_fails_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(device: torch.device) -> None:
        raise selfcheck.Mismatch("value differs")

    monkeypatch.setattr(selfcheck, "CHECKS", (wrong,))
    assert next(gpu_check.checks(CPU)) == ("selection: wrong", False, "Mismatch: value differs")


def test_a_model_that_fails_is_a_row_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_check._unit

    def broken(name, length, batch, device):
        if name == "transformer":
            raise RuntimeError("No available kernel. Aborting execution.")
        return right(name, length, batch, device)

    monkeypatch.setattr(gpu_check, "_unit", broken)
    monkeypatch.setattr(gpu_check, "MODELS", {"transformer": "flash", "identity": ""})
    rows = {row["model"]: row for row in gpu_check.race(48, CPU)}
    assert rows["transformer"]["reason"] == "RuntimeError: No available kernel. Aborting execution."
    assert rows["identity"]["reason"] is None
    assert rows["identity"]["times_reference"] is None
    lines = gpu_check.report({"device_name": "cpu", "rows": list(rows.values()), "checks": []})
    assert any("RuntimeError: No available kernel" in line for line in lines)


def test_a_kernel_that_did_not_run_is_a_failed_check() -> None:
    ran = ["pytorch_flash::flash_fwd_kernel"]
    rows = [
        {"model": "transformer", "length": 2048, "reason": None, "kernels": ran},
        {"model": "pointer", "length": 2048, "reason": None, "kernels": ran},
        {"model": "identity", "length": 2048, "reason": None, "kernels": ran},
    ]
    assert [check.ok for check in gpu_check.kernel_checks(rows)] == [True, False]
