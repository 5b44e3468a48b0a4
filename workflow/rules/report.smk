# The rows of a tier -> one frame -> tables, figures, verdicts, the results page. `results` is "results" or "results/<tier>".


rule list_rows:
    output:
        manifest="{results}/manifest.txt",
    log:
        "{results}/logs/list_rows.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: explained(GRID.tier_json, wildcards.results),
        rows=lambda wildcards: explained(GRID.rows_hash, wildcards.results),
    shell:
        "python -m workflow.bench plan --config {params.tier:q} > {output.manifest:q} 2> {log:q}"


rule collect_rows:
    input:
        rows=lambda wildcards: explained(GRID.rows, wildcards.results),
        manifest="{results}/manifest.txt",
        benchmarks=lambda wildcards: BENCHMARKS if wildcards.results == RESULTS else [],
    output:
        MADE["rows", "core"],
    log:
        "{results}/logs/collect.log",
    conda:
        "../../environment.yml"
    params:
        benchmarks=lambda wildcards, input: ["--benchmarks", *input.benchmarks] if input.benchmarks else [],
    shell:
        "python -m workflow.report collect --manifest {input.manifest:q} {params.benchmarks:q} --out {wildcards.results:q}"
        " > {log:q} 2>&1"


# A rule a part of the report and kind: what a tier does not show is not made.
for kind, part in [(kind, part) for kind in ("tables", "figures") for part in SHOWN if SHOWN[part][kind]]:

    rule:
        name:
            f"make_{part}_{kind}"
        input:
            rows="{results}/rows.parquet",
            published=PUBLISHED,
        output:
            [captioned(file, kind.capitalize()) for file in MADE[kind, part]],
        log:
            f"{{results}}/logs/{part}_{kind}.log",
        conda:
            "../../environment.yml"
        params:
            kind=kind,
            tier=lambda wildcards: tier_name(wildcards.results),
            names=shown,
            code=REPORT_CODE,
        shell:
            "python -m workflow.report {params.kind} --rows {input.rows:q} --out {wildcards.results:q}/{params.kind} --tier {params.tier:q}"
            " --names {params.names:q} > {log:q} 2>&1"


rule make_claims:
    input:
        rows="{results}/rows.parquet",
        ledger=LEDGER,
    output:
        [captioned(file, "Claims") for file in MADE["claims", "core"]],
    log:
        "{results}/logs/claims.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: tier_name(wildcards.results),
        code=REPORT_CODE,
    shell:
        "python -m workflow.report claims --rows {input.rows:q} --out {wildcards.results:q} --tier {params.tier:q}"
        " --ledger {input.ledger:q} > {log:q} 2>&1"


rule make_page:
    input:
        rows="{results}/rows.parquet",
        ledger=LEDGER,
        published=PUBLISHED,
        figures=lambda wildcards: drawn(wildcards.results),
    output:
        page=MADE["page", "core"][0],
    log:
        "{results}/logs/page.log",
    conda:
        "../../environment.yml"
    params:
        tier=lambda wildcards: tier_name(wildcards.results),
        tables=lambda wildcards: stems(reported(wildcards.results, "tables")),
        code=PAGE_CODE,
    shell:
        "python -m workflow.report page --rows {input.rows:q} --figures {input.figures:q}"
        " --tables {params.tables:q} --out {wildcards.results:q}/report --tier {params.tier:q} --ledger {input.ledger:q} > {log:q} 2>&1"
