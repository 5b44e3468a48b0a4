"""Controls: each in its place passes, each off it is named, and luck alone throws no run away."""

import numpy as np
import pytest
from synthetic import Row, copied, failed, table_of, timed

from workflow.report import claims, estimates, intervals


def copies(**accuracies: float) -> list[Row]:
    """Copy rows at D=512 of the two controls that a run needs, with others or other accuracies."""
    given = {"oracle-copy": 1.0, "chance": 0.05} | {
        name.replace("_", "-"): value for name, value in accuracies.items()
    }
    return [copied(name, 512, value) for name, value in given.items()]


def off(*rows: Row) -> list[str]:
    return claims.controls_off(estimates.build(table_of(rows)))


def test_controls_in_their_places_are_not_off() -> None:
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
def test_a_control_that_is_off_is_named(accuracies: dict[str, float], said: str) -> None:
    (found,) = off(*copies(**accuracies))
    assert found.startswith(said)


def test_counting_is_what_a_counter_scores() -> None:
    generator = np.random.default_rng(7)
    tokens = generator.integers(20, size=(4000, 513))
    counts = np.stack([(tokens == symbol).sum(1) for symbol in range(20)], axis=1)
    right = (
        counts.argmax(1) == tokens[:, 0]
    ).mean()  # any fixed position will do: order carries nothing
    assert intervals.counting(20, 513) == pytest.approx(right, abs=0.012)
    assert intervals.counting(20, 513) == pytest.approx(0.069, abs=0.0005)


def test_each_place_needs_its_own_controls() -> None:
    (first, second) = off(
        *copies(), copied("pointer", 512, 0.999, device="cuda", machine="gpu box")
    )
    assert first == "no finished copy row of oracle-copy on cuda, float32"
    assert second.startswith("no finished copy row of chance")
    lost = failed("error", "broken", experiment="copy", model="chance", distance=512, length=640)
    assert len(off(copied("oracle-copy", 512, 1.0), lost)) == 1


def test_timings_need_the_trunk_alone_and_none_may_beat_it() -> None:
    trunk = [timed("identity", 512, 100.0, repeat=repeat) for repeat in range(3)]
    assert off(timed("pointer", 512, 50.0)) == [
        "no finished efficiency row of identity on Intel(R) Xeon(R) Processor @ 2.10GHz, 2 cores, "
        "cpu, float32"
    ]
    noise = [
        timed("uniform", 512, step, repeat=repeat)
        for repeat, step in enumerate((90.0, 95.0, 100.0))
    ]
    assert off(*trunk, *noise) == []
    fast = [timed("uniform", 512, 60.0 + repeat, repeat=repeat) for repeat in range(3)]
    assert off(*trunk, *fast) == [
        "uniform trains 1.64 times as fast as the trunk alone (identity) at N=512"
    ]
    assert off(trunk[0], timed("uniform", 512, 75.0)) == []
    assert len(off(trunk[0], timed("uniform", 512, 60.0))) == 1


def test_good_runs_are_not_thrown_away_by_luck() -> None:
    right = np.random.default_rng(8).binomial(10_240, 0.05, size=200)
    rows = [copied("oracle-copy", 512, 1.0)]
    rows += [copied("chance", 512, float(k) / 10_240, seed=seed) for seed, k in enumerate(right)]
    assert off(*rows) == []
