"""Pipelines of a few tiny rows: start, kill, finish and compare them."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from workflow.bench import config, experiments, sources
from workflow.bench.rows import read_rows, worker
from workflow.bench.sessions import by_file

COPY = {"models": ["pointer"], "batch": 1, "tokens": 4000, "evaluate_symbols": 100, "seeds": [0, 1]}
TIMED = {"models": ["transformer"], "batch": 1, "repeats": 1, "session_seconds": 0}
SUITE = ("workflow", "pointer", "baselines", "config", "profiles", "results/paper")
SUITE += ("Snakefile", "environment.yml")
TIER = {"tier": "faulty", "devices": ["cpu"], "threads": 1, "lengths": [32], "distances": [8]}
TIER |= {"controls": "none", "experiments": dict.fromkeys(experiments.EXPERIMENTS)}
TIER["experiments"] |= {"copy": COPY, "efficiency": TIMED}  # none but these
CONTRACTS = Path("results", "contracts")
LONGEST_S = 900  # the smoke tier and every model's contract, beside other work of the machine
# What two runs of one copy cell may differ in: when, how long, the command, and the digest.
FREE = {"started", "ended", "train_seconds", "seconds_to_95", "command", "digest"}
MEASURED = ("step_ms", "step_ms_mean", "tokens_per_s", "inference_ms")
# How the code of a stand-in for the worker begins.
STAND_IN = "import json, os, signal, sys, time\nfrom pathlib import Path\n"
STAND_IN += "result = Path(sys.argv[2])\n"
# The command line of sys.argv[2:] where every model keeps its contract, its worker's code first.
BENCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by tests in the background
from workflow.bench import cli
from workflow.bench.rows import child, contracts
contracts.verdict = lambda *_: contracts.Verdict("any", {}, "", "ok", [])
child.WORKER = (sys.executable, "-c", sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""


def command(folder, *arguments):
    """Return a Snakemake of this repository that works in `folder`."""
    own = ["--snakefile", str(sources.ROOT / "Snakefile"), "--directory", str(folder)]
    profile = ["--workflow-profile", str(sources.ROOT / "profiles" / "default")]
    cores = [] if {"--cores", "--profile"} & set(arguments) else ["--cores", "2"]
    return [sys.executable, "-m", "snakemake", *arguments, *own, *profile, *cores]


def ran(*command, folder=sources.ROOT, limit=LONGEST_S, **variables):
    """Run a program to its end; return its exit code and what it printed."""
    settings = {"capture_output": True, "text": True, "timeout": limit, "check": False}
    return subprocess.run(command, cwd=folder, env={**os.environ, **variables}, **settings)


def worked(folder, cell):
    """Let a worker measure a cell in this process; return its exit code and its result."""
    request, result = folder / "settings.json", folder / "result.json"
    request.write_text(json.dumps({"cells": [cell.to_dict()]}), encoding="utf-8")
    code = worker.main([str(request), str(result)])
    return code, json.loads(result.read_text(encoding="utf-8"))


def snakemake(folder, *arguments):
    """Run Snakemake to its end; return its exit code and all that it printed."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    settings["env"] = {key: value for key, value in os.environ.items() if key != "MAKELEVEL"}
    settings |= {"cwd": sources.ROOT, "timeout": LONGEST_S, "check": False}
    done = subprocess.run(command(folder, *arguments), **settings)
    return done.returncode, done.stdout


def planned(output):
    """Return how many rows each rule makes, by the table of jobs that a dry run prints."""
    return {rule: int(jobs) for rule, jobs in re.findall(r"^(run_\w+) +(\d+)$", output, re.M)}


def tier_rows(folder):
    """Return the arguments that make the rows of TIER."""
    file = folder / "faulty.yaml"
    file.write_text(json.dumps(TIER))
    cells = config.cells(config.from_files([str(file)]))
    return [*by_file(cells), "--configfile", str(file)]


def copy_suite(folder, parts):
    """Copy folders and files of the repository."""
    for part in parts:
        if (sources.ROOT / part).is_dir():
            compiled = shutil.ignore_patterns("__pycache__")
            shutil.copytree(sources.ROOT / part, folder / part, ignore=compiled)
        else:
            shutil.copy(sources.ROOT / part, folder)


def new_folder(folder, contracts=None):
    """Make a folder for a pipeline, with verdicts on models that are there already."""
    folder.mkdir()
    if contracts is not None:
        shutil.copytree(contracts, folder / CONTRACTS)
    return folder


def start(folder, *target):
    """Start the rows of TIER, or a target; jobs may outlive it, so the output goes to a file."""
    asked = target or tier_rows(folder)
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        streams = {"stdout": output, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command(folder, *asked), cwd=folder, **streams)


def output(folder):
    return (folder / "output.txt").read_text(encoding="utf-8")


def finish(folder, *target):
    """Run the pipeline to its end, which must be a good one."""
    code = start(folder, *target).wait(timeout=LONGEST_S)
    assert code == 0, output(folder)


def rows(folder):
    """Return every row of a folder, of a disturbed session the last; fail for half a row."""
    found = read_rows(folder / "results" / "runs")
    return {path.name.replace("-again", ""): row for path, row in found}


def digests(rows):
    return {row["digest"] for row in rows.values()}


def kill(running, who, draw):
    """SIGKILL the pipeline or a process of one of its jobs; return which, "" where none ran."""
    with contextlib.suppress(psutil.NoSuchProcess):
        victim = psutil.Process(running.pid)
        children = victim.children(recursive=True)
        jobs = [child for child in children if "workflow.bench" in " ".join(child.cmdline())]
        if who == "job" and jobs:
            victim = draw.choice(jobs)
        name = " ".join(victim.cmdline()[:4])
        victim.kill()
        return name
    return ""


def wait(seconds, running):
    """Wait, but not past the pipeline's end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)


def eventually(ask, seconds=20):
    """Wait until `ask` gives something that is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):  # a file that is not there yet
            if found := ask():
                return found
        time.sleep(0.02)
    raise AssertionError("never came true")


def compare(rows, undisturbed, free=FREE):
    """Assert that copy rows are equal in all but `free`, and that timing rows are complete."""
    assert rows.keys() == undisturbed.keys()
    for name, row in rows.items():
        assert row["status"] == "ok", row["reason"]
        if row["experiment"] == "copy":
            other = undisturbed[name]
            keys = (row.keys() | other.keys()) - free
            assert {key: row.get(key) for key in keys} == {key: other.get(key) for key in keys}
        elif row["experiment"] == "efficiency":
            assert all(row[key] > 0 for key in MEASURED)
