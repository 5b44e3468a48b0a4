"""Is the code formatted, typed and linted, do imports go one way, and does nothing run code from
data?"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pointer", "baselines", "workflow")
PRODUCT = (*PACKAGES, "config", "profiles", "benchmarks", "tests", "docs", ".ci")
TEXT = {
    ".py",
    ".smk",
    ".yaml",
    ".yml",
    ".json",
    ".md",
    ".toml",
    ".txt",
    ".cff",
    ".sh",
    ".rst",
    ".html",
    ".js",
    ".css",
    "",
}
QUICK_MODULES = [
    f"workflow.bench.{name}"
    for name in ("cell", "config", "plan", "rows", "rows.run", "rows.verify", "cli")
]
RULES = [name for name in ("Snakefile", "workflow/rules") if (ROOT / name).exists()]

needs_rules = pytest.mark.skipif("Snakefile" not in RULES, reason="no Snakefile yet")


def _run(*command: str) -> None:
    """Run a tool of this environment in the repository; its output is the failure's message."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        pytest.fail(
            f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}", pytrace=False
        )


def _modules(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(path for package in packages for path in (ROOT / package).rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_code_is_formatted() -> None:
    _run(sys.executable, "-m", "ruff", "format", "--check", "--output-format", "concise", ".")


def test_code_passes_the_linter() -> None:
    _run(sys.executable, "-m", "ruff", "check", "--output-format", "concise", ".")


def test_types_hold_strictly() -> None:
    _run(sys.executable, "-m", "mypy", "--no-error-summary")


@needs_rules
def test_rules_are_formatted() -> None:
    _run("snakefmt", "--check", "--compact-diff", *RULES)


@needs_rules
def test_workflow_passes_snakemakes_linter() -> None:
    _run(sys.executable, "-m", "snakemake", "--lint")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Every imported module's full name, wherever in the file; `from a import b` gives a.b, for b
    may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names
            )


@pytest.mark.parametrize(
    ("packages", "forbidden"),
    [
        (["pointer"], r"(workflow|baselines)\b"),
        (["baselines"], r"workflow\b"),
        (
            ["workflow/report"],
            r"(torch|baselines|pointer(?!\.errors\b)|workflow\.bench\.rows\.worker)\b",
        ),
        (["pointer", "baselines", "workflow/bench", "workflow/report"], r"snakemake\b"),
    ],
    ids=["pointer", "baselines", "report", "snakemake"],
)
def test_imports_go_one_way(packages: list[str], forbidden: str) -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in _modules(*packages)
        for name in _imports(tree)
        if re.match(forbidden, name)
    ]
    assert wrong == []


def test_bench_reaches_models_through_the_registry_only() -> None:
    allowed = re.compile(r"pointer(\.(errors|optim|trunk|tracing|trace|Trace|selfcheck)\b|$)")
    wrong = [
        f"{path} imports {name}"
        for path, tree in _modules("workflow/bench")
        for name in _imports(tree)
        if re.match(r"(pointer|baselines)\b", name) and not allowed.match(name)
    ]
    assert wrong == []


LOADED = """
import importlib, json, sys
loaded = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = sorted({"torch", "snakemake", "numba"} & set(sys.modules))
print(json.dumps(loaded))
"""


def _heavy_imports(*names: str) -> dict[str, list[str]]:
    """Which of torch, numba and Snakemake a fresh interpreter has loaded after importing each
    module in turn."""
    command = [sys.executable, "-c", LOADED, *names]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, list[str]] = json.loads(done.stdout)
    return loaded


def test_starting_a_job_loads_no_torch() -> None:
    assert _heavy_imports(*QUICK_MODULES) == {name: [] for name in QUICK_MODULES}


def test_the_report_loads_no_torch() -> None:
    files = [
        path
        for path in sorted((ROOT / "workflow" / "report").glob("*.py"))
        if path.stem not in ("__init__", "__main__")
    ]
    names = [f"workflow.report.{path.stem}" for path in files]
    assert _heavy_imports(*names) == {name: [] for name in names}


def test_the_command_line_works_without_snakemake() -> None:
    code = (
        "import runpy, sys; sys.modules['snakemake'] = None; sys.argv = ['pointer-bench', 'list']; "
    )
    _run(sys.executable, "-c", code + "runpy.run_module('workflow.bench', run_name='__main__')")


FORBIDDEN_CALLS = {"eval", "exec", "__import__", "torch.load", "yaml.unsafe_load", "os.system"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}


# ruff holds yaml.load to safe loaders (S506).
def _forbidden(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (name := ast.unparse(node.func)) in FORBIDDEN_CALLS:
                yield name
            yield from (
                f"{k.arg}=True"
                for k in node.keywords
                if k.arg in ("allow_pickle", "shell") and ast.unparse(k.value) == "True"
            )
    yield from (name for name in _imports(tree) if name.partition(".")[0] in FORBIDDEN_MODULES)


def test_nothing_runs_code_from_data() -> None:
    wrong = [f"{path}: {name}" for path, tree in _modules(*PACKAGES) for name in _forbidden(tree)]
    assert wrong == []


def _texts() -> Iterator[tuple[str, str]]:
    top = (
        path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".coverage")
    )  # data, no text
    nested = (path for folder in PRODUCT for path in (ROOT / folder).rglob("*") if path.is_file())
    for path in (*top, *nested):
        if path.suffix in TEXT and "__pycache__" not in path.parts:
            yield str(path.relative_to(ROOT)), path.read_text()


def test_nothing_refers_to_folders_outside_the_repository() -> None:
    outside = re.compile(r"\.\./" + r"shared|/work" + r"/(main|shared|plan|venv)")
    assert [name for name, text in _texts() if outside.search(text)] == []


def test_make_is_told_of_every_phony_target(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    assert phony
    assert sorted(set(targets)) == sorted(phony[1].split())
