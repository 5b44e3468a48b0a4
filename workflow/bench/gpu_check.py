"""`pointer-bench gpu-check`: is the suite right on this GPU, and how fast is a training step?

It needs neither Snakemake nor numba. `--dry` goes through the same steps on the CPU at tiny sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from pointer import selfcheck
from pointer.errors import InputError
from workflow.bench.cell import Cell
from workflow.bench.measure import costs, devices, models, timing
from workflow.bench.measure.causality import SYMBOLS, logits_of, pasts, random_tokens, require_same
from workflow.bench.measure.contract import Check
from workflow.bench.rows import lock, provenance, write_atomically

REFERENCE = "transformer"  # whose attention is the flash kernel on CUDA
MODELS = ("pointer", REFERENCE, "longformer", "identity")
GOAL = 5.0  # at the longest length `pointer` should train so many times as fast as the reference
LENGTHS, STEP_TOKENS = (2048, 16384), 65536
DRY_LENGTHS, DRY_STEP_TOKENS = (48, 300), 600
DRY = {"session_seconds": 0.0, "layers": 1, "width": 32, "heads": 2}
Row = dict[str, Any]


def run(out: Path, *, dry: bool = False) -> bool:
    """Write gpu-check.json to `out`, print the table; return whether every check passed."""
    device = torch.device("cpu" if dry else "cuda")
    if not devices.ABILITIES[device.type].present():
        raise InputError(
            f"gpu-check needs a CUDA device, and torch {torch.__version__} sees none here. "
            "Run it on a machine with one; --dry only tests the command, on the CPU."
        )
    made: list[Check] = []
    rows: list[Row] = []

    def write() -> None:
        result: Row = {"device_name": devices.device_name(device) or device.type, "dry": dry}
        result |= provenance.git_state()
        result["versions"] = provenance.versions() | {"cuda": torch.version.cuda}
        result |= {"checks": [check._asdict() for check in made], "rows": rows}
        write_atomically(out / "gpu-check.json", json.dumps(result, indent=1) + "\n")

    for check in checks(device):
        print(f"ok    {check.name}" if check.ok else f"FAIL  {check.name}: {check.reason}")
        made.append(check)
        write()
    with lock.hold(exclusive=not dry):
        for length in DRY_LENGTHS if dry else LENGTHS:
            rows += race(length, device)
            write()
    failed = sum(not check.ok for check in made)
    print(f"The goal of pointer at N={LENGTHS[-1]} is {GOAL:g} times {REFERENCE}.")
    print(f"Checks: {len(made) - failed} passed, {failed} failed.")
    return not failed and not any(row["reason"] for row in rows)


def checks(device: torch.device) -> Iterator[Check]:
    """Check the selection by itself, then that models are causal and agree with the CPU."""
    functions = {f"selection: {c.__name__}": partial(c, device) for c in selfcheck.CHECKS}
    functions |= {f"{name} is causal": partial(_causal, name, device) for name in MODELS}
    functions["pointer gives the CPU's logits in float64"] = partial(_same_as_cpu, device)
    for name, function in functions.items():
        try:
            function()
            yield Check(name, True, "")
        except Exception as error:
            yield Check(name, False, _reason(error))


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


def _causal(name: str, device: torch.device) -> None:
    length = 300  # beyond the window of longformer
    model, tokens = _small_model(name, length, device), random_tokens(1, length)
    for cut, before, after in pasts(model, tokens.to(device), (1, 77, 299), SYMBOLS, 1):
        require_same(after, before, f"when tokens from {cut} on change")


def _same_as_cpu(device: torch.device) -> None:
    tokens = random_tokens(1, 131)
    here = logits_of(_small_model("pointer", 131, torch.device("cpu")).double(), tokens)
    there = logits_of(_small_model("pointer", 131, device).double(), tokens.to(device))
    require_same(there.cpu(), here, f"on {device.type} and on the CPU", selfcheck.EXACT)


def _small_model(name: str, length: int, device: torch.device) -> nn.Module:
    cell = Cell(experiment="efficiency", model=name, length=length).resolved()
    return models.build(cell, device, layers=2).eval()


def race(length: int, device: torch.device) -> list[Row]:
    """Time training steps of the models in a session and print them; a model that fails has a row
    with the reason."""
    dry = device.type == "cpu"
    batch = (DRY_STEP_TOKENS if dry else STEP_TOKENS) // length
    sizes: Row = {"length": length, "device": device.type, "dtype": "bfloat16", "batch": batch}
    cells = [Cell.of("efficiency", name, **sizes, **(DRY if dry else {})) for name in MODELS]
    results = timing.efficiency(cells, lambda *_, **__: None, lambda _: None)
    rows, reference = [], results[MODELS.index(REFERENCE)]
    for cell, timed in zip(cells, results, strict=True):
        row: Row = {"model": cell.model, "length": length, "batch": batch, "reason": None}
        if isinstance(timed, dict):
            row |= {key: timed[key] for key in ("step_ms", "tokens_per_s")}
            peak = costs.peak_memory(cell, lambda *_, **__: None, Path())
            row["memory_bytes"] = peak["peak_memory_bytes"]
            text = f"{row['step_ms']:.2f} ms, {row['tokens_per_s']:,.0f} tokens/s"
            text += f", {row['memory_bytes'] / 1e6:.0f} MB"
            row["times_reference"] = None
            if isinstance(reference, dict):
                rounds = zip(reference["rounds_ms"], timed["rounds_ms"], strict=True)
                row["times_reference"] = median(other / own for other, own in rounds)
                text += f", {row['times_reference']:.2f} times as fast as {REFERENCE}"
        else:
            text = row["reason"] = _reason(timed)
        print(f"N={length}, batch {batch}, {cell.model}: {text}", flush=True)
        rows.append(row)
    return rows
