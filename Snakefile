# From a config to rows, tables and figures: `snakemake --cores 4 all`. Every tier of config/ is a
# target (smoke, paper, ...). Rules wire files; workflow.bench and workflow.report compute.
include: "workflow/rules/common.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/report.smk"


for rules_of_a_baseline in sorted(Path(workflow.basedir).glob("workflow/rules/baselines/*.smk")):

    include: str(rules_of_a_baseline)


rule all:
    default_target: True
    input:
        reported(CHOSEN),


rule collect:
    input:
        expand([*rules.collect_rows.output, *rules.make_estimates.output], results=CHOSEN),


for target, files in {
    **{tier: reported(folder(tier)) for tier in GRID.tiers},
    "report": reported(CHOSEN),
    "tables": [file for file in reported(CHOSEN) if "/tables/" in file],
    "figures": [file for file in reported(CHOSEN) if "/figures/" in file],
}.items():

    rule:
        name:
            target
        input:
            files,
