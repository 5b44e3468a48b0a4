"""Docstrings of the models state shapes, types and errors; README.md and docs/ hold no dead link,
file or command.

That every public function has a docstring is ruff's part (D101 to D103, in tests/test_style.py).
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow.bench import cli
from workflow.report import rules
from workflow.report.__main__ import parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
MODELS = ("pointer", "baselines")
SHAPE = re.compile(r"(float|int64|int32|bool)\d*\[|See [`a-zA-Z]|[Ss]hapes as in")


def public(*packages: str) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """(where, function, its docstring) of every public function and method."""
    for path in sorted(path for package in packages for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield (
                        f"{path.relative_to(ROOT)}:{node.name}",
                        node,
                        ast.get_docstring(node) or "",
                    )


def takes_tensors(function: ast.FunctionDef) -> bool:
    """Whether an argument is a tensor."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    return any(
        a.annotation and re.search(r"\bTensor\b", ast.unparse(a.annotation)) for a in arguments
    )


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
    found = (
        node.exc
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and node.exc is not None
    )
    texts = (ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in found)
    return {text.partition(".")[0] for text in texts} & {"InputError", "Mismatch"}


def test_functions_that_refuse_input_say_so() -> None:
    silent = [
        where
        for where, function, text in public(*MODELS)
        if (errors := raised(function)) and not any(error in text for error in errors)
    ]
    assert silent == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    folders = "config|workflow|pointer|baselines|tests|profiles|docs|benchmarks"
    named = set(re.findall(rf"`((?:{folders}|\.ci)/[\w./-]*)`", (ROOT / page).read_text()))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_names_of_code_in_the_docs_exist() -> None:
    """Classes, functions and settings in backquotes, such as `table_step`."""
    code = "\n".join(
        path.read_text() for name in (*MODELS, "workflow") for path in (ROOT / name).rglob("*.py")
    )
    for page in ("method", "adding", "devices", "maintaining"):
        text = re.sub(
            r"^```.*?^```",
            "",
            (ROOT / "docs" / f"{page}.md").read_text(),
            flags=re.DOTALL | re.MULTILINE,
        )
        named = set(re.findall(r"`([A-Z][A-Za-z]+|[a-z]+(?:_[a-z]+)+)`", text)) - {"my_mixer"}
        assert named, page
        assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == [], page


def commands() -> list[str]:
    """Every command in a shell block of a page."""
    text = "\n".join((ROOT / page).read_text() for page in PAGES)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return sorted(
        {line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()}
    )


def parse(name: str, *arguments: str) -> None:
    """Parse a command of pointer-bench without running it; raise what it raises."""
    with cli.pointer_bench.make_context("pointer-bench", [name]) as context:
        command = cli.pointer_bench.get_command(context, name)
        assert command is not None
        command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command: str) -> None:
    words = [word for word in shlex.split(command) if "=" not in word or word.startswith("-")]
    match words:
        case ["pointer-bench", *arguments]:
            parse(*arguments)
        case ["python" | "python3", "-m", "workflow.bench", *arguments]:
            parse(*arguments)
        case ["python", "-m", "workflow.report", *arguments]:
            parser().parse_args(arguments)
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["snakemake", *arguments]:
            rules = "\n".join(
                path.read_text()
                for path in (ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk"))
            )
            tiers = {path.stem for path in (ROOT / "config").glob("*.yaml")}
            options = ("--cores", "--configfile", "--config", "--profile", "--report")
            values = {
                arguments[place + 1] for place, word in enumerate(arguments[:-1]) if word in options
            }
            targets = [
                word for word in arguments if not word.startswith("-") and word not in values
            ]
            unknown = [
                name for name in targets if not re.search(rf"^rule {name}:", rules, re.MULTILINE)
            ]
            assert set(unknown) <= tiers
        case ["." | "conda" | "pip", *_]:
            pass
        case _:
            pytest.fail(f"unknown program in the docs: {command}")


@pytest.mark.parametrize("page", ["README.md", "docs/adding.md"])
def test_tiers_in_yaml_blocks_can_be_planned(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.search(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert block
    (tmp_path / "mine.yaml").write_text(block[1])
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "mixers.py").write_text(
        "class TheirMixer:\n    cost = 'linear'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main(["plan", "--configfile", str(tmp_path / "mine.yaml")]) == 0


def test_the_readme_is_short() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 250
    assert readme.stat().st_size <= 18 * 1024


def test_every_figure_is_shown() -> None:
    text = "\n".join((ROOT / page).read_text() for page in PAGES)
    figures = {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    assert figures == set(re.findall(r"!\[.+?\]\(.*?figures/([\w.-]+)\)", text))


def test_the_tree_in_the_readme_names_what_exists() -> None:
    tree = re.search(
        r"^## Layout\n\n```text\n(.*?)^```",
        (ROOT / "README.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert tree
    names = [
        name for line in tree[1].splitlines() for name in re.split(r"  +", line)[0].split(", ")
    ]
    assert len(names) > 10
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_docs_say_how_many_runs_a_verdict_needs() -> None:
    assert rules.ENOUGH == 3
    for page in ("README.md", "docs/method.md"):
        assert "needs three seeds or repeats" in " ".join((ROOT / page).read_text().split())
