# What all rules share: the grid of cells (workflow/bench/grid.py) and what starts and ends a run.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Jobs use this Python and this checkout, also where neither is activated or installed.
sys.path.insert(0, workflow.basedir)
for name, first in {
    "PATH": str(Path(sys.executable).parent),
    "PYTHONPATH": workflow.basedir,
}.items():
    os.environ[name] = os.pathsep.join(filter(None, [first, os.environ.get(name)]))

from pointer.errors import InputError
from workflow.bench.grid import RESULTS, Grid, PipelineBusyError, folder, tier_name
from workflow.report import verdicts


def explained(call, *arguments):
    """A bad config, or a full disk, is a sentence, not a traceback."""
    try:
        return call(*arguments)
    except (InputError, PipelineBusyError, OSError) as error:
        raise WorkflowError(str(error)) from None


def row_path(wildcards):
    """The row that a job makes."""
    return "results/runs/{0.experiment}/{0.model}/{0.cell}.json".format(wildcards)


def of_row(key):
    """A function of a job's wildcards: what the grid says of the job's row."""
    return lambda wildcards: getattr(explained(GRID.job, row_path(wildcards)), key)


def shared_cores():
    """The cores that jobs share; None where an engine such as Slurm gives each job its own."""
    plugin = workflow.executor_plugin
    return None if plugin and plugin.common_settings.non_local_exec else workflow.cores


def captioned(prefix, *endings):
    """A table or figure in several formats; `snakemake --report` shows the page or the SVG."""
    name = Path(prefix).name
    shown = dict(
        caption=f"../report/captions/{name}.rst",
        category=Path(prefix).parent.name.capitalize(),
        labels={"tier": "{results}", "shows": name},
    )
    files = multiext(prefix, *endings)
    return [report(file, **shown) if file.endswith((".html", ".svg")) else file for file in files]


def reported(results, *folders):
    """The files of a tier's report, or those of some folders of it: what its experiments show."""
    names = explained(GRID.report_rules, results)
    files = [file.format(results=results) for name in names for file in getattr(rules, name).output]
    return [file for file in files if not folders or Path(file).parent.name in folders]


GRID = explained(Grid, config, workflow.configfiles)
CHOSEN = folder(GRID.chosen)


onstart:
    jobs = workflow.dag.needrun_jobs()
    for line in explained(GRID.begin, [str(file) for job in jobs for file in job.output]):
        print(line, file=sys.stderr)


onsuccess:
    # `make` prints the verdicts itself, also where nothing was left to do.
    judged = [str(file) for job in workflow.dag.jobs for file in job.output]
    for table in sorted(file for file in judged if Path(file).name == "claims.csv"):
        if "MAKELEVEL" not in os.environ:
            print(explained(verdicts.text, Path(table)))


wildcard_constraints:
    results="|".join(folder(tier) for tier in GRID.tiers),
    contract="[^/]+",
    model="[^/]+",
    cell="[^/]+",
