"""Controls: each in its place passes, each off it is named; positive controls of every baseline."""

import numpy as np
import pytest
from synthetic import SERVER, copied, failed, make, row, table_of, timed

from workflow.bench import config, registry
from workflow.bench.cell import Cell, Trunk
from workflow.bench.measure import learning
from workflow.report import claims, controls, estimates, intervals
from workflow.report.estimates import describe


def copies(**accuracies):
    """Copy rows at D=512 of the two controls that a run needs, with others or other accuracies."""
    given = {"oracle_copy": 1.0, "chance": 0.05} | accuracies
    return [copied(name.replace("_", "-"), 512, value) for name, value in given.items()]


def off(*rows):
    return claims.controls_off(estimates.build(table_of(rows)))


def test_controls_in_their_places_are_not_off():
    assert off(*copies(identity=0.051, uniform=0.05, random_pointer=0.049, pointer=0.999)) == []
    assert off() == []


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ({"oracle_copy": 0.9999}, "oracle-copy scores 99.99% at D=512, not 100.00%"),
        ({"chance": 0.07}, "chance scores 7.00% at D=512, not 5.00%"),
        ({"chance": 0.03}, "chance scores 3.00% at D=512, not 5.00%"),
        ({"identity": 0.07}, "identity scores 7.00% at D=512, not 5.00%"),
        ({"uniform": 0.09}, "uniform scores 9.00% at D=512, not at most 6.91%"),
        ({"random_pointer": 0.5}, "random-pointer scores 50.00% at D=512, not at most 6.91%"),
    ],
)
def test_a_control_that_is_off_is_named(accuracies, said):
    (found,) = off(*copies(**accuracies))
    assert found.startswith(said)


def test_counting_is_what_a_counter_scores():
    generator = np.random.default_rng(7)
    tokens = generator.integers(20, size=(4000, 513))
    counts = np.stack([(tokens == symbol).sum(1) for symbol in range(20)], axis=1)
    # Any fixed position will do: order carries nothing.
    right = (counts.argmax(1) == tokens[:, 0]).mean()
    assert intervals.counting(20, 513) == pytest.approx(right, abs=0.012)
    assert intervals.counting(20, 513) == pytest.approx(0.069, abs=0.0005)


def test_each_place_needs_its_own_controls():
    elsewhere = copied("pointer", 512, 0.999, device="cuda", machine="gpu box")
    first, second = off(*copies(), elsewhere)
    assert first == "no finished copy row of oracle-copy on cuda, float32"
    assert second.startswith("no finished copy row of chance")
    lost = failed("error", "broken", experiment="copy", model="chance", distance=512, length=640)
    assert len(off(copied("oracle-copy", 512, 1.0), lost)) == 1


def test_timings_need_the_trunk_alone_and_none_may_beat_it():
    trunk = [timed("identity", 512, 100.0, repeat=repeat) for repeat in range(3)]
    missing = f"no finished efficiency row of identity on {SERVER}, cpu, float32"
    assert off(timed("pointer", 512, 50.0)) == [missing]
    noise = [timed("uniform", 512, 90.0 + 5 * repeat, repeat=repeat) for repeat in range(3)]
    assert off(*trunk, *noise) == []
    fast = [timed("uniform", 512, 60.0 + repeat, repeat=repeat) for repeat in range(3)]
    beaten = "uniform trains 1.64 times as fast as the trunk alone (identity) at N=512"
    assert off(*trunk, *fast) == [beaten]
    assert off(trunk[0], timed("uniform", 512, 60.0)) == []  # one session has no interval


NOT_BASELINES = {"pointer", "pointer-formula", "pointer-dense", "transformer-unfused"}
OURS = {"transformer-content"}  # no source shows it to succeed at anything


def runs(model, *accuracies, **settings):
    (control,) = (entry for entry in controls.read() if entry.model == model)
    keys = {"mixer": control.mixer, "short_convolution": control.short_convolution, "lr": 0.003}
    size = {"mqar": "pairs", "copy": "distance"}[control.task]
    trunk = {"layers": 2, "width": 64, "heads": 2}
    known = {"experiment": control.task, "model": model, size: control.size, "trunk": trunk}
    known |= {"settings": {**keys, **settings}, "tokens_used": 1000}
    return [row(**known, seed=seed, accuracy=share) for seed, share in enumerate(accuracies)]


def test_the_tier_runs_a_control_of_every_baseline_on_three_seeds_at_a_searched_rate():
    models = {name for name in registry.names() if registry.info(name).kind == "model"}
    named = [control.model for control in controls.read()]
    assert sorted(named) == sorted(models - NOT_BASELINES - OURS)
    cells = config.cells(config.tier("field"))
    rates = [cell for cell in cells if cell.experiment == "rates"]
    searched = {(cell.model, cell.task_name, describe(cell.to_dict())) for cell in rates}
    small = Trunk.model_validate({"layers": 2, "width": 64, "heads": 2})
    for control in controls.read():
        wanted = (control.task, control.model, control.size, control.variant, small)
        seeds = []
        for cell in cells:
            asked = (cell.experiment, cell.model, cell.x, describe(cell.to_dict()), cell.trunk)
            seeds += [cell.seed] if asked == wanted else []
        assert seeds == [0, 1, 2], control.model
        assert (control.model, control.task, control.variant) in searched


@pytest.mark.parametrize(
    ("accuracies", "validated"),
    [
        ((0.97, 0.99, 1.0), "yes"),
        ((0.97, 0.41, 1.0), "unvalidated: 41% of 95% needed"),
        ((1.0, 1.0), "unvalidated: 2 of 3 seeds"),
    ],
)
def test_a_control_is_validated_by_the_least_of_three_seeds(accuracies, validated):
    table = make("controls", runs("gla", *accuracies))
    lines = table.wide.set_index("model")
    assert lines.loc["gla", "validated"] == validated
    assert lines.loc["gla", "rate"] == "0.003"
    assert lines.loc["retnet", "validated"] == "not run"
    assert {"source_figure", "ours", "seeds"} <= set(table.data)


def test_recall_names_the_models_that_missed_their_control():
    table = make("recall", [*runs("gla", 0.4, 1.0, 1.0), *runs("retnet", 1.0, 1.0, 1.0)])
    assert "Unvalidated (table of controls): gla." in table.notes


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "model", "size"),
    [("copy", "local", {"distance": 32}), ("mqar", "deltanet", {"pairs": 4})],
)
def test_a_control_is_learned(task, model, size, tmp_path):
    sizes = {**size, "layers": 2, "width": 64, "heads": 2}
    training = {"lr": 0.005, "tokens": 600_000, "stop_accuracy": 0.99, "threads": 1}
    row = learning.run(Cell.of(task, model, **sizes, **training), lambda *_, **__: None, tmp_path)
    assert row["accuracy"] >= controls.NEEDED
