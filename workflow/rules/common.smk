# The grid of cells behind all rules, and what starts a pipeline. Everything else is in workflow/bench/grid.py.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Jobs use this Python and this checkout, also where neither is activated or installed.
sys.path.insert(0, workflow.basedir)
for name, first in {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": workflow.basedir}.items():
    os.environ.update({name: os.pathsep.join(filter(None, [first, os.environ.get(name)]))})

from pointer.errors import InputError
from workflow.bench.experiments import TASKS
from workflow.bench.grid import PIPELINE, RESULTS, STORE, Grid, folder, tier_name
from workflow.bench.pipeline import PipelineBusyError
from workflow.bench.sources import content_hash
from workflow.report import verdicts


def explained(call, *arguments):
    """A bad config, or a full disk, is a sentence, not a traceback."""
    try:
        return call(*arguments)
    except (InputError, PipelineBusyError, OSError) as error:
        raise WorkflowError(str(error)) from None


def row_path(wildcards):
    """The row that a job makes."""
    return f"{RESULTS}/runs/{wildcards.experiment}/{wildcards.model}/{wildcards.cell}.json"


def asked(what):
    """A function of a job's wildcards: what the grid says of its row."""
    return lambda wildcards: explained(getattr(GRID, what), row_path(wildcards))


def shared_cores():
    """The cores that all jobs share; None where another engine, Slurm say, gives each job its own."""
    plugin = workflow.executor_plugin
    return None if plugin and plugin.common_settings.non_local_exec else workflow.cores


def claimed_threads(wildcards):
    """What a job claims of --cores, or asks of the engine."""
    return explained(GRID.threads, row_path(wildcards), shared_cores())


def exclusive(wildcards):
    """What a job that must run alone says to Slurm; nothing to any other engine."""
    on_slurm = workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm"
    return "--exclusive" if on_slurm and explained(GRID.timing, row_path(wildcards)) else ""


def begin_pipeline():
    """One pipeline at a time in a results folder; time and disk before the first job."""
    outputs = [str(file) for job in workflow.dag.needrun_jobs() for file in job.output]
    for line in explained(GRID.begin, outputs):
        print(line, file=sys.stderr)


def end_pipeline():
    """The verdicts of the tiers that were asked for; `make` prints them itself, also where nothing was left to do."""
    judged = [str(file) for job in workflow.dag.jobs for file in job.output if Path(file).name == "claims.csv"]
    for table in sorted(judged if "MAKELEVEL" not in os.environ else []):
        print(explained(verdicts.text, Path(table)))


def reported(results, *kinds):
    """The files of a tier's report, or of some kinds of them: rows, tables, figures, claims."""
    wanted = [files for (kind, part), files in MADE.items() if kind in (kinds or (kind,)) and suits(part, results)]
    return [file.format(results=results) for files in wanted for file in files]


def suits(part, results):
    """Whether a tier shows a part of the report: it has one of the part's experiments, or is one of the part's own tiers."""
    shown = SHOWN[part]
    if "tiers" in shown:
        return tier_name(results) in shown["tiers"]
    return not shown["of"] or bool(shown["of"] & explained(GRID.experiments, results))


def shown(wildcards, output):
    """The names of the tables or figures that a job makes."""
    return stems(output)


def stems(files):
    """The names of tables or figures, each once."""
    return sorted({Path(file).stem for file in files})


def drawn(results):
    """The figures of a tier's report, that of the verdicts among them."""
    return [file for file in reported(results, "figures", "claims") if Path(file).suffix == ".svg"]


def captioned(file, category):
    """What `snakemake --report` shows: the table as a page, the figure as SVG, both under the caption of their name."""
    path = Path(file)
    if path.suffix not in (".html", ".svg"):
        return file
    caption = f"../report/captions/{path.stem}.rst"
    return report(file, caption=caption, category=category, labels={"tier": "{results}", "shows": path.stem})


GRID = explained(Grid, config, workflow.configfiles)
CHOSEN = folder(GRID.chosen)
REPORT = Path(workflow.basedir, "workflow", "report")
REPORT_CODE = content_hash(sorted(REPORT.glob("*.py")))
PAGE_CODE = content_hash(
    sorted(file for ending in ("py", "html", "css", "js", "rst") for file in REPORT.rglob(f"*.{ending}"))
)
MIXERS = content_hash(
    path for name in ("pointer", "baselines") for path in sorted(Path(workflow.basedir, name).glob("*.*"))
)
PUBLISHED = [str(path) for path in Path(workflow.basedir, RESULTS, "paper").glob("*.csv") if path.stem != "rows"]
LEDGER = str(Path(workflow.basedir, "config", "claims.yaml"))
BENCHMARKS = [f"{RESULTS}/benchmarks.json"]
# What a report shows, and of which experiments it is made (of none in particular: always shown).
SHOWN = {
    "core": {
        "tables": [
            "training_time",
            "throughput",
            "speedup",
            "memory",
            "copy_accuracy",
            "copy_loss",
            "hops",
            "operations",
            "scaling",
            "parameters",
            "mixers",
        ],
        "figures": [
            "time",
            "throughput",
            "speedup",
            "memory",
            "operations",
            "copy_accuracy",
            "loss_curves",
            "hops",
            "pointer_map",
        ],
        "of": set(),
    },
    "fairness": {"tables": ["fairness"], "figures": [], "of": {"fairness"}},
    "ablations": {
        "tables": ["ablation", "two_hop"],
        "figures": ["ablation", "two_hop"],
        "of": {"ablation", "two_hop"},
    },
    "tasks": {"tables": ["recall", "bytes"], "figures": ["mqar", "trade_off"], "of": {*TASKS} - {"copy"}},
    "goals": {"tables": ["goals"], "figures": [], "tiers": {"targets", "paper", "content"}},
}
ENDINGS = {"tables": ("csv", "md", "tex", "html"), "figures": ("png", "svg")}
MADE = {
    ("rows", "core"): [f"{{results}}/rows.{ending}" for ending in ("parquet", "csv")],
    **{
        (kind, part): [f"{{results}}/{kind}/{name}.{ending}" for name in shown[kind] for ending in ENDINGS[kind]]
        for part, shown in SHOWN.items()
        for kind in ENDINGS
    },
    ("claims", "core"): [f"{{results}}/{kind}/claims.{ending}" for kind in ENDINGS for ending in ENDINGS[kind]],
    ("page", "core"): ["{results}/report/index.html"],
}


wildcard_constraints:
    results="|".join(GRID.folders),
    model="[^/]+",
    cell="[^/]+",
