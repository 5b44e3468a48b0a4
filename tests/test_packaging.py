"""Do pyproject.toml, constraints.txt and environment.yml say the same, and does the package hold what it needs?"""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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
MODULE_NAMES = {"cpuinfo": "py-cpuinfo", "yaml": "pyyaml", "triton": "torch"}  # torch's CUDA build brings triton


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _requirements() -> list[Requirement]:
    project = _project()
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["test"])]


def _pins() -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def _conda() -> dict[str, str]:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return {name: version for name, _, version in (entry.partition("=") for entry in dependencies)}


def test_constraints_are_exact_and_hold_no_local_build() -> None:
    loose = {name: version for name, version in _pins().items() if not re.fullmatch(r"[0-9][0-9a-z.]*", version)}
    assert loose == {}


def test_torch_is_the_release_that_the_numbers_were_made_with() -> None:
    assert _pins()["torch"] == "2.13.0"
    assert "torch==2.13.0" in _project()["dependencies"]


def _with_extras() -> list[Requirement]:
    """The same with every extra, each package once."""
    extras = [text for texts in _project()["optional-dependencies"].values() for text in texts]
    return list({r.name: r for r in [*_requirements(), *map(Requirement, extras)]}.values())


@pytest.mark.parametrize("requirement", _with_extras(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = _pins().get(canonicalize_name(requirement.name))
    assert pin, f"{requirement.name} stands in pyproject.toml and not in constraints.txt"
    assert pin in requirement.specifier, (
        f"constraints.txt pins {requirement.name}=={pin}, pyproject.toml asks {requirement}"
    )


def test_the_environment_here_is_the_pinned_one() -> None:
    from importlib.metadata import version

    here = [r for r in _requirements() if r.marker is None or r.marker.evaluate()]
    names = [requirement.name for requirement in here]
    different = {
        name: version(name) for name in names if version(name).partition("+")[0] != _pins()[canonicalize_name(name)]
    }
    assert different == {}, "installed versions differ from constraints.txt: run `make env`"


def test_conda_environment_names_the_same_packages_at_the_same_versions() -> None:
    """What only some platforms have is left out: conda's file has no markers, and its pytorch brings triton itself."""
    names = [canonicalize_name(requirement.name) for requirement in _requirements() if requirement.marker is None]
    expected = {CONDA_NAMES.get(name, name): _pins()[name] for name in names}
    found = _conda()
    assert found.pop("python") in SpecifierSet(_project()["requires-python"])
    assert found.pop("pip") == ""
    assert found == expected


def test_conda_environment_takes_public_channels_only() -> None:
    assert yaml.safe_load((ROOT / "environment.yml").read_text())["channels"] == ["conda-forge", "bioconda"]


def _imported_modules() -> set[str]:
    found: set[str] = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found


def test_every_imported_package_is_a_dependency() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in _project()["dependencies"]}
    outside = _imported_modules() - set(sys.stdlib_module_names) - set(PACKAGES)
    undeclared = {name for name in outside if canonicalize_name(MODULE_NAMES.get(name, name)) not in declared}
    assert undeclared == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_data_file_goes_into_the_package(package: str) -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*") if path.is_file()]
    data = [str(path) for path in files if path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts]
    assert [name for name in data if not any(fnmatch.fnmatch(name, own) for own in packaged.get(package, ()))] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_command_is_installed_and_points_to_the_command_line() -> None:
    assert _project()["scripts"] == {"pointer-bench": "workflow.bench.cli:main"}
    command = Path(sys.executable).parent / "pointer-bench"
    if not command.exists():
        pytest.skip("the project is not installed in this environment (make env installs it)")
    shown = subprocess.run([command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "usage: pointer-bench" in shown.stdout


def test_citation_names_the_paper_and_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (_project()["version"], _project()["license"])
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2508.02631"
    assert citation["references"][0]["authors"][0]["family-names"] == "Li"


def test_make_help_lists_the_commands() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    commands = [line.split()[0] for line in shown.splitlines()[1:]]
    assert commands == ["help", "env", "all", "smoke", "test", "test-full", "lint", "format", "clean", "clean-env"]


def test_make_clean_keeps_published_numbers_and_reference_rows(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for folder in ("paper", "reference/machine", "runs/copy", "contracts", "tables", "smoke/tables"):
        (tmp_path / "results" / folder).mkdir(parents=True)
    (tmp_path / "results" / "rows.csv").write_text("schema\n")
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["paper", "reference"]


def test_too_old_a_python_is_refused_in_clear_words(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.6" || exit 1\n')
    old.chmod(0o755)
    refused = subprocess.run(
        ["sh", str(ROOT / ".ci" / "make-environment"), str(old)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "needs Python >= 3.11" in refused.stderr
    assert "is Python 3.9.6" in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_ensurepip_is_refused_with_the_package_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac\n')
    bare.chmod(0o755)
    refused = subprocess.run(
        ["sh", str(ROOT / ".ci" / "make-environment"), str(bare)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "python3-venv" in refused.stderr


@pytest.mark.parametrize("script", ["run", "make-environment", "install-system-packages", "slurm"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)
