"""pyproject.toml, constraints.txt and environment.yml agree, and the package holds what it
needs."""

from __future__ import annotations

import ast
import fnmatch
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

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pointer", "baselines", "workflow")
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "snakemake": "snakemake-minimal",
}
MODULE_NAMES = {
    "cpuinfo": "py-cpuinfo",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "triton": "torch",  # in its CUDA build
}

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
REQUIREMENTS = [*DEPENDENCIES, *map(Requirement, EXTRAS["test"])]
ALL_REQUIREMENTS = {
    r.name: r
    for r in (*DEPENDENCIES, *(Requirement(t) for extra in EXTRAS.values() for t in extra))
}
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def pins() -> dict[str, str]:
    """Return the versions of constraints.txt by package."""
    versions = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, pin = line.partition("#")[0].strip().partition("==")
        if name:
            versions[canonicalize_name(name)] = pin
    return versions


PINS = pins()


def test_constraints_are_exact_and_hold_no_local_build() -> None:
    assert {
        name: pin for name, pin in PINS.items() if not re.fullmatch(r"[0-9][0-9a-z.]*", pin)
    } == {}


def test_torch_is_the_release_that_the_numbers_were_made_with() -> None:
    assert PINS["torch"] == "2.13.0"
    assert "torch==2.13.0" in PROJECT["dependencies"]


@pytest.mark.parametrize("name", ALL_REQUIREMENTS)
def test_every_dependency_is_pinned_within_its_range(name: str) -> None:
    pin, requirement = PINS.get(canonicalize_name(name)), ALL_REQUIREMENTS[name]
    assert pin, f"{name} is in pyproject.toml and not in constraints.txt"
    assert pin in requirement.specifier, (
        f"constraints.txt pins {name}=={pin}, pyproject.toml asks for {requirement}"
    )


def test_the_environment_here_is_the_pinned_one() -> None:
    here = [r.name for r in REQUIREMENTS if r.marker is None or r.marker.evaluate()]
    versions = {name: version(name).partition("+")[0] for name in here}
    different = {
        name: found for name, found in versions.items() if found != PINS[canonicalize_name(name)]
    }
    assert different == {}, "installed versions differ from constraints.txt: run `make env`"


def test_conda_environment_names_the_same_packages_at_the_same_versions() -> None:
    """What only some platforms have is left out: conda's file has no markers, and its pytorch
    brings triton itself."""
    names = [
        canonicalize_name(requirement.name)
        for requirement in REQUIREMENTS
        if requirement.marker is None
    ]
    conda = {
        name: pin
        for name, _, pin in (entry.partition("=") for entry in ENVIRONMENT["dependencies"])
    }
    assert conda.pop("python") in SpecifierSet(PROJECT["requires-python"])
    assert conda.pop("pip") == ""
    assert conda == {CONDA_NAMES.get(name, name): PINS[name] for name in names}
    assert ENVIRONMENT["channels"] == ["conda-forge", "bioconda"]


def imported_modules() -> set[str]:
    names: set[str] = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names


def test_every_imported_package_is_a_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DEPENDENCIES}
    outside = imported_modules() - set(sys.stdlib_module_names) - set(PACKAGES)
    assert {
        name for name in outside if canonicalize_name(MODULE_NAMES.get(name, name)) not in declared
    } == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_data_file_goes_into_the_package(package: str) -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"].get(package, ())
    files = [
        path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*") if path.is_file()
    ]
    files = [path for path in files if not {"__pycache__", ".ruff_cache"} & {*path.parts}]
    data = [str(path) for path in files if path.suffix != ".py"]
    assert [
        name for name in data if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()
    ] == []


def test_the_command_is_installed_and_points_to_the_command_line() -> None:
    assert PROJECT["scripts"] == {"pointer-bench": "workflow.bench.cli:main"}
    command = Path(sys.executable).parent / "pointer-bench"
    if not command.exists():
        pytest.skip("the project is not installed in this environment (make env installs it)")
    result = subprocess.run(
        [command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage: pointer-bench" in result.stdout.lower()


def test_citation_names_the_paper_and_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2508.02631"
    assert citation["references"][0]["authors"][0]["family-names"] == "Li"


def test_make_help_lists_the_commands() -> None:
    command = ["make", "--no-print-directory", "help"]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    commands = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert commands == re.findall(
        r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert {"env", "all", "smoke", "test", "test-full", "lint", "clean"} <= set(commands)


def test_make_clean_keeps_published_numbers_and_reference_rows(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for folder in (
        "paper",
        "reference/machine",
        "runs/copy",
        "contracts",
        "tables",
        "smoke/tables",
    ):
        (tmp_path / "results" / folder).mkdir(parents=True)
    (tmp_path / "results" / "rows.csv").write_text("schema\n")
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["paper", "reference"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            '[ "$1" = --version ] && echo "Python 3.9.6" || exit 1',
            ["needs Python >= 3.11", "is Python 3.9.6"],
        ),
        ('case "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac', ["python3-venv"]),
    ],
    ids=["too old", "without ensurepip"],
)
def test_an_unfit_python_is_refused_with_what_to_install(
    tmp_path: Path, script: str, words: list[str]
) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    command = ["sh", str(ROOT / ".ci" / "make-environment"), str(python)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    for word in words:
        assert word in result.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("script", ["run", "make-environment", "install-system-packages", "slurm"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)
