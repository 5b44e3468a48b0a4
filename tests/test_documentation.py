"""Do docstrings of the models say shapes, types and errors, and do the maintainer's pages name files that exist?

That every public function has a docstring is ruff's part (D101 to D103, in tests/test_style.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("pointer", "baselines")
SHAPE = re.compile(r"(float|int64|int32|bool)\d*\[|See [`a-zA-Z]|[Ss]hapes as in")


def public(*packages: str) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """(where, function, its docstring) of every public function and method."""
    for path in sorted(path for package in packages for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{path.relative_to(ROOT)}:{node.name}", node, ast.get_docstring(node) or ""


def takes_tensors(function: ast.FunctionDef) -> bool:
    """Whether an argument is a tensor."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    return any(a.annotation and re.search(r"\bTensor\b", ast.unparse(a.annotation)) for a in arguments)


def test_functions_of_tensors_say_their_shapes() -> None:
    """An autograd function's backward is left out: its shapes are those of its forward."""
    silent = [
        where
        for where, function, text in public(*MODELS)
        if takes_tensors(function) and function.name != "backward" and not SHAPE.search(text)
    ]
    assert silent == []


def raised(function: ast.FunctionDef) -> set[str]:
    """Names of the suite's own errors that a function raises itself."""
    found = (node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc is not None)
    texts = (ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in found)
    return {text.partition(".")[0] for text in texts} & {"InputError", "Mismatch"}


def test_functions_that_refuse_input_say_so() -> None:
    silent = [
        where
        for where, function, text in public(*MODELS)
        if (errors := raised(function)) and not any(error in text for error in errors)
    ]
    assert silent == []


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(r"`((?:config|workflow|pointer|baselines|tests|profiles|\.ci)/[\w./-]+\w)`", text))
    linked = set(re.findall(r"\]\((?!https?:|#)([^)]+)\)", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    assert [name for name in sorted(linked) if not (ROOT / "docs" / name).exists()] == []


def test_names_of_code_in_the_maintainers_page_exist() -> None:
    """Functions, classes and constants that the page tells a reader to look for."""
    code = "\n".join(path.read_text() for name in (*MODELS, "workflow") for path in (ROOT / name).rglob("*.py"))
    text = (ROOT / "docs" / "maintaining.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Za-z]+|[a-z]+(?:_[a-z]+)+)`", text))
    assert named >= {"Settings", "TaskEntry", "source_hash", "fused_select"}
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == []
