"""Functions of tensors state shapes; README.md and docs/ hold no dead link, name or command."""

import ast
import re
import shlex

import pytest

from workflow.bench import cli, config
from workflow.bench.sources import ROOT
from workflow.report.__main__ import parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODELS = ("pointer", "baselines")
SHAPE = re.compile(r"(float|int64|int32|bool)\d*\[|See [`a-zA-Z]|[Ss]hapes as in")
PARTS = {"all", "collect", "tables", "figures", "report", "benchmarks", "readme"}
MANY_LINES = re.DOTALL | re.MULTILINE


def public(*packages):
    for path in sorted(path for package in packages for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{path.relative_to(ROOT)}:{node.name}", node


def test_functions_of_tensors_state_their_shapes():
    """The backward of an autograd function is left out: its shapes are those of its forward."""
    silent = []
    for where, function in public(*MODELS):
        arguments = [*function.args.args, *function.args.kwonlyargs]
        types = " ".join(ast.unparse(a.annotation) for a in arguments if a.annotation)
        text = ast.get_docstring(function) or ""
        takes_tensors = re.search(r"\bTensor\b", types) and function.name != "backward"
        if takes_tensors and not SHAPE.search(text):
            silent.append(where)
    assert silent == []


def anchors(page):
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere_and_named_files_exist():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), (page, link)
            assert not anchor or anchor in anchors(target), (page, link)
        folders = "config|workflow|pointer|baselines|tests|profiles|docs|benchmarks"
        for name in re.findall(rf"`((?:{folders}|\.ci)/[\w./-]*)`", page.read_text()):
            assert (ROOT / name).exists(), (page, name)


def test_names_of_code_in_the_docs_exist():
    """Classes, functions and settings in backquotes, such as `table_step`."""
    files = [path for name in (*MODELS, "workflow") for path in (ROOT / name).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for page in ("method", "adding", "devices", "maintaining"):
        text = (ROOT / "docs" / f"{page}.md").read_text()
        text = re.sub(r"^```.*?^```", "", text, flags=MANY_LINES)
        named = set(re.findall(r"`([A-Z][A-Za-z]+|[a-z]+(?:_[a-z]+)+)`", text)) - {"my_mixer"}
        assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == [], page


def commands():
    lines = set()
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), MANY_LINES):
            lines |= {line.partition("  #")[0].strip() for line in block.splitlines()}
    return sorted(lines)


def parse(name, *arguments):
    with cli.pointer_bench.make_context("pointer-bench", [name]) as context:
        command = cli.pointer_bench.get_command(context, name)
        command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
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
            # Options of these commands take one value each.
            pairs = zip(words, arguments, strict=False)
            values = [after for word, after in pairs if word[0] == "-"]
            targets = {word for word in arguments if word[0] != "-" and word not in values}
            assert targets <= {*PARTS, *config.tier_names()}
        case ["." | "conda" | "pip" | "grep", *_]:
            pass
        case _:
            pytest.fail(f"unknown program in the docs: {command}")


@pytest.mark.parametrize("page", ["README.md", "docs/adding.md"])
def test_tiers_in_yaml_blocks_can_be_planned(page, tmp_path, monkeypatch):
    block = re.search(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), MANY_LINES)
    assert block
    (tmp_path / "mine.yaml").write_text(block[1])
    (tmp_path / "their_package").mkdir()
    mixer = "class TheirMixer:\n    cost = 'linear'\n"
    (tmp_path / "their_package" / "mixers.py").write_text(mixer)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main(["plan", "--configfile", str(tmp_path / "mine.yaml")]) == 0


def test_the_readme_is_short_and_its_tree_names_what_exists():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 250
    assert len(text.encode()) <= 18 * 1024
    tree = re.search(r"^## Layout\n\n```text\n(.*?)^```", text, MANY_LINES)
    assert tree
    for line in tree[1].splitlines():
        for name in re.split(r"  +", line)[0].split(", "):
            assert (ROOT / name).exists(), name


def test_every_figure_is_shown():
    text = "\n".join(page.read_text() for page in PAGES)
    figures = {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    assert figures == set(re.findall(r"!\[.+?\]\(.*?figures/([\w.-]+)\)", text))
