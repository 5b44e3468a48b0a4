"""Code is formatted, typed, linted, small enough to read, and imports go down."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parent.parent
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
    environment = {**os.environ, "PATH": search}
    settings = {"capture_output": True, "text": True, "timeout": 600, "check": False}
    done = subprocess.run(command, cwd=ROOT, env=environment, **settings)
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
