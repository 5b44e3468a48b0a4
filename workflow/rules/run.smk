# One job, one row, one rule an experiment. A timing row claims every core, and the worker holds the machine's lock.


rule run_efficiency:
    output:
        row="results/runs/{experiment}/{model}/{cell}.json",
    log:
        "results/logs/{experiment}/{model}/{cell}.log",
    wildcard_constraints:
        experiment="efficiency",
    priority: asked("priority")
    conda:
        "../../environment.yml"
    threads: claimed_threads
    resources:
        slurm_extra=exclusive,
    params:
        argv=asked("argv"),
        sources=asked("sources"),
        store=STORE,
        pipeline=PIPELINE,
    shell:
        "python -m workflow.bench run {params.argv:q} --store {params.store:q} --pipeline {params.pipeline:q}"
        " --out {output.row:q} 2> {log:q}"


use rule run_efficiency as run_copy with:
    wildcard_constraints:
        experiment="copy",


use rule run_efficiency as run_interpretability with:
    wildcard_constraints:
        experiment="interpretability",


use rule run_efficiency as run_complexity with:
    wildcard_constraints:
        experiment="complexity",


use rule run_efficiency as run_fairness with:
    wildcard_constraints:
        experiment="fairness",


use rule run_efficiency as run_ablation with:
    wildcard_constraints:
        experiment="ablation",


use rule run_efficiency as run_two_hop with:
    wildcard_constraints:
        experiment="two_hop",


use rule run_efficiency as run_mqar with:
    wildcard_constraints:
        experiment="mqar",


use rule run_efficiency as run_selective_copy with:
    wildcard_constraints:
        experiment="selective-copy",


use rule run_efficiency as run_induction with:
    wildcard_constraints:
        experiment="induction",


use rule run_efficiency as run_khop with:
    wildcard_constraints:
        experiment="khop",


use rule run_efficiency as run_string_copy with:
    wildcard_constraints:
        experiment="string-copy",


use rule run_efficiency as run_listops with:
    wildcard_constraints:
        experiment="listops",


use rule run_efficiency as run_bytes with:
    wildcard_constraints:
        experiment="bytes",
