# From a config to rows, tables and figures: `snakemake --cores 4 all`. Every tier of config/ is a
# target of its own (smoke, paper, ...). Rules wire files; workflow.bench and workflow.report compute.
from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/report.smk"


for rules_of_a_baseline in sorted(Path(workflow.basedir).glob("workflow/rules/baselines/*.smk")):

    include: str(rules_of_a_baseline)


rule all:
    default_target: True
    input:
        reported(CHOSEN),


for tier in GRID.tiers:

    rule:
        name:
            tier
        input:
            reported(folder(tier)),


rule collect:
    input:
        expand([*rules.collect_rows.output, *rules.make_estimates.output], results=CHOSEN),


rule tables:
    input:
        reported(CHOSEN, "tables"),


rule figures:
    input:
        reported(CHOSEN, "figures"),


rule report:
    input:
        reported(CHOSEN, "tables", "figures", "report"),
