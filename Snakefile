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
        reported(GRID.chosen),


rule collect:
    input:
        expand([*rules.collect_rows.output, *rules.make_estimates.output], results=GRID.chosen),


whole = reported(GRID.chosen)
targets = {tier["tier"]: reported(results) for results, tier in GRID.tiers.items()}
targets["report"] = whole
targets["tables"] = [file for file in whole if "/tables/" in file]
targets["figures"] = [file for file in whole if "/figures/" in file]

for target, files in targets.items():

    rule:
        name:
            target
        input:
            files,
