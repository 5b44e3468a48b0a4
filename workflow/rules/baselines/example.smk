# A rule of one baseline, as an example; every *.smk of this folder is read. It changes what differs
# for a model that `pointer-bench new my_mixer` would write; until then it changes nothing.
use rule run_shared as run_my_mixer with:
    wildcard_constraints:
        experiment="copy",
        model="my_mixer",
    conda:
        "../../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=120,


ruleorder: run_my_mixer > run_shared
