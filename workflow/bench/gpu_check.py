"""`pointer-bench gpu-check`: is the suite right on this GPU, and how fast is a training step beside flash attention?

Two parts, in less than 8 minutes: the checks of `pointer.selfcheck` with causality and agreement of whole models, then
one interleaved table of training steps in bfloat16 autocast. It needs torch, numpy, psutil and PyYAML, no Snakemake
and no numba. What is measured is written to one JSON file as soon as it is there: a run that is cut short leaves its
part. `--dry` goes through the same steps on the CPU at tiny sizes, to test the command itself; its times mean nothing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointer import selfcheck
from pointer.errors import InputError
from workflow.bench import lock, provenance, registry, worker
from workflow.bench.measure import devices, efficiency, memory, models
from workflow.bench.measure.contract import Check
from workflow.bench.measure.training import Recipe, Stepper, tell_progress
from workflow.bench.rows import write_atomically
from workflow.bench.settings import Settings

REFERENCE = "transformer"  # whose attention is the flash kernel on CUDA
MODELS = ("pointer", REFERENCE, "longformer", "identity")
AIM, AIM_LENGTH = 5.0, 16384  # how many times as fast as the reference `pointer` should train there
TOLERANCE = 1e-5
UNIT_STEPS = 3  # steps between two looks at the clock
WARMUP_STEPS = 3
KERNELS = 24  # of a step's kernels, the longest
Result = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What is measured and for how long: `tokens` a step, at most `seconds` and `rounds` of the models in turn."""

    device: str
    lengths: tuple[int, ...]
    tokens: int
    seconds: float
    rounds: int
    build: dict[str, int]  # sizes of the trunk other than its own


FULL = Sizes("cuda", (2048, AIM_LENGTH), 65536, seconds=60, rounds=20, build={})
DRY = Sizes("cpu", (48, 300), 600, seconds=1, rounds=3, build={"layers": 1, "width": 32, "heads": 2})


def run(out: Path, *, dry: bool = False) -> bool:
    """Checks, measures, prints, and writes gpu-check.json and gpu-check.md to `out`; True if every check passed.

    Raises InputError where there is no CUDA device and `dry` is not asked for.
    """
    sizes = DRY if dry else FULL
    if not devices.ABILITIES[sizes.device].present():
        raise InputError(
            f"gpu-check needs a CUDA device, and torch {torch.__version__} sees none here. "
            "Run it on a machine with one; --dry only tests the command, on the CPU."
        )
    device = torch.device(sizes.device)
    found: Result = {"environment": environment(device, dry), "checks": [], "rows": []}
    for check in checks(device):
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}" + ("" if check.ok else f": {check.reason}"), flush=True)
        found["checks"].append(check._asdict())
        _write(out, found)
    with contextlib.nullcontext() if dry else lock.hold(exclusive=True):
        for length in sizes.lengths:
            found["rows"] += race(sizes, length, device)
            _write(out, found)
    found["checks"] += [check._asdict() for check in kernel_checks(found["rows"], device)]
    _write(out, found)
    print("\n".join(table(found)), flush=True)
    return all(check["ok"] for check in found["checks"])


def environment(device: torch.device, dry: bool) -> Result:
    """What ran it: device, versions, commit."""
    can = devices.abilities(device)
    name = devices.device_name(device) or device.type
    expected = {"selection": can.selection, "attention": can.attention, "window": can.window}
    versions: Result = provenance.versions() | {"torch": str(torch.__version__), "cuda": torch.version.cuda}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["triton"] = importlib.metadata.version("triton")
    return {"device_name": name, "dry": dry, "expected": expected, "versions": versions, **provenance.git_state()}


def checks(device: torch.device) -> Iterator[Check]:
    """Selection by itself, then whole models; an exception is a failed check."""
    yield from selection_checks(device)
    for name in MODELS:
        yield _outcome(f"{name} is causal", partial(causal, name, device))
    yield _outcome("pointer gives the CPU's logits in float64", partial(same_as_cpu, "pointer", device))


def selection_checks(device: torch.device) -> Iterator[Check]:
    """The checks of `pointer.selfcheck`."""
    for function in selfcheck.CHECKS:
        what = " ".join((function.__doc__ or function.__name__).split()).rstrip(".").partition("; raises")[0]
        yield _outcome(f"selection: {what}", partial(function, device))


