"""pyproject.toml, constraints.txt and environment.yml agree; `make clean` keeps what it must."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from test_style import imports, sources

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pointer", "baselines", "workflow")
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
CONDA_NAMES |= {"playwright": "playwright-python", "snakemake": "snakemake-minimal"}
MODULE_NAMES = {"cpuinfo": "py-cpuinfo", "yaml": "pyyaml", "pydantic_core": "pydantic"}
MODULE_NAMES |= {"triton": "torch"}  # in its CUDA build
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
REQUIREMENTS = [*DEPENDENCIES, *map(Requirement, EXTRAS["test"])]


def pins():
    versions = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, pin = line.partition("#")[0].strip().partition("==")
        if name:
            versions[canonicalize_name(name)] = pin
    return versions


PINS = pins()


def test_every_dependency_is_pinned_exactly_within_its_range():
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", pin) for pin in PINS.values())
    for requirement in [*REQUIREMENTS, *map(Requirement, EXTRAS["slurm"])]:
        assert PINS[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_environment_here_is_the_pinned_one():
    here = [r.name for r in REQUIREMENTS if r.marker is None or r.marker.evaluate()]
    installed = {name: version(name).partition("+")[0] for name in here}
    pinned = {name: PINS[canonicalize_name(name)] for name in here}
    assert installed == pinned, "run `make env`"


def test_conda_environment_names_the_same_packages_at_the_same_versions():
    """But what only some platforms have: conda's file has no markers."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = {}
    *entries, by_pip = environment["dependencies"]
    for entry in [*entries, *by_pip["pip"]]:
        name, pin = re.fullmatch(r"([^=]+)=*(.*)", entry).groups()
        conda[name] = pin
    assert conda.pop("python") in SpecifierSet(PROJECT["requires-python"])
    assert conda.pop("pip") == ""
    names = [canonicalize_name(r.name) for r in REQUIREMENTS if r.marker is None]
    assert conda == {CONDA_NAMES.get(name, name): PINS[name] for name in names}


def test_every_imported_package_is_a_dependency():
    declared = {canonicalize_name(requirement.name) for requirement in DEPENDENCIES}
    imported = {name for _, text in sources(*PACKAGES) for name in imports(text)}
    outside = (
        {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - set(PACKAGES)
    )
    assert {canonicalize_name(MODULE_NAMES.get(name, name)) for name in outside} <= declared


@pytest.mark.parametrize("linked", [False, True])
def test_make_clean_keeps_published_numbers_and_reference_rows(linked, tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    if linked:
        (tmp_path / "disk").mkdir()
        (tmp_path / "results").symlink_to("disk")
    for folder in ("paper", "reference/machine", "runs/copy", "contracts", "smoke/tables"):
        (tmp_path / "results" / folder).mkdir(parents=True)
    (tmp_path / "results" / "rows.csv").write_text("schema\n")
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["paper", "reference"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('[ "$1" = --version ] && echo "Python 3.9.6" || exit 1', ">= 3.11.*is Python 3.9.6"),
        ('case "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac', "python3-venv"),
    ],
    ids=["too old", "without ensurepip"],
)
def test_an_unfit_python_is_refused_with_what_to_install(tmp_path, script, words):
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    command = ["sh", str(ROOT / ".ci" / "make-environment"), str(python)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.search(words, result.stderr, re.DOTALL)
    assert not (tmp_path / ".venv").exists()
