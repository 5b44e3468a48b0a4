# The chosen tier's rows (the paper tier's, for the reference: --configfile config/paper.yaml) -> rows to commit -> the
# README's section of results. It has no output: Snakemake would delete the README before writing it. So it runs
# whenever it is asked for.


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
        "(python -m workflow.report keep --manifest {input.manifest:q} && python -m workflow.report readme) > {log:q} 2>&1"
