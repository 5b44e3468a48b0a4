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
from workflow.bench.grid import Grid, PipelineBusyError, folder, tier_name
from workflow.report import verdicts

# What Snakemake says around every job; each row has a line of its own.
NOISE = ("Select jobs to execute", "Execute ", "Will exit after finishing")
logger.addFilter(lambda record: not str(record.msg).startswith(NOISE))
ENDINGS = {"tables": (".csv", ".md", ".tex", ".html"), "figures": (".png", ".svg")}


def explained(call, *arguments):
    """Report a bad config or a full disk in a sentence, without a traceback."""
    try:
        return call(*arguments)
    except (InputError, PipelineBusyError, OSError) as error:
        raise WorkflowError(str(error)) from None


def row_file(wildcards):
    """Return the file of a row."""
    return "results/runs/{0.experiment}/{0.model}/{0.cell}.json".format(wildcards)


def session_file(wildcards):
    """Return the file of the rows of a timing session."""
    return "results/runs/{0.experiment}/{0.session}.jsonl".format(wildcards)


def job(wildcards):
    """Return what the grid says of a row."""
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


GRID = explained(Grid, config, workflow.configfiles)
CHOSEN = folder(GRID.chosen)
WHOLE = not any("/runs/" in argument for argument in sys.argv)  # no row is asked for by name


onstart:
    needed = [str(file) for job in workflow.dag.needrun_jobs() for file in job.output]
    for line in explained(GRID.begin, needed):
        print(line, file=sys.stderr)


onsuccess:
    # `make` prints the verdicts itself, also where nothing was left to do.
    for line in GRID.end():
        print(line)
    made = {Path(str(file)) for job in workflow.dag.jobs for file in job.output}
    for table in sorted(file for file in made if file.name == "claims.csv"):
        if "MAKELEVEL" not in os.environ:
            print(verdicts.text(table))


wildcard_constraints:
    results="|".join(folder(tier) for tier in GRID.tiers),
