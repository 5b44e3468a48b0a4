"""Models: a line of the registry, `new`, a class outside, and the short convolution."""

import re
import sys

import pytest
import torch
from synthetic import row, table_of

from baselines.parts.convolution import short_convolution
from pointer.errors import InputError
from pointer.trunk import LayerShape
from workflow.bench import config, new, rates, registry
from workflow.bench.cell import Cell, from_dict
from workflow.bench.rows import contracts, provenance
from workflow.bench.sources import content_hash
from workflow.report import estimates

LINE = {"path": "baselines.mine:Mine", "cost": "linear", "position": "none", "citation": "me"}


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_names_a_class_of_its_own_file_and_its_source(name):
    entry = registry.info(name)
    assert registry.load(name).__module__ == entry.path.partition(":")[0]
    assert "arXiv" in entry.citation or entry.kind == "control"


# No path or no tier can hold these.
BAD_NAMES = ("../../e", "", "*", "all", "control", "x; touch pwned", "a" * 41, "Mine")


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("mine", {"cots": "linear"}, "'cots' is unknown. Did you mean 'cost'"),
        ("mine", {"cost": "cheap"}, "cost of model mine 'cheap' is unknown. Known: linear, n log"),
        ("mine", {"path": "baselines.mine"}, "path of model mine is 'baselines.mine'; accepted: "),
        ("mine", {"path": None}, "path of model mine is None"),
        ("mine", {"citation": " "}, "citation of model mine"),
        ("mine", {"trained": "no"}, "trained of model mine is 'no'; accepted: a valid boolean"),
        ("mine", {"group": "mine"}, "group of model mine 'mine' is unknown. Known: field, own, pa"),
        *((name, {}, f"name of model {name} is {name!r}") for name in BAD_NAMES),
    ],
)
def test_a_mistake_in_a_line_is_named(name, changed, words):
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        registry.entry(name, {**LINE, **changed}, "here")
    assert "Change it in here" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-mixer", "such as my_mixer"),
        ("../evil", "such as my_mixer"),
        ("x" * 41, "at most 40"),
        ("lambda", "no keyword of Python"),
        ("null", "YAML reads as text"),
        ("paper", "words of the config"),
        ("chunks", "not taken"),
        ("linear_attention", "not taken"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_writes_nothing(tmp_path, monkeypatch, name, words):
    files = {"registry.yaml": "# above\nlinear-attention: {path: a.b:C}\n", "chunks.py": ""}
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.setattr(registry, "FILE", tmp_path / "registry.yaml")
    monkeypatch.setattr(registry, "names", lambda: ["linear-attention"])
    with pytest.raises(InputError, match=words) as caught:
        new.make(name)
    assert f" is {name!r}" in str(caught.value)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files


CODE = """
from . import helper
from ..common import value

raise RuntimeError("this module must not run while planning")


class Mine:
    cost = "n log n"
    citation: str = "Me 2026"
    learned_positions = True
    position = str("computed")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user whose `theirs.sub.mine` imports its neighbours by relative names."""
    folder = tmp_path / "theirs" / "sub"
    folder.mkdir(parents=True)
    (folder.parent / "common.py").write_text("value = 1\n")
    (folder / "helper.py").write_text("")
    (folder / "mine.py").write_text(CODE)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('nor may this')\n")
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield folder
    _forget()


def _forget():
    for cached in (registry._outside, provenance.source_hash):
        cached.cache_clear()


PATH = "theirs.sub.mine:Mine"
NAME = f"mine={PATH}"


def test_the_class_says_what_a_registry_line_says_and_is_not_run(package):
    known = {"name": "mine", "path": PATH, "cost": "n log n", "citation": "Me 2026"}
    known |= {"learned_positions": True, "kind": "model", "group": "own", "trained": True}
    known["position"] = registry.OUTSIDE["position"]  # computed: only plain values are read
    assert known.items() <= registry.info(NAME).model_dump().items()
    assert "theirs" not in sys.modules


def test_its_own_package_is_part_of_its_sources(package):
    files = {path.name for path in provenance.model_files(NAME)}
    assert files == {"mine.py", "__init__.py", "helper.py", "common.py"}
    before = provenance.source_hash(NAME, "copy", "copy")
    (package.parent / "common.py").write_text("value = 2\n")
    _forget()
    assert provenance.source_hash(NAME, "copy", "copy") != before


def test_a_row_names_the_model_its_path_and_the_hash_of_its_file(package):
    cell = Cell.of("copy", NAME, distance=64)
    known = provenance.identity(cell)
    assert (known["model"], known["model_path"]) == ("mine", "theirs.sub.mine:Mine")
    assert known["model_hash"] == content_hash([package / "mine.py"])
    command = f"pointer-bench run --experiment copy --model {NAME} --lr 0.001 --distance 64"
    assert known["command"] == command
    assert from_dict(cell.to_dict()) == cell
    assert cell.path.startswith("results/runs/copy/mine/d64-s0-")


def test_a_declared_model_can_be_chosen_restricted_and_set_by_name(package):
    declared = {"own_models": {"mine": PATH}, "models": ["mine"], "mixer": {"mine": {"k": 3}}}
    declared |= {"controls": "none", "distances": [256, 512], "seeds": [0]}
    declared["experiments"] = {"copy": {"restrict": {"n log n": {"distances": [512]}}}}
    found = config.cells(config.tier("default", declared))
    copies = [cell for cell in found if cell.experiment == "copy"]
    assert [(cell.model, cell.x, cell.mixer) for cell in copies] == [(NAME, 512, {"k": 3})]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mine=theirs.sub.mine:Mien", "'Mien' is unknown. Did you mean 'Mine'"),
        ("mine=theirs.sub.mien:Mine", r"module of model mine is 'theirs.sub.mien'; .*PYTHONPATH"),
        ("mine=theirs.sub.mine", 'accepted: "package.module:Class"'),
        ("mine=sys:Mine", "PYTHONPATH"),
        ("=theirs.sub.mine:Mine", "name of model  is ''"),
        ("../up=theirs.sub.mine:Mine", "name of model ../up is '../up'"),
        ("pointer=theirs.sub.mine:Mine", "other than those of the suite"),
        ("paper=theirs.sub.mine:Mine", "words of the config"),
        ({"own_models": {"mine": 3}}, "own_models.mine is 3; accepted: a valid string"),
        ({"own_models": {"mine": "theirs.sub.mine:Mien"}}, "Did you mean 'Mine'"),
        ({"own_models": {"mine": PATH}, "mixer": {"mien": {}}}, "Did you mean 'mine'"),
        ({"experiments": {"copy": {"models": {"mine": "a:B"}}}}, "experiments.copy.models"),
    ],
)
def test_a_mistake_in_a_name_or_in_the_config_is_named(package, given, words):
    with pytest.raises(InputError, match=words):
        config.tier("default", given) if isinstance(given, dict) else registry.info(given)


