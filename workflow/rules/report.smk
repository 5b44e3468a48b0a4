# The rows of a tier -> one frame -> estimates -> tables, figures, verdicts, the results page, in
# "results" for the default tier, "results/<tier>" for another. A table without rows has its heading and notes.
TABLES = (
    "models training_time throughput speedup memory copy_accuracy copy_loss hops operations scaling"
    " parameters mixers ablation two_hop recall learning_time controls bytes"
).split()
FIGURES = (
    "time throughput speedup memory operations copy_accuracy curves loss_curves hops pointer_map"
    " ablation two_hop mqar recall_time text trade_off"
).split()


rule collect_rows:
    input:
        rows=lambda wildcards: list(GRID.cells(wildcards.results)),
        benchmarks=lambda wildcards: GRID.micro_benchmarks(wildcards.results),
    output:
        manifest="{results}/manifest.txt",
        rows=multiext("{results}/rows", ".parquet", ".csv"),
    log:
        "{results}/logs/collect.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: GRID.tier_json(wildcards.results),
        benchmarks=lambda wildcards, input: [f"--benchmarks={file}" for file in input.benchmarks],
    shell:
        "(python -m workflow.bench plan --config {params.tier:q} > {output.manifest:q}"
        " && python -m workflow.report collect --manifest {output.manifest:q}"
        " {params.benchmarks:q} --out {wildcards.results:q}) 2> {log:q}"


rule make_estimates:
    input:
        rows="{results}/rows.parquet",
        published=GRID.published,
    output:
        multiext("{results}/estimates", ".parquet", ".csv"),
        "{results}/reference_estimates.parquet",
    log:
        "{results}/logs/estimates.log",
    conda:
        "../../environment.yml"
    params:
        code=GRID.report_code("estimates"),
    shell:
        "python -m workflow.report estimates --rows {input.rows:q} --out {wildcards.results:q}"
        " 2> {log:q}"


rule make_tables:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        reference="{results}/reference_estimates.parquet",
        published=GRID.published,
    output:
        in_formats("tables", TABLES),
    log:
        "{results}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: of_tier(wildcards.results),
        code=GRID.report_code("tables"),
    shell:
        "python -m workflow.report make {output:q} --from {input:q} {params.tier:q} 2> {log:q}"


use rule make_tables as make_figures with:
    output:
        in_formats("figures", FIGURES),
    log:
        "{results}/logs/figures.log",
    params:
        code=GRID.report_code("figures"),


use rule make_tables as make_claims with:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        ledger=GRID.ledger,
    output:
        in_formats("tables", ["claims"]),
        in_formats("figures", ["claims"]),
    log:
        "{results}/logs/claims.log",
    params:
        code=GRID.report_code("claims"),


use rule make_tables as make_page with:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        reference="{results}/reference_estimates.parquet",
        tables=rules.make_tables.output,
        figures=rules.make_figures.output,
        claims=rules.make_claims.output,
    output:
        "{results}/report/index.html",
    log:
        "{results}/logs/page.log",
    params:
        code=GRID.report_code("page"),


# The chosen tier's rows -> rows to commit -> the README's section of results. It has no output:
# Snakemake would delete the README before writing it. So it runs whenever it is asked for.
rule readme:
    input:
        rows=lambda wildcards: list(GRID.cells(GRID.chosen)),
        manifest=f"{GRID.chosen}/manifest.txt",
    log:
        "results/logs/readme.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "(python -m workflow.report keep --manifest {input.manifest:q}"
        " && python -m workflow.report readme) > {log:q} 2>&1"
