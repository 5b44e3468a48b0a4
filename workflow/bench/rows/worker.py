"""The child process: `python -m workflow.bench.rows.worker REQUEST.json RESULT.json`.

REQUEST holds `cells`, one to measure or those of a session, or `model` and `mixer` of a check.
RESULT holds `kind`, `message`, and `rows`, one a cell, or `checks`; and of a session `at`, the
place of the cell that is being built and warmed up, if any. Its kind is "started" once the
machine's lock is held, "ok" at the end, else bad_input, oom, full, environment or error. The
process takes the lock before it imports torch, and sets threads before it works.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import experiments
from workflow.bench.cell import Cell, from_dict
from workflow.bench.outcomes import FULL, Clock, EnvironmentFault, Outcome, out_of_memory
from workflow.bench.rows import lock, write_atomically
from workflow.bench.sources import ROOT

CLOCKS = (time.perf_counter, time.monotonic, time.process_time)
BUSY_SECONDS, SPARE_CORES = 1.0, 0.3  # from when on, and by how many cores, a row may not be busier
QUIET_SECONDS = 10.0  # between two lines


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the request asks. Return 0 where the result's kind is ok."""
    request_path, result_path = (Path(arg) for arg in (argv or sys.argv[1:]))
    request = json.loads(request_path.read_text(encoding="utf-8"))
    result: dict[str, Any] = {"kind": "started", "message": None, "rows": [], "checks": []}

    def write(at: int | None = None) -> None:
        write_atomically(result_path, json.dumps({**result, "at": at}))

    try:
        cells = [from_dict(cell) for cell in request.get("cells", ())]
        with lock.hold(exclusive=bool(cells) and cells[0].timing) as warnings:
            write()
            if cells:
                result["rows"] = measure(cells, result_path.parent, write, warnings)
            else:
                result["checks"] = check(request["model"], request["mixer"])
        result["kind"] = "ok"
    except BaseException as error:
        result |= failure(error)
        if result["kind"] == "error":
            traceback.print_exc()
    write()
    return 0 if result["kind"] == "ok" else 1


def measure(
    cells: Sequence[Cell],
    folder: Path,
    begun: Callable[[int | None], object],
    warnings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the row keys of a cell, whose files go to `folder`, or of those of a timing session;
    `begun` is told which one is built. All rows get `warnings`. A foreseen bad end is a row."""
    import torch

    from workflow.bench.measure import devices, memory

    first = cells[0]
    torch.set_num_threads(first.resolved().threads)
    # Weights of choices that are as good as certain are denormal, which Intel's cores multiply
    # several times slower: a solved copy task took 2 to 3 times as long a step.
    torch.set_flush_denormal(True)
    memory.keep_freed_memory()
    work = experiments.info(first.experiment).load()
    show, clock, began = Progress(first), Clock(), os.times()
    results: list[Any]
    try:
        results = work(cells, show, begun) if first.timing else [work(first, show, folder)]
        if (time.perf_counter, time.monotonic, time.process_time) != CLOCKS:
            raise Outcome("the model has replaced a clock of Python's module `time`")
        warnings = [*threads_used(first, began), *warnings]
    except Outcome as outcome:
        results = [outcome] * len(cells)
    shared: dict[str, Any] = {"threads": first.resolved().threads}
    if devices.ABILITIES[first.device].present():
        name = devices.device_name(devices.resolve(first.device))
        shared |= {"device_name": name} if name else {}
    rows = []
    for result in results:
        if isinstance(result, InputError):
            raise result
        row: dict[str, Any] = {"status": "ok", "reason": None}
        if isinstance(result, Outcome):
            row |= {**result.row, "status": result.status, "reason": str(result)}
        elif isinstance(result, Exception):
            row["status"] = "oom" if out_of_memory(result) else "error"
            row["reason"] = failure(result)["message"]
        else:
            row |= result
        times = clock.times()
        # A training that went on from a checkpoint started when it first did.
        times["started"] = min(times["started"], row.get("started", times["started"]))
        rows.append(row | shared | times | {"warnings": [*row.get("warnings", ()), *warnings]})
    return rows


def threads_used(cell: Cell, began: os.times_result) -> list[str]:
    """Return warnings where a model has set the number of threads, or has threads of its own."""
    import torch

    asked, found = cell.resolved().threads, torch.get_num_threads()
    faults = []
    if found != asked:
        faults.append(f"{found} at the end: the model sets them")
    *spent, wall = (end - start for start, end in zip(began, os.times(), strict=True))
    if cell.device == "cpu" and wall > BUSY_SECONDS and sum(spent) > (asked + SPARE_CORES) * wall:
        faults.append(f"{sum(spent) / wall:.1f} cores busy: the model has threads of its own")
    return [f"threads: {asked} asked for, {fault}" for fault in faults]


def check(model: str, mixer: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """Return name, whether it passed and reason of each check of a contract; print each line."""
    import torch

    from workflow.bench.measure import contract

    torch.set_num_threads(1)
    checks = []
    for name, passed, reason in contract.check(model, mixer):
        print(f"ok    {name}" if passed else f"FAIL  {name}: {reason}", flush=True)
        checks.append((name, passed, reason))
    return checks


def failure(error: BaseException) -> dict[str, Any]:
    """Return kind and message of an error: its text, and where in this project it was raised."""
    if isinstance(error, InputError | EnvironmentFault):
        kind = "bad_input" if isinstance(error, InputError) else "environment"
        return {"kind": kind, "message": str(error)}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(str(ROOT))] or list(frames)
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    first_line = next(iter(str(error).splitlines()), "")
    kind = "oom" if out_of_memory(error) else "error"
    if isinstance(error, OSError) and error.errno in FULL:
        kind = "full"
    return {"kind": kind, "message": f"{type(error).__name__}: {first_line}{place}"}


class Progress:
    """Print now and then how far a cell is."""

    def __init__(self, cell: Cell) -> None:
        self.label = f"{cell.experiment} {cell.model} {cell.label()}"
        self.start = self.last = time.monotonic()
        self.values: dict[str, float] = {}

    def __call__(self, done: float, **values: float) -> None:
        """Print the fraction that is done and values, if the last line is old enough: such as
        "copy pointer d512-s0   42%  loss 2.41  12 s left"."""
        self.values.update(values)
        now = time.monotonic()
        if now - self.last < QUIET_SECONDS:
            return
        self.last = now
        parts = [self.label, f"{done:4.0%}"]
        parts += [f"{name} {value:.3g}" for name, value in self.values.items()]
        if done > 0:
            parts.append(f"{(now - self.start) * (1 - done) / done:.0f} s left")
        print("  ".join(parts), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