def causal(name: str, device: torch.device) -> None:
    """Changing the tokens from position i on leaves every output before i as it was (inference, 1e-5)."""
    length = 300  # beyond longformer's window
    model, tokens = _small(name, length, device), torch.arange(length, device=device)[None] * 7 % 20
    with torch.no_grad():
        before = model(tokens)
        for i in (1, 77, 299):
            changed = torch.cat([tokens[:, :i], (tokens[:, i:] + 1) % 20], dim=1)
            apart = float((model(changed) - before)[0, :i].abs().max())
            if not apart <= TOLERANCE:
                raise selfcheck.Mismatch(f"outputs before {i} change by {apart:.2g}")


def same_as_cpu(name: str, device: torch.device) -> None:
    """The same weights give the same logits on the device and on the CPU, in float64 (1e-9)."""
    tokens = torch.arange(131)[None] * 7 % 20
    with torch.no_grad():
        there = _small(name, 131, device).double()(tokens.to(device)).cpu()
        here = _small(name, 131, torch.device("cpu")).double()(tokens)
    apart = float((there - here).abs().max())
    if not apart <= selfcheck.EXACT:
        raise selfcheck.Mismatch(f"logits differ by {apart:.3g}")


def _small(name: str, length: int, device: torch.device) -> nn.Module:
    return models.build(Settings("efficiency", name, length=length).resolved(), device, layers=2).eval()


def _outcome(name: str, check: Callable[[], None]) -> Check:
    try:
        check()
    except selfcheck.Mismatch as mismatch:
        return Check(name, False, str(mismatch))
    except Exception as error:
        return Check(name, False, worker.failure(error)["reason"])
    return Check(name, True, "")


def race(sizes: Sizes, length: int, device: torch.device) -> list[Result]:
    """One row a model: training steps at N = length in bfloat16, the models in turn; a model that fails has a row with
    its status and reason.
    """
    cells = {name: _cell(name, length, sizes) for name in MODELS}
    steps: dict[str, Callable[[], Tensor]] = {}
    rows = {name: _described(cell) for name, cell in cells.items()}
    for name, cell in cells.items():
        try:
            steps[name] = _step(cell, sizes, device)
            devices.seconds(device, partial(_repeat, steps[name], WARMUP_STEPS))
        except Exception as error:
            steps.pop(name, None)
            rows[name] |= worker.failure(error)
        print(f"N={length} {name}: {rows[name].get('reason') or 'ready'}", flush=True)
    units = turns(steps, device, sizes)
    for name, step in steps.items():
        rows[name] |= _timed(cells[name], units, name) | _peak(step, device) | {"kernels": kernels(step, device)}
    return list(rows.values())


