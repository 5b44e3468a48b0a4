# A rule of one baseline, as an example: every `*.smk` in this folder is picked up. It takes a rule of workflow/rules/run.smk
# and says what differs for one model (here what a cluster must set aside); `ruleorder` says which of the two makes its rows.
# There is no such model until `pointer-bench new my_mixer` writes one, so by itself this changes nothing. The environment is
# named again because Snakemake looks for it from this folder.


use rule run_copy as run_copy_my_mixer with:
    wildcard_constraints:
        experiment="copy",
        model="my_mixer",
    conda:
        "../../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=120,


ruleorder: run_copy_my_mixer > run_copy
