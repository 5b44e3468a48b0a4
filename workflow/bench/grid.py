"""Answer what the Snakefile asks: tiers, their rows, and what the job of a row needs. A tier is
planned when a target first needs it, so that additions which suit only one tier break no other."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import config, progress, sessions
from workflow.bench.cell import Cell, affinity, threads
from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import contracts, estimate, lock, provenance
from workflow.bench.sources import ROOT, content_hash

RESULTS = "results"
CACHES = {"__pycache__", ".ruff_cache"}
LEAST = "the tier's `minutes`: three sessions and three seeds, which verdicts need, are never cut"
CHECK_S = 5.0  # of a model's contract, two at once
REPORT_S = 40.0  # frame, estimates, tables, figures and page
PIPELINE = Path(RESULTS) / ".pipeline"
REPORT = ROOT / "workflow" / "report"
PARTS = {  # of the report: the files that make no other part, or make it from this one
    "estimates": ("estimates/*.py",),
    "tables": ("tables.py", "notes.py", "controls.py"),
    "figures": ("figures.py", "charts.py", "page/explorer.py", "page/plots.py"),
    "claims": ("claims*.py", "ledger.py", "rules.py", "paper_checks.py"),
    "page": ("page/build.py", "verdicts.py", "templates/*.js", "templates/page.*"),
    "none": ("readme.py", "compare.py", "why.py", "commands.py", "templates/report.md"),
}


@dataclass(frozen=True)
class Job:
    """What makes a row, those of a session, or the verdict on a model. An optional row waits for
    the timing sessions of its tier (`after`), which a full machine would put off."""

    cells: tuple[Cell, ...]
    argv: list[str]
    sources: str
    contracts: tuple[str, ...] = ()
    priority: int = 0
    optional: bool = False
    after: tuple[str, ...] = ()


class Grid:
    """All tiers under the user's additions, by results folder; `all` makes the `chosen` one."""

    shared = tuple(name for name, entry in EXPERIMENTS.items() if not entry.timing)
    exclusive = tuple(name for name, entry in EXPERIMENTS.items() if entry.timing)
    ledger = str(ROOT / "config" / "claims.yaml")
    benchmarks = str(ROOT / "benchmarks" / "test_mixers.py")

    def __init__(self, added: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
        """Read the `files` of `--configfile` once more: Snakemake lets a key stand twice."""
        chosen, tiers = config.tiers(added, files)
        self.chosen = folder(chosen)
        self.tiers = {folder(name): tier for name, tier in tiers.items()}
        self.cells = cache(self._plan)
        self._jobs: dict[str, Job] = {}
        self._held, self.deadline = contextlib.ExitStack(), math.inf
        published = {*ROOT.glob("results/paper/*.csv"), *ROOT.glob("results/reference/*/*.jsonl")}
        made = {ROOT / RESULTS / "paper" / name for name in ("rows.csv", "estimates.csv")}
        self.published = [str(ROOT / "config/controls.yaml"), *sorted(map(str, published - made))]
        self.mixer_code = content_hash(sorted(code_files("pointer", "baselines")))

    def tier_json(self, results: str) -> str:
        """Return a tier's config for `pointer-bench plan --config`, with the devices of here."""
        return json.dumps({"devices": provenance.devices(), **self.tiers[results]}, sort_keys=True)

    def report_code(self, part: str) -> str:
        """Return a hash over the code of a part of the report: a change makes it again."""
        others = itertools.chain(*(PARTS[name] for name in PARTS if name != part))
        left_out = {file for pattern in others for file in REPORT.glob(pattern)}
        return content_hash(sorted({*code_files("workflow/report")} - left_out))

    def micro_benchmarks(self, results: str) -> list[str]:
        """Return the file of micro-benchmarks, if it is made; only the default tier shows it."""
        made = Path(RESULTS, "benchmarks.json")
        return [str(made)] if results == RESULTS and made.exists() else []

    def threads(self, path: str, cores: int | None) -> int:
        """Return what a job claims of `--cores`, all if it runs alone; its threads if None."""
        cell = self.job(path).cells[0]
        if cores is None:
            return threads(cell.threads)
        return cores if cell.timing else config.rule_threads(cell.threads, cores, affinity())

    def job(self, path: str) -> Job:
        """Return what makes a row or a verdict; raise InputError for what no tier holds."""
        for results in (self.chosen, *self.tiers):
            if path not in self._jobs:
                # A tier that was not asked for may be refused; its own target will say so.
                with contextlib.suppress(InputError):
                    self.cells(results)
        if path not in self._jobs:
            raise InputError.about("row", path, "a line of `pointer-bench plan`", "the config")
        return self._jobs[path]

    def begin(self, outputs: Sequence[str]) -> list[str]:
        """Take the lock of the results folder, which unlike Snakemake's own ends with the process;
        return lines on the time that `outputs` take. Raise BlockingIOError where it is taken."""
        try:
            descriptor = self._held.enter_context(lock.taken(PIPELINE, wait=False))
        except BlockingIOError:
            owner = PIPELINE.read_text(encoding="utf-8")
            message = f"another pipeline works in {PIPELINE.parent.resolve()}: {owner}"
            raise BlockingIOError(f"{message}. Wait for it, or end it.") from None
        owner = f"process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}"
        with contextlib.suppress(OSError):  # another user's file is open for reading alone
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner.encode(), 0)
        self._set_deadline(outputs)
        jobs = {path: self._jobs[path] for path in outputs if path in self._jobs}
        cells = [cell for job in jobs.values() if job.contracts for cell in job.cells]
        expected = estimate.seconds(cells)
        checks = {path: CHECK_S for path, job in jobs.items() if not job.contracts}
        further = checks | {path: REPORT_S for path in outputs if path.endswith("/index.html")}
        optional = [path for path, job in jobs.items() if job.optional]
        progress.begin({**further, **expected}, optional, self.deadline)
        if not cells:
            return []
        seconds = estimate.duration(sum(further.values()))
        lines = [f"{'checks and report':18} {len(checks)} models to check, about {seconds}"]
        lines += estimate.summary(cells, expected)
        if optional and math.isfinite(self.deadline):
            time_limit = estimate.duration(self.deadline - time.time())
            lines.append(f"{'optional':18} {len(optional)} of these start only within {time_limit}")
        return lines

    def _set_deadline(self, outputs: Sequence[str]) -> None:
        """Set when the minutes of the tiers whose rows are to be collected end."""
        collected = [path for path in outputs if path.endswith("/manifest.txt")]
        minutes = [self.tiers[os.path.dirname(path)].get("minutes", 0) for path in collected]
        if minutes and all(minutes):
            self.deadline = time.time() + 60 * max(minutes)

    def end(self) -> list[str]:
        """Return a line on a run that took longer than its tier asks for."""
        late = (time.time() - self.deadline) / 60
        return [f"took {late:.0f} minutes more than {LEAST}"] if late >= 1 else []

    def _plan(self, results: str) -> dict[str, tuple[Cell, ...]]:
        """Return a tier's cells by the files of their rows, and remember their jobs."""
        tier = self.tiers[results]
        planned = sessions.by_file(config.cells(tier))
        timings = tuple(path for path, cells in planned.items() if cells[0].timing)
        for place, (path, cells) in enumerate(planned.items()):
            verdicts = {}
            for cell in cells:
                verdict = str(contracts.path(cell.built, cell.mixer))
                options = [f"--set={key}={json.dumps(value)}" for key, value in cell.mixer.items()]
                key = contracts.key(cell.built, json.dumps(cell.mixer, sort_keys=True))
                self._jobs.setdefault(verdict, Job((cell,), [cell.built, *options], key))
                verdicts[verdict] = provenance.sources(cell)
            first = cells[0]
            argv = sessions.Session(cells).argv() if first.timing else first.argv()
            sources = " ".join(dict.fromkeys(verdicts.values()))
            row = Job(cells, argv, sources, tuple(verdicts), len(planned) - place)
            if tier["experiments"][first.experiment].get("optional"):
                row = replace(row, optional=True, after=timings)
            self._jobs.setdefault(path, row)
        return planned


def folder(tier: str) -> str:
    """Return results for the default tier, results/<tier> for any other."""
    return RESULTS if tier == config.BASE else f"{RESULTS}/{tier}"


def code_files(*folders: str) -> list[Path]:
    """Return all files of folders but those of caches."""
    files = [path for name in folders for path in (ROOT / name).rglob("*.*")]
    return [path for path in files if path.is_file() and not CACHES & {*path.parts}]
