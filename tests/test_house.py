"""The shape of the house: imports go down and never round, files and folders stay small enough to
read."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["pointer", "baselines", "workflow.bench", "workflow.report"]  # from the bottom up
LONGEST_FILE = 450
FULLEST_FOLDER = 30


def python_files() -> dict[str, Path]:
    """Return module name -> file for all product code."""
    files = {}
    for package in ("pointer", "baselines", "workflow"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts).removesuffix(".__init__")] = path
    return files


def import_graph() -> networkx.DiGraph:
    """Return an edge for each import in product code, wherever it stands, those for types
    included."""
    files = python_files()
    graph = networkx.DiGraph()
    graph.add_nodes_from(files)
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # `from a import b` imports the module a.b if there is one, else the module a.
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in files else str(node.module) for name in full]
            else:
                continue
            graph.add_edges_from((module, name) for name in names if name in files)
    graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
    return graph


def room(module: str) -> int | None:
    """Return the floor of a module, or None for the entry point above all floors."""
    for floor, name in enumerate(ROOMS):
        if module == name or module.startswith(f"{name}."):
            return floor
    return None


@pytest.fixture(scope="module")
def graph() -> networkx.DiGraph:
    return import_graph()


def test_the_graph_sees_the_imports(graph: networkx.DiGraph) -> None:
    assert graph.has_edge("pointer.mixer", "pointer.block")
    assert graph.number_of_edges() > 200


def test_no_modules_import_each_other_in_a_circle(graph: networkx.DiGraph) -> None:
    circles = [
        sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1
    ]
    assert circles == []


def test_no_import_goes_up(graph: networkx.DiGraph) -> None:
    upward = []
    for importer, imported in graph.edges:
        floor, target = room(importer), room(imported)
        if floor is not None and (target is None or target > floor):
            upward.append(f"{importer} imports {imported}")
    assert upward == []


def test_no_file_is_too_long_to_read() -> None:
    files = [
        *python_files().values(),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
    }
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_folder_is_too_full_to_survey() -> None:
    folders = {path.parent for path in python_files().values()}
    full = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in full.items() if count > FULLEST_FOLDER} == {}
