"""Is the code formatted, typed and linted, do quick commands load nothing heavy, and does nothing
run code from data?"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (sys.executable, "-m")
PACKAGES = ("pointer", "baselines", "workflow")
QUICK = ("cell", "config", "rows", "rows.run", "rows.verify", "cli")
# ruff holds the rest of what runs code from data: eval, exec, pickle, marshal, unsafe YAML.
FORBIDDEN = (
    r"__import__\(|torch\.load\(|os\.system\(|shell=True|allow_pickle=True"
    r"|^\s*(import|from) (dill|joblib|shelve)\b"
)


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
def test_a_tool_finds_no_fault(command: tuple[str, ...]) -> None:
    _run(*command)


def _sources(*folders: str) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of Python files."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def _imports(text: str) -> Iterator[str]:
    """Yield every imported name in full; `from a import b` gives a.b, for b may be a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("folders", "forbidden"),
    [
        (["workflow/report"], r"(torch|baselines|pointer(?!\.errors\b)|.*\brows\.worker)\b"),
        # Models come through the registry only.
        (
            ["workflow/bench"],
            r"baselines\b|pointer(?!\.(errors|optim|trunk|tracing|trace|Trace|selfcheck)\b)\b",
        ),
        (PACKAGES, r"snakemake\b"),
    ],
    ids=["report", "bench", "snakemake"],
)
def test_imports_keep_out(folders: list[str], forbidden: str) -> None:
    wrong = []
    for path, text in _sources(*folders):
        wrong += [f"{path}: {name}" for name in _imports(text) if re.match(forbidden, name)]
    assert wrong == []


def test_starting_a_job_and_the_report_load_no_torch() -> None:
    report = [path.stem for path in (ROOT / "workflow" / "report").glob("[!_]*.py")]
    names = [f"workflow.bench.{name}" for name in QUICK] + [f"workflow.report.{n}" for n in report]
    code = "import importlib, sys\n"
    code += "for name in sys.argv[1:]:\n"
    code += "    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'snakemake', 'numba'} & set(sys.modules), name\n"
    _run(sys.executable, "-c", code, *names)


def test_the_command_line_works_without_snakemake() -> None:
    code = (
        "import runpy, sys; sys.modules['snakemake'] = None; sys.argv = ['pointer-bench', 'list']; "
    )
    _run(sys.executable, "-c", code + "runpy.run_module('workflow.bench', run_name='__main__')")


def test_nothing_runs_code_from_data() -> None:
    pattern = re.compile(FORBIDDEN, re.MULTILINE)
    assert [path for path, text in _sources(*PACKAGES) if pattern.search(text)] == []
