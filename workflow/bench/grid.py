"""Answer what the Snakefile asks: tiers, their rows, and what the job of a row needs.

Loads no Snakemake. A tier is planned when a target first needs it, so that additions which only
suit one tier break no other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import config, progress, sessions
from workflow.bench.cell import Cell, threads
from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import contracts, estimate, lock, provenance
from workflow.bench.rows.run import DEADLINE, tried
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
    "figures": ("figures.py", "charts.py", "curves.py", "page/explorer.py", "page/plots.py"),
    "claims": ("claims*.py", "ledger.py", "rules.py", "paper_checks.py"),
    "page": ("page/build.py", "verdicts.py", "templates/*.js", "templates/page.*"),
    "none": ("readme.py", "compare.py", "why.py", "commands.py", "templates/report.md"),
}


class PipelineBusyError(RuntimeError):
    """Another pipeline works in this results folder; the message names it."""


@dataclass(frozen=True)
class Job:
    """What makes a row, those of a session, or the verdict on a model: options of `pointer-bench`,
    the hash of its sources, and for rows the files of verdicts. An optional row waits for the
    timing sessions of its tier (`after`), which a full machine would put off."""

    cells: tuple[Cell, ...]
    argv: list[str]
    sources: str
    contracts: tuple[str, ...] = ()
    priority: int = 0
    optional: bool = False
    after: tuple[str, ...] = ()


class Grid:
    """All tiers under the user's additions; `chosen` is the tier that `all` makes."""

    shared = tuple(name for name, entry in EXPERIMENTS.items() if not entry.timing)
    exclusive = tuple(name for name, entry in EXPERIMENTS.items() if entry.timing)
    ledger = str(ROOT / "config" / "claims.yaml")
    benchmarks = str(ROOT / "benchmarks" / "test_mixers.py")

    def __init__(self, added: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
        """Read the `files` of `--configfile` once more: Snakemake lets a key stand twice."""
        self.chosen, self.tiers = config.tiers(added, files)
        self.cells = cache(self._plan)
        self._jobs: dict[str, Job] = {}
        self._held = contextlib.ExitStack()
        self.deadline = math.inf
        published = (ROOT / RESULTS / "paper").glob("*.csv")
        self.published = [
            str(ROOT / "config" / "controls.yaml"),
            *sorted(map(str, (ROOT / RESULTS / "reference").glob("*/*.jsonl"))),
            *sorted(str(path) for path in published if path.stem not in ("rows", "estimates")),
        ]
        self.mixer_code = content_hash(sorted(code_files("pointer", "baselines")))

    def rows(self, results: str) -> list[str]:
        """Return the row files of the tier whose results folder this is."""
        return list(self.cells(tier_name(results)))

    def tier_json(self, results: str) -> str:
        """Return a tier's config for `pointer-bench plan --config`, with the devices of here."""
        tier = {"devices": provenance.devices(), **self.tiers[tier_name(results)]}
        return json.dumps(tier, sort_keys=True)

    def report_code(self, part: str) -> str:
        """Return a hash over the code of a part of the report: a change makes it again."""
        others = set[Path]()
        for name, patterns in PARTS.items():
            if name != part:
                others.update(file for pattern in patterns for file in REPORT.glob(pattern))
        return content_hash(sorted({*code_files("workflow/report")} - others))

    def micro_benchmarks(self, results: str) -> list[str]:
        """Return the file of micro-benchmarks, if it is made; only the default tier shows it."""
        made = Path(RESULTS, "benchmarks.json")
        return [str(made)] if results == RESULTS and made.exists() else []

    def threads(self, path: str, cores: int | None) -> int:
        """Return what a job claims of `--cores`, all if it runs alone; its threads if None."""
        cell = self.job(path).cells[0]
        if cores is None:
            return threads(cell.threads)
        return cores if cell.timing else config.rule_threads(cell.threads, cores)

    def job(self, path: str) -> Job:
        """Return what makes a row or a verdict; raise InputError for what no tier holds."""
        for name in (self.chosen, *self.tiers):
            if path not in self._jobs:
                # A tier that was not asked for may be refused; its own target will say so.
                with contextlib.suppress(InputError):
                    self.cells(name)
        if path not in self._jobs:
            accepted = "a line that `pointer-bench plan` prints"
            raise InputError.about("row", path, accepted, "the target, or the config")
        return self._jobs[path]

    def tried(self, path: str) -> int:
        """Return how often a deadline cut a row."""
        return tried(Path(path)) if self.job(path).optional else 0

    def begin(self, outputs: Iterable[str]) -> list[str]:
        """Take the lock of the results folder; return lines on the time that `outputs` take.

        Snakemake's own lock outlives a killed process, this one does not. Raise PipelineBusyError
        if another pipeline works there.
        """
        try:
            descriptor = self._held.enter_context(lock.taken(PIPELINE, wait=False, mode=0o666))
        except BlockingIOError:
            owner = PIPELINE.read_text(encoding="utf-8")
            message = f"another pipeline works in {PIPELINE.parent.resolve()}: {owner}"
            raise PipelineBusyError(f"{message}. Wait for it, or end it.") from None
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = f"process {os.getpid()} on {socket.gethostname()}, since {now}"
        with contextlib.suppress(OSError):  # another user's file is open for reading alone
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner.encode(), 0)
        outputs = list(outputs)
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

    def _set_deadline(self, outputs: Iterable[str]) -> None:
        """Tell all jobs when the minutes of the tiers whose rows are to be collected end."""
        collected = [Path(path).parent for path in outputs if Path(path).name == "manifest.txt"]
        minutes = [self.tiers[tier_name(str(folder))].get("minutes", 0) for folder in collected]
        if minutes and all(minutes):
            self.deadline = time.time() + 60 * max(minutes)
            os.environ[DEADLINE] = str(self.deadline)

    def end(self) -> list[str]:
        """Return a line on a run that took longer than its tier asks for."""
        late = (time.time() - self.deadline) / 60
        return [f"took {late:.0f} minutes more than {LEAST}"] if late >= 1 else []

    def _plan(self, name: str) -> dict[str, tuple[Cell, ...]]:
        """Return a tier's cells by the files of their rows, and remember their jobs."""
        tier = self.tiers[name]
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
            optional = bool(tier["experiments"][first.experiment].get("optional"))
            row = Job(
                cells,
                sessions.Session(cells).argv() if first.timing else first.argv(),
                sources=" ".join(dict.fromkeys(verdicts.values())),
                contracts=tuple(verdicts),
                priority=len(planned) - place,
                optional=optional,
                after=timings if optional else (),
            )
            self._jobs.setdefault(path, row)
        return planned


def folder(tier: str) -> str:
    """Return results for the default tier, results/<tier> for any other."""
    return RESULTS if tier == config.BASE else f"{RESULTS}/{tier}"


def tier_name(results: str) -> str:
    """Return the tier whose results folder this is."""
    return config.BASE if results == RESULTS else results.removeprefix(f"{RESULTS}/")


def code_files(*folders: str) -> list[Path]:
    """Return all files of folders but those of caches."""
    files = [path for name in folders for path in (ROOT / name).rglob("*.*")]
    return [path for path in files if path.is_file() and not CACHES & {*path.parts}]