SHAPE = LayerShape(32, 2, 32, 0, 2)
OWN = ["deltanet", "gated-deltanet", "mamba2", "hyena"]
MIXERS = [name for name in registry.names() if registry.info(name).trained]


def mixer(name):
    torch.manual_seed(3)
    kind = registry.load(name)
    return kind(SHAPE, kind.Settings()) if hasattr(kind, "Settings") else kind(SHAPE)


def test_a_mixer_is_given_a_convolution_on_its_input():
    given, plain, x = mixer("gla+convolution"), mixer("gla"), torch.randn(2, 9, 32)
    expected, _ = plain(short_convolution(x, given.input_taps), None)
    torch.testing.assert_close(given(x, None)[0], expected)


@pytest.mark.parametrize("name", MIXERS)
def test_only_a_mixer_without_taps_is_given_some(name):
    added = "input_taps" in dict(mixer(f"{name}+convolution").named_parameters())
    assert added == (name not in OWN)
    without = dict(mixer(f"{name}+no-convolution").named_parameters())
    assert without.keys() == dict(mixer(name).named_parameters()).keys() - {"taps"}


def test_a_cell_says_its_convolution_in_label_key_and_sources():
    plain, given = (Cell.of("mqar", "gla", short_convolution=word) for word in ("source", "on"))
    assert "convolution=on" in given.label()
    assert plain.key() != given.key()
    assert provenance.sources(plain) != provenance.sources(given)
    assert contracts.path(given.built, {}).name == "gla+convolution.json"
    assert given.resolved().resolved().model == "gla+convolution"


def test_an_untrained_control_and_a_name_with_an_ending_are_refused():
    with pytest.raises(InputError, match="chance has no mixer"):
        Cell.of("copy", "chance", short_convolution="on")
    with pytest.raises(InputError, match="--short-convolution"):
        Cell.of("mqar", "gla+convolution")


def test_a_tier_lists_what_every_model_is_run_with():
    block = {"models": ["gla", "deltanet"], "short_convolutions": [False, "on"]}  # as YAML has off
    tier = config.from_files((), {"tier": "mine", "experiments": {"mqar": block}})
    cells = [cell for cell in config.cells(tier) if cell.experiment == "mqar"]
    built = {cell.built for cell in cells if cell.model == "deltanet"}
    assert built == {"deltanet+no-convolution", "deltanet+convolution"}


def test_a_rate_is_that_of_the_model_with_its_convolution(monkeypatch):
    found = {"mqar": {"6x256x8": {"gla": 0.01, "gla+convolution": 0.003}}}
    monkeypatch.setattr(rates, "read", lambda: found)
    for word, rate in {"source": 0.01, "on": 0.003, "off": 0.01}.items():
        assert Cell.of("mqar", "gla", short_convolution=word).lr == rate


def test_tables_name_the_convolution():
    settings = {"mixer": {"rank": 8}, "short_convolution": "on"}
    keys = {"model": "gla", "pairs": 4, "accuracy": 0.9, "tokens_used": 1000}
    made = estimates.build(table_of([row(experiment="mqar", settings=settings, **keys)]))
    assert set(made.loc[made["quantity"] == "accuracy", "variant"]) == {"rank=8, with convolution"}
