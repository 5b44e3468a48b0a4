# The rows of a tier -> one frame -> estimates -> tables, figures, verdicts, the results page, in
# "results" for the default tier, "results/<tier>" for another. A table without rows has its heading and notes.
TABLES = (
    "training_time throughput speedup memory copy_accuracy copy_loss hops operations scaling"
    " parameters mixers ablation two_hop recall controls bytes"
).split()
FIGURES = (
    "time throughput speedup memory operations copy_accuracy curves loss_curves hops pointer_map"
    " ablation two_hop mqar trade_off"
).split()


rule collect_rows:
    input:
        rows=lambda wildcards: GRID.rows(wildcards.results),
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
        in_formats("tables", TABLES),
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
        in_formats("figures", FIGURES),
    log:
        "{results}/logs/figures.log",


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


use rule make_tables as make_page with:
    input:
        rows="{results}/rows.parquet",
        estimates="{results}/estimates.parquet",
        tables=rules.make_tables.output,
        figures=rules.make_figures.output,
        claims=rules.make_claims.output,
    output:
        "{results}/report/index.html",
    log:
        "{results}/logs/page.log",


# The chosen tier's rows -> rows to commit -> the README's section of results. It has no output:
# Snakemake would delete the README before writing it. So it runs whenever it is asked for.
rule readme:
    input:
        rows=lambda wildcards: GRID.rows(CHOSEN),
        manifest=f"{CHOSEN}/manifest.txt",
    log:
        "results/logs/readme.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "(python -m workflow.report keep --manifest {input.manifest:q}"
        " && python -m workflow.report readme) > {log:q} 2>&1"


def report_of_what_is_there(results):
    """Make a tier's report of the rows that are there, by the commands of the rules."""
    cells = GRID.cells(tier_name(results))
    there = [file for file in cells if Path(file).is_file()]
    if not there:
        return
    found, planned = (sum(len(cells[file]) for file in files) for files in (there, cells))
    print(f"{results}: a report of {found} of {planned} rows", file=sys.stderr)
    # Not manifest.txt, which lists what should be there, as `pointer-bench verify` reads it.
    manifest, log = (f"{results}/logs/partly.{ending}" for ending in ("txt", "log"))
    Path(manifest).parent.mkdir(parents=True, exist_ok=True)
    Path(manifest).write_text("".join(f"{file}\n" for file in there))
    shown = [file for file in reported(results) if Path(file).parent.parent == Path(results)]
    timed = [f"--benchmarks={file}" for file in GRID.micro_benchmarks(results)]
    tier = tier_name(results)
    shell(
        "(python -m workflow.report collect --manifest {manifest:q} {timed:q} --out {results:q}"
        " && python -m workflow.report estimates --rows {results:q}/rows.parquet --out {results:q}"
        " && python -m workflow.report make {shown:q} --tier {tier:q} --from {GRID.published:q}"
        " {results:q}/rows.parquet {results:q}/estimates.parquet) > {log:q} 2>&1"
        " || echo 'it could not be made: see' {log:q} >&2"
    )


onerror:
    for job in list(workflow.dag.needrun_jobs()):
        if job.rule.name == "collect_rows":
            report_of_what_is_there(job.wildcards.results)
