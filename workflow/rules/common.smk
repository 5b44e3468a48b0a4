# What all rules share: the grid of cells (workflow/bench/grid.py) and what starts and ends a run.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Jobs use this Python and this checkout, also where neither is activated or installed.
sys.path.insert(0, workflow.basedir)
for name, first in {"PATH": Path(sys.executable).parent, "PYTHONPATH": workflow.basedir}.items():
    os.environ[name] = os.pathsep.join(filter(None, [str(first), os.environ.get(name)]))

from pointer.errors import InputError
from workflow.bench import progress
from workflow.bench.grid import Grid
from workflow.bench.rows.run import tried
from workflow.report import verdicts

# What Snakemake says around every job; each row has a line of its own.
NOISE = (
    "Select jobs to execute",
    "Execute ",
    "Will exit after finishing",
    "Building DAG of jobs",
    "Using shell",
    "Conda environments",
    "Assuming unrestricted shared filesystem",
)


def is_said(record):
    """Return whether a message of Snakemake's is shown; a warning wipes the bar from its line."""
    if record.levelname in ("WARNING", "ERROR", "CRITICAL"):
        progress.wipe()
    return not str(record.msg).startswith(NOISE)


logger.addFilter(is_said)
ENDINGS = {"tables": (".csv", ".md", ".tex", ".html"), "figures": (".png", ".svg")}


def explained(call, *arguments):
    """Report a bad config or a full disk in a sentence, without a traceback."""
    try:
        return call(*arguments)
    except (InputError, OSError) as error:
        raise WorkflowError(str(error)) from None


def row_file(wildcards):
    """Return the file of a row, or of the rows of a timing session."""
    if hasattr(wildcards, "session"):
        return "results/runs/{0.experiment}/{0.session}.jsonl".format(wildcards)
    return "results/runs/{0.experiment}/{0.model}/{0.cell}.json".format(wildcards)


def job(wildcards):
    """Return what the grid says of a row, or of the rows of a session."""
    return GRID.job(row_file(wildcards))


def shared_cores():
    """Return the cores that jobs share; None where Slurm gives each job its own."""
    plugin = workflow.executor_plugin
    return None if plugin and plugin.common_settings.non_local_exec else workflow.cores


def in_formats(folder, names):
    """Return tables or figures in every format; `snakemake --report` shows the last one."""
    files = []
    for name in names:
        *others, last = multiext(f"{{results}}/{folder}/{name}", *ENDINGS[folder])
        about = dict(caption=f"../report/captions/{name}.rst", category=folder.capitalize())
        files += [*others, report(last, labels={"tier": "{results}", "shows": name}, **about)]
    return files


def reported(results):
    """Return all files of a tier's report."""
    makers = "collect_rows make_estimates make_tables make_figures make_claims make_page".split()
    files = [file for name in makers for file in getattr(rules, name).output]
    return expand(files, results=results)


def of_tier(results):
    """Return what the report is told of a tier: its name, and how many rows it plans."""
    planned = sum(len(cells) for cells in GRID.cells(results).values())
    return [f"--tier={GRID.tiers[results]['tier']}", f"--planned={planned}"]


def report_of_what_is_there(results):
    """Make a tier's report of the rows that are there, by the commands of the rules."""
    cells = GRID.cells(results)
    there = [file for file in cells if Path(file).is_file()]
    found, planned = (sum(len(cells[file]) for file in files) for files in (there, cells))
    kept = f"{results}: {found} of {planned} rows are kept{' and reported' if there else ''}"
    print(f"{kept}; the same command goes on", file=sys.stderr)
    if not there:
        return
    # Not manifest.txt, which lists what should be there, as `pointer-bench verify` reads it.
    manifest, log = (f"{results}/logs/partly.{ending}" for ending in ("txt", "log"))
    Path(manifest).parent.mkdir(parents=True, exist_ok=True)
    Path(manifest).write_text("".join(f"{file}\n" for file in there))
    shown = [file for file in reported(results) if Path(file).parent.parent == Path(results)]
    timed = [f"--benchmarks={file}" for file in GRID.micro_benchmarks(results)]
    tier = of_tier(results)
    shell(
        "(python -m workflow.report collect --manifest {manifest:q} {timed:q} --out {results:q}"
        " && python -m workflow.report estimates --rows {results:q}/rows.parquet --out {results:q}"
        " && python -m workflow.report make {shown:q} {tier:q} --from {GRID.published:q}"
        " {results:q}/rows.parquet {results:q}/estimates.parquet"
        " {results:q}/reference_estimates.parquet) > {log:q} 2>&1"
        " || echo 'it could not be made: see' {log:q} >&2"
    )


GRID = explained(Grid, config, workflow.configfiles)
# Neither rows by name nor a job of Slurm's, which makes its row alone.
WHOLE = not any(word == "--target-jobs" or "/runs/" in word for word in sys.argv)


onstart:
    # Without a limit on jobs a second: its timer asks the scheduler again every second, one more
    # timer for each job that ends, and after 100 jobs they take a fifth of a core beside timings.
    workflow.scheduler.job_rate_limiter = None
    needed = [str(file) for job in workflow.dag.needrun_jobs() for file in job.output]
    for line in explained(GRID.begin, needed):
        print(line, file=sys.stderr)


onsuccess:
    progress.wipe()
    # `make` prints the verdicts itself, also where nothing was left to do.
    for line in GRID.end():
        print(line)
    made = {Path(str(file)) for job in workflow.dag.jobs for file in job.output}
    for table in sorted(file for file in made if file.name == "claims.csv"):
        if "MAKELEVEL" not in os.environ:
            print(verdicts.text(table))


onerror:
    progress.wipe()
    for job in list(workflow.dag.needrun_jobs()):
        if job.rule.name == "collect_rows":
            report_of_what_is_there(job.wildcards.results)


wildcard_constraints:
    results="|".join(GRID.tiers),
