# The rows of a tier -> one frame -> estimates -> tables, figures, verdicts, the results page. `results` is
# "results" for the default tier, "results/<tier>" for another.
TABLE = (".csv", ".md", ".tex", ".html")
FIGURE = (".png", ".svg")


rule collect_rows:
    input:
        rows=lambda wildcards: explained(GRID.rows, wildcards.results),
        benchmarks=lambda wildcards: GRID.micro_benchmarks(wildcards.results),
    output:
        manifest="{results}/manifest.txt",
        rows=multiext("{results}/rows", ".parquet", ".csv"),
    log:
        "{results}/logs/collect.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: explained(GRID.tier_json, wildcards.results),
        rows=lambda wildcards: explained(GRID.rows_hash, wildcards.results),
        benchmarks=lambda wildcards, input: [f"--benchmarks={file}" for file in input.benchmarks],
    shell:
        "(python -m workflow.bench plan --config {params.tier:q} > {output.manifest:q}"
        " && python -m workflow.report collect --manifest {output.manifest:q}"
        " {params.benchmarks:q} --out {wildcards.results:q}) > {log:q} 2>&1"


rule make_estimates:
    input:
        rows="{results}/rows.parquet",
        published=GRID.published,
    output:
        multiext("{results}/estimates", ".parquet", ".csv"),
    log:
        "{results}/logs/estimates.log",
    conda:
        "../../environment.yml"
    params:
        code=GRID.report_code,
    shell:
        "python -m workflow.report estimates --rows {input.rows:q} --out {wildcards.results:q}"
        " > {log:q} 2>&1"


rule make_tables:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        published=GRID.published,
    output:
        captioned("{results}/tables/training_time", *TABLE),
        captioned("{results}/tables/throughput", *TABLE),
        captioned("{results}/tables/speedup", *TABLE),
        captioned("{results}/tables/memory", *TABLE),
        captioned("{results}/tables/copy_accuracy", *TABLE),
        captioned("{results}/tables/copy_loss", *TABLE),
        captioned("{results}/tables/hops", *TABLE),
        captioned("{results}/tables/operations", *TABLE),
        captioned("{results}/tables/scaling", *TABLE),
        captioned("{results}/tables/parameters", *TABLE),
        captioned("{results}/tables/mixers", *TABLE),
    log:
        "{results}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: tier_name(wildcards.results),
        code=GRID.report_code,
    shell:
        "python -m workflow.report make {output:q} --from {input:q} --tier {params.tier:q}"
        " > {log:q} 2>&1"


use rule make_tables as make_figures with:
    output:
        captioned("{results}/figures/time", *FIGURE),
        captioned("{results}/figures/throughput", *FIGURE),
        captioned("{results}/figures/speedup", *FIGURE),
        captioned("{results}/figures/memory", *FIGURE),
        captioned("{results}/figures/operations", *FIGURE),
        captioned("{results}/figures/copy_accuracy", *FIGURE),
        captioned("{results}/figures/loss_curves", *FIGURE),
        captioned("{results}/figures/hops", *FIGURE),
        captioned("{results}/figures/pointer_map", *FIGURE),
    log:
        "{results}/logs/figures.log",


use rule make_tables as make_fairness with:
    output:
        captioned("{results}/tables/fairness", *TABLE),
    log:
        "{results}/logs/fairness.log",


use rule make_tables as make_ablations with:
    output:
        captioned("{results}/tables/ablation", *TABLE),
        captioned("{results}/tables/two_hop", *TABLE),
        captioned("{results}/figures/ablation", *FIGURE),
        captioned("{results}/figures/two_hop", *FIGURE),
    log:
        "{results}/logs/ablations.log",


use rule make_tables as make_tasks with:
    output:
        captioned("{results}/tables/recall", *TABLE),
        captioned("{results}/tables/bytes", *TABLE),
        captioned("{results}/figures/mqar", *FIGURE),
        captioned("{results}/figures/trade_off", *FIGURE),
    log:
        "{results}/logs/tasks.log",


use rule make_tables as make_goals with:
    output:
        captioned("{results}/tables/goals", *TABLE),
    log:
        "{results}/logs/goals.log",


use rule make_tables as make_claims with:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        ledger=GRID.ledger,
    output:
        captioned("{results}/tables/claims", *TABLE),
        captioned("{results}/figures/claims", *FIGURE),
    log:
        "{results}/logs/claims.log",


use rule make_tables as make_page with:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        shown=lambda wildcards: reported(wildcards.results, "tables", "figures"),
    output:
        "{results}/report/index.html",
    log:
        "{results}/logs/page.log",


# The chosen tier's rows -> rows to commit -> the README's section of results. It has no output:
# Snakemake would delete the README before writing it. So it runs whenever it is asked for.
rule readme:
    input:
        rows=lambda wildcards: explained(GRID.rows, CHOSEN),
        manifest=f"{CHOSEN}/manifest.txt",
    log:
        "results/logs/readme.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "(python -m workflow.report keep --manifest {input.manifest:q}"
        " && python -m workflow.report readme) > {log:q} 2>&1"
