"""Code is formatted, typed, small enough to read; imports go down; packages are pinned alike."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import networkx
import pipelines
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from workflow.bench.sources import ROOT

PYTHON = (sys.executable, "-m")
PACKAGES = ("pointer", "baselines", "workflow")
QUICK = ("cell", "config", "grid", "rows", "rows.run", "rows.verify", "cli")
# ruff holds the rest of what runs code from data: eval, exec, pickle, marshal, unsafe YAML.
FORBIDDEN = (
    r"__import__\(|torch\.load\(|os\.system\(|shell=True|allow_pickle=True"
    r"|^\s*(import|from) (dill|joblib|shelve)\b"
)


def _run(*command):
    """Run a tool of this environment in the repository; its output is the failure's message."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = pipelines.ran(*command, PATH=search)
    if done.returncode != 0:
        output = f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        pytest.fail(f"{' '.join(command)}\n{output}", pytrace=False)


@pytest.mark.parametrize(
    "command",
    [
        (*PYTHON, "ruff", "format", "--check", "--output-format", "concise", "."),
        (*PYTHON, "ruff", "check", "--output-format", "concise", "."),
        (*PYTHON, "mypy", "--no-error-summary"),
        ("snakefmt", "--check", "--compact-diff", "Snakefile", "workflow/rules"),
        (*PYTHON, "snakemake", "--lint"),
    ],
    ids=["ruff format", "ruff check", "mypy", "snakefmt", "snakemake lint"],
)
def test_a_tool_finds_no_fault(command):
    _run(*command)


def sources(*folders):
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def imports(text):
    """Yield every imported name in full; `from a import b` gives a.b, for b may be a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# Models come through the registry only.
MODELS = r"baselines\b|pointer(?!\.(errors|optim|trunk|tracing|trace|Trace|selfcheck)\b)\b"


@pytest.mark.parametrize(
    ("folders", "forbidden"),
    [
        (["workflow/report"], r"(torch|baselines|pointer(?!\.errors\b)|.*\brows\.worker)\b"),
        (["workflow/bench"], MODELS),
        (PACKAGES, r"snakemake\b"),
    ],
    ids=["report", "bench", "snakemake"],
)
def test_imports_keep_out(folders, forbidden):
    wrong = []
    for path, text in sources(*folders):
        wrong += [f"{path}: {name}" for name in imports(text) if re.match(forbidden, name)]
    assert wrong == []


def test_starting_a_job_and_the_report_load_no_torch():
    report = [path.stem for path in (ROOT / "workflow" / "report").glob("[!_]*.py")]
    names = [f"workflow.bench.{name}" for name in QUICK] + [f"workflow.report.{n}" for n in report]
    code = "import importlib, sys\n"
    code += "for name in sys.argv[1:]:\n"
    code += "    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'snakemake', 'numba'} & set(sys.modules), name\n"
    _run(sys.executable, "-c", code, *names)


def test_nothing_runs_code_from_data():
    pattern = re.compile(FORBIDDEN, re.MULTILINE)
    assert [path for path, text in sources(*PACKAGES) if pattern.search(text)] == []


ROOMS = ["pointer", "baselines", "workflow.bench", "workflow.report"]  # from the bottom up
LONGEST_FILE = 450
FULLEST_FOLDER = 30


@pytest.fixture(scope="module")
def graph():
    modules, graph = {}, networkx.DiGraph()
    for path, text in sources(*PACKAGES):
        name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        modules[name] = text
    for module, text in modules.items():
        for name in imports(text):
            # `from a import b` imports the module a.b if there is one, else the module a.
            imported = name if name in modules else name.rpartition(".")[0]
            if imported in modules and imported != module:
                graph.add_edge(module, imported)
    return graph


def floor(module):
    """Return the floor of a module; the entry point is above all floors."""
    above = [n for n, room in enumerate(ROOMS) if f"{module}.".startswith(f"{room}.")]
    return above[0] if above else len(ROOMS)


def test_no_modules_import_each_other_in_a_circle(graph):
    assert graph.has_edge("pointer.mixer", "pointer.block")  # so imports are seen
    parts = networkx.strongly_connected_components(graph)
    assert [sorted(part) for part in parts if len(part) > 1] == []


def test_no_import_goes_up(graph):
    upward = [(one, other) for one, other in graph.edges if floor(other) > floor(one)]
    assert upward == []


def test_no_file_is_too_long_to_read_and_no_folder_too_full_to_survey():
    files = sources(*PACKAGES, "tests", "benchmarks")
    lines = {path: len(text.splitlines()) for path, text in files}
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}
    folders = Counter(Path(path).parent for path, _ in sources(*PACKAGES))
    assert {folder: count for folder, count in folders.items() if count > FULLEST_FOLDER} == {}


CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
CONDA_NAMES |= {"playwright": "playwright-python", "snakemake": "snakemake-minimal"}
MODULE_NAMES = {"cpuinfo": "py-cpuinfo", "yaml": "pyyaml", "pydantic_core": "pydantic"}
MODULE_NAMES |= {"triton": "torch"}  # in its CUDA build
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
REQUIREMENTS = [*DEPENDENCIES, *map(Requirement, EXTRAS["test"])]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PAIRS = [line.partition("#")[0].strip().partition("==") for line in LINES]
PINS = {canonicalize_name(name): pin for name, _, pin in PAIRS if name}


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
    packages = {name.partition(".")[0] for name in imported}
    outside = packages - set(sys.stdlib_module_names) - set(PACKAGES)
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
    script = str(ROOT / ".ci" / "make-environment")
    result = pipelines.ran("sh", script, str(python), folder=tmp_path)
    assert result.returncode == 1
    assert re.search(words, result.stderr, re.DOTALL)
    assert not (tmp_path / ".venv").exists()
