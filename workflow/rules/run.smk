# A verdict on each model's contract, then one job a row. Shared rows run beside each other. A
# timing session, one file of rows, claims every core of this machine, or a node of Slurm's.
rule check_model:
    output:
        verdict="results/contracts/{contract}.json",
    log:
        "results/logs/contracts/{contract}.log",
    priority: 10**6  # before all rows, so that timing rows keep the order of the plan
    conda:
        "../../environment.yml"
    params:
        argv=lambda wildcards, output: GRID.job(output.verdict).argv,
        sources=lambda wildcards, output: GRID.job(output.verdict).sources,
    shell:
        "python -m workflow.bench check {params.argv:q} --out {output.verdict:q} 2> {log:q}"


rule run_shared:
    input:
        contracts=lambda wildcards: job(wildcards).contracts,
        after=lambda wildcards: ancient(job(wildcards).after if WHOLE else ()),
    output:
        # An existing row is not removed before the job: `--keep` leaves a finished one as it is.
        row=update("results/runs/{experiment}/{model}/{cell}.json"),
    log:
        "results/logs/{experiment}/{model}/{cell}.log",
    wildcard_constraints:
        experiment="|".join(GRID.shared),
    priority: lambda wildcards: job(wildcards).priority
    conda:
        "../../environment.yml"
    threads: lambda wildcards: GRID.threads(row_file(wildcards), shared_cores())
    params:
        command=lambda wildcards: "run --optional" if job(wildcards).optional else "run",
        argv=lambda wildcards: job(wildcards).argv,
        sources=lambda wildcards: job(wildcards).sources,
        tried=lambda wildcards: tried(Path(row_file(wildcards))) if job(wildcards).optional else 0,
    shell:
        "python -m workflow.bench {params.command} {params.argv:q} --keep --out {output:q}"
        " 2> {log:q}"


use rule run_shared as run_exclusive with:
    input:
        contracts=lambda wildcards: job(wildcards).contracts,
    output:
        rows=update("results/runs/{experiment}/{session}.jsonl"),
    log:
        "results/logs/{experiment}/{session}.log",
    wildcard_constraints:
        experiment="|".join(GRID.exclusive),
        session="[^/]+",
    resources:
        slurm_extra=lambda wildcards: "" if shared_cores() else "--exclusive",
    params:
        command="session",


# Forward and backward of each mixer alone, by pytest-benchmark; timed, so exclusive as well.
rule benchmarks:
    input:
        suite=GRID.benchmarks,
    output:
        "results/benchmarks.json",
    log:
        "results/logs/benchmarks.log",
    conda:
        "../../environment.yml"
    threads: lambda wildcards: shared_cores() or 1
    resources:
        slurm_extra=lambda wildcards: "" if shared_cores() else "--exclusive",
    params:
        mixers=GRID.mixer_code,
    shell:
        "python -m pytest {input.suite:q} --benchmark-only --benchmark-json {output:q}"
        " > {log:q} 2>&1"