def _cell(name: str, length: int, sizes: Sizes) -> Settings:
    batch = max(1, sizes.tokens // length)
    cell = Settings("efficiency", name, device=sizes.device, dtype="bfloat16", length=length, batch=batch)
    return cell.resolved()


def _described(cell: Settings) -> Result:
    keys = ("model", "device", "dtype", "length", "batch")
    entry = registry.info(cell.model)
    return {key: getattr(cell, key) for key in keys} | {"cost": entry.cost, "status": "ok", "reason": None}


def _step(cell: Settings, sizes: Sizes, device: torch.device) -> Callable[[], Tensor]:
    """A training step of a fresh model at its dearest: the noise is on."""
    model = models.build(cell, device, **sizes.build).train()
    tell_progress(model, 0.0)
    stepper = Stepper(model, Recipe(cell.tokens, cell.lr, cell.dtype), device)
    data = cycle(efficiency.batches(cell, device))
    return lambda: stepper.step(*next(data))


def _repeat(step: Callable[[], Tensor], times: int) -> None:
    for _ in range(times):
        step()


def turns(steps: dict[str, Callable[[], Tensor]], device: torch.device, sizes: Sizes) -> dict[str, list[float]]:
    """Milliseconds a step of each model, one entry a round of all models."""
    units: dict[str, list[float]] = {name: [] for name in steps}
    begin = time.perf_counter()
    for done in range(sizes.rounds):
        if done >= efficiency.MIN_UNITS and time.perf_counter() - begin > sizes.seconds:
            break
        for name, step in steps.items():
            spent = devices.seconds(device, partial(_repeat, step, UNIT_STEPS))
            units[name].append(1000 * spent / UNIT_STEPS)
    return units


def _timed(cell: Settings, units: dict[str, list[float]], name: str) -> Result:
    """Times of a row, and how many times as fast as the reference in the same round."""
    own = units[name]
    row: Result = dict(efficiency.Timing(own, 1).row("step"))
    row |= {"rounds": len(own), "tokens_per_s": 1000 * cell.batch * cell.length / float(np.median(own))}
    if REFERENCE in units:
        ratios = np.array(units[REFERENCE]) / np.array(own)
        low, middle, high = (float(q) for q in np.percentile(ratios, [20, 50, 80]))
        row |= {"times_reference": middle, "times_reference_q20": low, "times_reference_q80": high}
    return row


def _peak(step: Callable[[], Tensor], device: torch.device) -> Result:
    found = memory.peak(device, step)
    return {"step_memory_bytes": found.bytes, "memory_method": found.method}


def kernels(step: Callable[[], Tensor], device: torch.device) -> list[Result]:
    """The kernels that take longest in a step, by the profiler: what really ran. Empty where it cannot look."""
    cuda = device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    try:
        with torch.profiler.profile(activities=[activity]) as seen:
            devices.seconds(device, step)
    except RuntimeError:
        return []
    spent = [(e.self_device_time_total if cuda else e.self_cpu_time_total, e) for e in seen.key_averages()]
    longest = sorted(spent, key=lambda pair: -pair[0])[:KERNELS]
    return [{"name": e.key[:160], "ms": us / 1000, "calls": e.count} for us, e in longest]


def kernel_checks(rows: list[Result], device: torch.device) -> Iterator[Check]:
    """On CUDA: did the kernels run that the table is about?"""
    if device.type != "cuda":
        return
    for model, word in ((REFERENCE, "flash"), ("pointer", "_backward_gains"), ("longformer", "flex")):
        for row in (row for row in rows if row["model"] == model):
            names = [kernel["name"].lower() for kernel in row.get("kernels", [])]
            ran = any(word in name for name in names)
            reason = row["reason"] or ("the profiler saw no kernel" if not names else f"ran: {', '.join(names[:4])}")
            yield Check(f"{model} at N={row['length']} ran a kernel named *{word}*", ran, "" if ran else reason)


def table(found: Result) -> list[str]:
    """The speed table in Markdown, with the aim's verdict."""
    rows, name = found["rows"], found["environment"]["device_name"]
    lines = [
        f"Training steps in bfloat16 on {name}, models in turn; median (20 to 80%); x: {REFERENCE}'s time over its own",
        "",
        f"| N | batch | model | ms a step | tokens/s | x {REFERENCE} | MB a step |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [_line(row) for row in rows]
    ours = [row for row in rows if row["model"] == "pointer" and row["length"] == AIM_LENGTH and row["status"] == "ok"]
    if ours and "times_reference" in ours[0]:
        reached = ours[0]["times_reference"]
        verdict = "reached" if reached >= AIM else "not reached"
        lines += ["", f"Aim at N={AIM_LENGTH}: {AIM:g}x; measured {reached:.2f}x: {verdict}."]
    failed = [check for check in found["checks"] if not check["ok"]]
    passed = len(found["checks"]) - len(failed)
    return [
        *lines,
        "",
        f"Checks: {passed} passed, {len(failed)} failed.",
        *(f"- {c['name']}: {c['reason']}" for c in failed),
    ]


def _line(row: Result) -> str:
    start = f"| {row['length']} | {row['batch']} | {row['model']} |"
    if row["status"] != "ok":
        return f"{start} {row['status']}: {row['reason']} | – | – | – |"
    times = f"{row['step_ms']:.2f} ({row['step_ms_q20']:.2f} to {row['step_ms_q80']:.2f})"
    ratio = f"{row['times_reference']:.2f}" if "times_reference" in row else "–"
    peak = f"{row['step_memory_bytes'] / 1e6:.0f}" if row["step_memory_bytes"] is not None else "–"
    return f"{start} {times} | {row['tokens_per_s']:,.0f} | {ratio} | {peak} |"


def _write(out: Path, found: Result) -> None:
    write_atomically(out / "gpu-check.json", json.dumps(found, indent=1) + "\n")
    if found["rows"]:
        write_atomically(out / "gpu-check.md", "\n".join(table(found)) + "\n")
