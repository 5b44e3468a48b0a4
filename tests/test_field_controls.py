"""Positive controls: every baseline has one, the tier `field` runs it, and the table judges it."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import Row, make, row

from workflow.bench import config, registry
from workflow.bench.cell import Cell, Trunk
from workflow.bench.measure import learning
from workflow.report import controls
from workflow.report.estimates import describe

NOT_BASELINES = {"pointer", "pointer-formula", "pointer-dense", "transformer-unfused"}
OURS = {"transformer-content"}  # no source shows it to succeed at anything


def runs(model: str, *accuracies: float, **settings: object) -> list[Row]:
    """A row a seed of a control's cell."""
    (control,) = (entry for entry in controls.read() if entry.model == model)
    keys = {"mixer": control.mixer, "short_convolution": control.short_convolution, "lr": 0.003}
    size = {"mqar": "pairs", "copy": "distance"}[control.task]
    trunk = {"layers": 2, "width": 64, "heads": 2}
    known: Row = {"experiment": control.task, "model": model, size: control.size, "trunk": trunk}
    known |= {"settings": {**keys, **settings}, "tokens_used": 1000}
    return [row(**known, seed=seed, accuracy=share) for seed, share in enumerate(accuracies)]


def test_every_baseline_has_a_control_that_the_tier_runs_on_three_seeds() -> None:
    models = {name for name in registry.names() if registry.info(name).kind == "model"}
    named = [control.model for control in controls.read()]
    assert sorted(named) == sorted(models - NOT_BASELINES - OURS)
    cells = config.cells(config.tier("field"))
    small = Trunk.model_validate({"layers": 2, "width": 64, "heads": 2})
    for control in controls.read():
        wanted = (control.task, control.model, control.size, control.variant, small)
        seeds = []
        for cell in cells:
            asked = (cell.experiment, cell.model, cell.x, describe(cell.to_dict()), cell.trunk)
            seeds += [cell.seed] if asked == wanted else []
        assert seeds == [0, 1, 2], control.model


def test_the_tier_searches_a_rate_for_each_control() -> None:
    cells = [cell for cell in config.cells(config.tier("field")) if cell.experiment == "rates"]
    searched = {(cell.model, cell.task_name, describe(cell.to_dict())) for cell in cells}
    for control in controls.read():
        assert (control.model, control.task, control.variant) in searched


@pytest.mark.parametrize(
    ("accuracies", "validated"),
    [
        ((0.97, 0.99, 1.0), "yes"),
        ((0.97, 0.41, 1.0), "unvalidated: 41% of 95% needed"),
        ((1.0, 1.0), "unvalidated: 2 of 3 seeds"),
    ],
)
def test_a_control_is_validated_by_the_least_of_three_seeds(
    accuracies: tuple[float, ...], validated: str
) -> None:
    table = make("controls", runs("gla", *accuracies))
    lines = table.wide.set_index("model")
    assert lines.loc["gla", "validated"] == validated
    assert lines.loc["gla", "rate"] == "0.003"
    assert lines.loc["retnet", "validated"] == "not run"
    assert {"source_figure", "ours", "seeds"} <= set(table.data)


def test_recall_names_the_models_that_missed_their_control() -> None:
    table = make("recall", [*runs("gla", 0.4, 1.0, 1.0), *runs("retnet", 1.0, 1.0, 1.0)])
    assert "Unvalidated (table of controls): gla." in table.notes


def test_models_whose_source_figure_is_unchecked_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        control.model_copy(update={"checked": "" if control.model == "gla" else "figure 1"})
        for control in controls.read()
    ]
    learned = runs("gla", 1.0)
    monkeypatch.setattr(controls, "read", lambda: entries)
    notes = make("controls", learned).notes
    assert "Source figures from memory, not yet checked: gla." in notes
    assert controls.unchecked([entry for entry in entries if entry.model != "gla"]) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "model", "size"), [("copy", "local", "distance"), ("mqar", "deltanet", "pairs")]
)
def test_a_control_is_learned(task: str, model: str, size: str, tmp_path: Path) -> None:
    sizes = {size: {"distance": 32, "pairs": 4}[size], "layers": 2, "width": 64, "heads": 2}
    training = {"lr": 0.005, "tokens": 600_000, "stop_accuracy": 0.99, "threads": 1}
    row = learning.run(Cell.of(task, model, **sizes, **training), lambda *_, **__: None, tmp_path)
    assert row["accuracy"] >= controls.NEEDED
