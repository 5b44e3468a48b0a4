"""The short convolution that any mixer can be given, or that can be taken from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from synthetic import row, table_of

from baselines.parts.convolution import short_convolution
from pointer.errors import InputError
from pointer.trunk import LayerShape
from workflow.bench import config, rates, registry
from workflow.bench.cell import Cell
from workflow.bench.rows import contracts, provenance
from workflow.report import estimates

SHAPE = LayerShape(32, 2, 32, 0, 2)
OWN = ["deltanet", "gated-deltanet", "mamba2", "hyena"]
MIXERS = [name for name in registry.names() if registry.info(name).trained]


def mixer(name: str) -> Any:
    torch.manual_seed(3)
    kind: Any = registry.load(name)
    return kind(SHAPE, kind.Settings()) if hasattr(kind, "Settings") else kind(SHAPE)


def test_a_mixer_is_given_a_convolution_on_its_input() -> None:
    given, plain, x = mixer("gla+convolution"), mixer("gla"), torch.randn(2, 9, 32)
    expected, _ = plain(short_convolution(x, given.input_taps), None)
    torch.testing.assert_close(given(x, None)[0], expected)


@pytest.mark.parametrize("name", MIXERS)
def test_only_a_mixer_without_taps_is_given_some(name: str) -> None:
    added = "input_taps" in dict(mixer(f"{name}+convolution").named_parameters())
    assert added == (name not in OWN)
    without = dict(mixer(f"{name}+no-convolution").named_parameters())
    assert without.keys() == dict(mixer(name).named_parameters()).keys() - {"taps"}


@pytest.mark.parametrize("name", ["deltanet+no-convolution", "pointer+convolution"])
def test_no_output_depends_on_a_later_input(name: str) -> None:
    changed, x = mixer(name).eval(), torch.randn(1, 16, 32)
    later = torch.cat([x[:, :9], torch.randn(1, 7, 32)], dim=1)
    outputs = [changed(values, None)[0][:, :9] for values in (x, later)]
    torch.testing.assert_close(*outputs)


def test_a_cell_says_its_convolution_in_label_key_and_sources() -> None:
    plain, given = (Cell.of("mqar", "gla", short_convolution=word) for word in ("source", "on"))
    assert "convolution=on" in given.label()
    assert plain.key() != given.key()
    assert provenance.sources(plain) != provenance.sources(given)
    assert contracts.path(given.built, {}).name == "gla+convolution.json"
    assert given.resolved().resolved().model == "gla+convolution"


def test_an_untrained_control_and_a_name_with_an_ending_are_refused() -> None:
    with pytest.raises(InputError, match="chance has no mixer"):
        Cell.of("copy", "chance", short_convolution="on")
    with pytest.raises(InputError, match="--short-convolution"):
        Cell.of("mqar", "gla+convolution")


def test_a_tier_lists_what_every_model_is_run_with() -> None:
    block = {"models": ["gla", "deltanet"], "short_convolutions": [False, "on"]}  # as YAML has off
    tier = config.from_files((), {"tier": "mine", "experiments": {"mqar": block}})
    cells = [cell for cell in config.cells(tier) if cell.experiment == "mqar"]
    built = {cell.built for cell in cells if cell.model == "deltanet"}
    assert built == {"deltanet+no-convolution", "deltanet+convolution"}


def test_a_rate_is_that_of_the_model_with_its_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"mqar": {"6x256x8": {"gla": 0.01, "gla+convolution": 0.003}}}
    monkeypatch.setattr(rates, "read", lambda: found)
    for word, rate in {"source": 0.01, "on": 0.003, "off": 0.01}.items():
        assert Cell.of("mqar", "gla", short_convolution=word).lr == rate


def test_tables_name_the_convolution() -> None:
    settings = {"mixer": {"rank": 8}, "short_convolution": "on"}
    keys = {"model": "gla", "pairs": 4, "accuracy": 0.9, "tokens_used": 1000}
    made = estimates.build(table_of([row(experiment="mqar", settings=settings, **keys)]))
    assert set(made.loc[made["quantity"] == "accuracy", "variant"]) == {"rank=8, with convolution"}
