# The default tier's rows -> rows to commit -> the README's section of results. It has no output: Snakemake would delete
# the README before writing it. So it runs whenever it is asked for.


rule readme:
    input:
        rows=lambda wildcards: explained(GRID.rows, RESULTS),
        manifest=f"{RESULTS}/manifest.txt",
    log:
        "results/logs/readme.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "(python -m workflow.report keep --manifest {input.manifest:q} && python -m workflow.report readme) > {log:q} 2>&1"
