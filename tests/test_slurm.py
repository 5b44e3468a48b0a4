"""The same rows from a real Slurm of one node as from this machine."""

import subprocess
import sys

import pipelines
import pytest
import yaml

from workflow.bench import sources
from workflow.bench.rows import provenance

PROFILE = sources.ROOT / "profiles" / "slurm"


@pytest.fixture
def slurm():
    script = str(sources.ROOT / ".ci" / "slurm")
    started = pipelines.ran("bash", script, "start", limit=60)
    try:
        assert started.returncode == 0, started.stderr
        yield
    finally:
        subprocess.run(["bash", script, "stop"], check=True, timeout=60)


@pytest.mark.slurm
@pytest.mark.slow
def test_slurm_makes_the_rows_that_this_machine_makes(tmp_path, undisturbed, slurm):
    if " " in sys.executable:
        pytest.skip(f"the Slurm plugin passes Python's path unquoted: {sys.executable}")
    folder = pipelines.new_folder(tmp_path / "slurm", undisturbed / pipelines.CONTRACTS)
    small = ["--default-resources", "mem_mb=2000", "runtime=10", "--latency-wait", "5"]
    asked = [*pipelines.tier_rows(folder), "--profile", str(PROFILE), *small]
    code, output = pipelines.snakemake(folder, *asked)
    assert code == 0, output

    rows, local = pipelines.rows(folder), pipelines.rows(undisturbed)
    pipelines.compare(rows, local, pipelines.FREE | {"machine"})
    for name, row in rows.items():
        assert row["machine"] == f"localhost: {local[name]['machine']}"
    shown = ["scontrol", "-o", "show", "job"]
    jobs = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    for rule, share in (("run_exclusive", "NO"), ("run_shared", "OK")):  # NO: a node of its own
        lines = [line for line in jobs if rule in line]
        assert lines
        assert all(f" OverSubscribe={share} " in line for line in lines)


def test_a_job_names_its_node(monkeypatch):
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    here = provenance.machine_label("cpu")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert provenance.machine_label("cpu") == f"node7: {here}"
    assert provenance.machine_label("cpu", "my cluster") == "node7: my cluster"


def test_the_profile_plans_the_same_rows(tmp_path):
    settings = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert settings["executor"] == "slurm"
    assert settings["default-resources"]["mem_mb"] >= 4000
    dry = ["--profile", str(PROFILE), "--dry-run", "--quiet", "host"]
    code, output = pipelines.snakemake(tmp_path, *pipelines.tier_rows(tmp_path), *dry)
    assert code == 0, output
    assert pipelines.planned(output) == {"run_shared": 2, "run_exclusive": 1}
