# Forward and backward of each mixer alone, by pytest-benchmark; a timing job like any other.


rule benchmarks:
    input:
        suites=[str(path) for path in sorted(Path(workflow.basedir, "benchmarks").glob("test_*.py"))],
    output:
        BENCHMARKS[0],
    log:
        "results/logs/benchmarks.log",
    conda:
        "../../environment.yml"
    threads: lambda wildcards: shared_cores() or 1
    resources:
        slurm_extra=lambda wildcards: "" if shared_cores() else "--exclusive",
    params:
        mixers=MIXERS,
    shell:
        "python -m pytest {input.suites:q} --benchmark-only --benchmark-json {output:q} > {log:q} 2>&1"
