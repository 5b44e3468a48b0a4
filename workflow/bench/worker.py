"""The process that measures one cell: `python -m workflow.bench.worker SETTINGS.json RESULT.json`, started by the
supervisor.

It takes the machine-wide lock before it imports torch, sets the threads before any parallel work, runs the experiment
and writes a JSON object of row keys. Exit code 0: the result is there (its `status` says how it ended). Otherwise the
result holds status and reason, if it could still be written.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import experiments, lock
from workflow.bench.clock import Clock
from workflow.bench.measure import allocator
from workflow.bench.outcomes import Diverged, Outcome
from workflow.bench.progress import Progress
from workflow.bench.settings import Settings, from_dict


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one cell; see the module."""
    settings_path, result_path = (Path(arg) for arg in (argv if argv is not None else sys.argv[1:]))
    settings = from_dict(json.loads(settings_path.read_text(encoding="utf-8")))
    try:
        with lock.hold(exclusive=settings.timing, result=result_path):
            _write(result_path, measure(settings, result_path.parent))
    except BaseException as error:
        _write(result_path, failure(error))
        if not isinstance(error, InputError):
            traceback.print_exc()
        return 1
    return 0


def measure(settings: Settings, folder: Path) -> dict[str, Any]:
    """The row keys of a cell, with status, reason, started and ended; a foreseen bad end is a result as well.

    Files that belong to the row go to `folder`; the row's `files` names them.
    """
    import torch

    threads = settings.resolved().threads
    torch.set_num_threads(threads)
    allocator.keep()
    progress, clock = Progress(label(settings)), Clock()
    row: dict[str, Any] = {"threads": threads}
    try:
        row |= {"status": "ok", "reason": None} | _run(settings, progress, folder)
        row["warnings"] = [*row.get("warnings", []), *_other_threads(threads, torch.get_num_threads())]
    except Outcome as outcome:
        row |= outcome.row if isinstance(outcome, Diverged) else {}
        row |= {"status": outcome.status, "reason": str(outcome)}
    finally:
        progress.close()
    return row | _times(clock, row)


def _other_threads(asked: int, found: int) -> list[str]:
    """A library that a model loads may set the number of threads of the whole process: then the row's is not true."""
    return [f"threads: {asked} asked for, {found} at the end: the model sets them"] if found != asked else []


def _times(clock: Clock, row: dict[str, Any]) -> dict[str, str]:
    """Start and end of the measurement; a training that went on from a checkpoint started when it first did."""
    times = clock.times()
    return times | {"started": min(times["started"], row.get("started", times["started"]))}


def _run(settings: Settings, progress: Progress, folder: Path) -> dict[str, Any]:
    from workflow.bench.measure import devices

    device = devices.resolve(settings.device)
    row = experiments.info(settings.experiment).load()(settings, progress, folder)
    name = devices.device_name(device)
    return row | ({"device_name": name} if name else {})


def label(settings: Settings) -> str:
    """How a cell is called in progress lines, e.g. "copy pointer D=512 N=1280 cpu seed 0"."""
    resolved = settings.resolved()
    axis = resolved.axis
    size = {"length": "", "distance": f" D={resolved.distance}"}.get(axis, f" {axis}={getattr(resolved, axis)}")
    return f"{settings.experiment} {settings.model}{size} N={resolved.length} {settings.device} seed {settings.seed}"


def failure(error: BaseException) -> dict[str, Any]:
    """Status and reason of an unforeseen end: the error, and the innermost line of this project where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    root = str(Path(__file__).resolve().parents[2])
    own = [frame for frame in frames if frame.filename.startswith(root)] or list(frames)
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    status = "oom" if out_of_memory(error) else "error"
    return {
        "status": status,
        "reason": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{place}",
    }


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; under a limit torch raises a plain RuntimeError on a CPU."""
    texts = ("DefaultCPUAllocator", "out of memory", "can't allocate memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(t in str(error) for t in texts)
    )


def _write(path: Path, result: dict[str, Any]) -> None:
    path.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
