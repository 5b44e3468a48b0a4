# From a config to rows, tables and figures: `snakemake --cores 4 all` (or smoke, paper, tables, figures, report, benchmarks).
# Rules wire files; `python -m workflow.bench` and `python -m workflow.report` compute.
from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/readme.smk"
include: "workflow/rules/benchmarks.smk"


for rules_of_a_baseline in sorted(Path(workflow.basedir, "workflow", "rules", "baselines").glob("*.smk")):

    include: str(rules_of_a_baseline)


onstart:
    begin_pipeline()


onsuccess:
    end_pipeline()


rule all:
    default_target: True
    input:
        reported(CHOSEN),


rule smoke:
    input:
        reported(folder("smoke")),


rule paper:
    input:
        reported(folder("paper")),


rule collect:
    input:
        reported(CHOSEN, "rows"),


rule tables:
    input:
        reported(CHOSEN, "tables"),


rule figures:
    input:
        reported(CHOSEN, "figures"),


rule report:
    input:
        reported(CHOSEN, "tables", "figures", "claims", "page"),
