"""Verdicts: each rule and each word from synthetic cells and rows, the ledger's checks, its table and figure."""

import math
from pathlib import Path

import pytest
import synthetic
import yaml
from synthetic import DISTANCES, LENGTHS, copied, counted, failed, row, store, table_of, timed, traced

from pointer.errors import InputError
from workflow.report import arithmetic, claims, claims_figure, frame, ledger, metrics
from workflow.report.__main__ import LEDGER, main
from workflow.report.claims import Line, judge
from workflow.report.ledger import Claim, Statement
from workflow.report.rules import Estimate, Outcome, Rule, Verdict, combine, exactly, missing

HOLDS, DIRECTION, FAILS, OPEN = Outcome
FACTS = [
    "speed-2048",
    "throughput-pointer",
    "throughput-transformer",
    "speed-grows",
    "speed-range",
    "linear-compute",
    "linear-memory",
    "copy-95",
    "copy-table",
    "copy-low",
    "copy-stable",
    "hops-local",
    "hops-long",
    "one-target",
    "no-pretraining",
    "longformer",
    "future-work",
    "c1",
    "c2",
    "c3",
    "c4",
    "c5",
    "c6",
]
CONTROLS = [copied(model, d, score) for d in DISTANCES for model, score in (("oracle-copy", 1.0), ("chance", 0.05))]


def cell(low: float, high: float, runs: int = 3, **values: object) -> Estimate:
    return Estimate("cell", (low + high) / 2, low, high, runs, **values)  # type: ignore[arg-type]


def says(rule: Rule, *cells: Estimate) -> list[Outcome]:
    return [outcome for _, outcome in rule.judge(cells)]


@pytest.mark.parametrize(
    ("rule", "low", "high", "outcome"),
    [
        (Rule("at least", 2.0), 2.0, 2.4, HOLDS),
        (Rule("at least", 2.0), 1.9, 2.4, OPEN),
        (Rule("at least", 2.0), 1.1, 1.9, FAILS),
        (Rule("at least", 2.0, direction=1.0), 1.1, 1.9, DIRECTION),
        (Rule("at least", 2.0, direction=1.0), 0.9, 1.9, FAILS),
        (Rule("at least", 2.0, margin=0.1), 1.85, 1.9, HOLDS),
        (Rule("at most", 2.02), 2.0, 2.0, HOLDS),
        (Rule("at most", 2.02), 2.01, 2.03, OPEN),
        (Rule("at most", 2.02), 2.1, 4.0, FAILS),
        (Rule("at most", 2.02, direction=4.0), 2.1, 3.0, DIRECTION),
        (Rule("within", 100.0, margin=0.1), 91.0, 109.0, HOLDS),
        (Rule("within", 100.0, margin=0.1), 105.0, 115.0, OPEN),
        (Rule("within", 100.0, margin=0.1), 111.0, 115.0, FAILS),
        (Rule("between", 47.0, upper=58.0), 50.0, 55.0, HOLDS),
        (Rule("between", 47.0, upper=58.0), 60.0, 65.0, FAILS),
        (Rule("includes", 0.05), 0.04, 0.06, HOLDS),
        (Rule("includes", 0.05), 0.06, 0.07, FAILS),
        (Rule("excludes", 0.05), 0.06, 0.07, HOLDS),
        (Rule("excludes", 0.05), 0.04, 0.06, FAILS),
    ],
)
def test_a_rule_judges_the_interval_not_the_value(rule: Rule, low: float, high: float, outcome: Outcome) -> None:
    assert says(rule, cell(low, high)) == [outcome]


def test_too_few_runs_stay_open_unless_the_value_is_exact() -> None:
    assert says(Rule("at least", 2.0), cell(3.0, 3.1, runs=2)) == [OPEN]
    assert says(Rule("at least", 2.0), exactly("counted", 3.0)) == [HOLDS]
    assert says(Rule("at least", 2.0), missing("gone", "oom")) == [OPEN]
    assert says(Rule("at least", 2.0), Estimate("no bounds", 3.0, math.nan, math.nan, 3)) == [OPEN]


def test_without_a_value_the_papers_figure_of_the_cell_is_asked_for() -> None:
    assert says(Rule("within", margin=0.1), cell(0.99, 1.01, paper=1.0), cell(0.99, 1.01, paper=2.0)) == [HOLDS, FAILS]
    with pytest.raises(ValueError, match="the paper gives none"):
        Rule("within").judge([cell(0.9, 1.1)])


def test_monotone_judges_neighbours_of_one_machine() -> None:
    rising = [cell(1.0, 1.1, series="a"), cell(1.2, 1.3, series="a"), cell(1.25, 1.4, series="a")]
    assert says(Rule("monotone"), *rising) == [HOLDS, OPEN]
    dip = [cell(1.0, 1.1), cell(2.0, 2.1), cell(1.5, 1.6)]
    assert says(Rule("monotone"), *dip) == [HOLDS, DIRECTION]
    assert says(Rule("monotone"), *reversed(rising[:2])) == [FAILS]
    assert says(Rule("monotone"), cell(2.0, 2.1, series="b"), cell(1.0, 1.1, series="a")) == []


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([HOLDS, HOLDS], Verdict.REPRODUCED),
        ([HOLDS, DIRECTION], Verdict.PARTIALLY),
        ([DIRECTION], Verdict.PARTIALLY),
        ([HOLDS, FAILS, OPEN], Verdict.PARTIALLY),
        ([FAILS, FAILS], Verdict.NOT_REPRODUCED),
        ([HOLDS, OPEN], Verdict.INCONCLUSIVE),
        ([FAILS, OPEN], Verdict.INCONCLUSIVE),
        ([OPEN], Verdict.INCONCLUSIVE),
        ([], Verdict.NOT_TESTABLE),
    ],
)
def test_cells_become_one_verdict(outcomes: list[Outcome], verdict: Verdict) -> None:
    assert combine(outcomes) == verdict


def line(claim_id: str, rows: list[synthetic.Row], tier: str = "paper") -> Line:
    """The line of one claim of the real ledger."""
    return next(line for line in judge(table_of(rows), ledger.read(LEDGER), tier) if line.claim.id == claim_id)


def races(
    pointer_ms: dict[int, float], reference: str = "transformer-unfused", repeats: int = 3
) -> list[synthetic.Row]:
    """Repeats that agree to 1%: the pointer's milliseconds by N against 100 ms of both references."""
    rows = []
    for repeat in range(repeats):
        noise = 1 + 0.01 * repeat
        for length, step in pointer_ms.items():
            rows.append(timed("pointer", length, step * noise, repeat=repeat))
            rows += [timed(name, length, 100.0, repeat=repeat) for name in ("transformer", reference)]
    return rows


def seeds(model: str, accuracy: float, count: int = 3) -> list[synthetic.Row]:
    return [copied(model, d, accuracy, seed=seed) for d in DISTANCES for seed in range(count)]


def test_a_speedup_is_reproduced_partial_refuted_or_inconclusive() -> None:
    assert line("speed-2048", races({2048: 100 / 3})).verdict == Verdict.REPRODUCED
    assert line("speed-2048", races({2048: 100 / 1.5})).verdict == Verdict.PARTIALLY
    assert line("speed-2048", races({2048: 200.0})).verdict == Verdict.NOT_REPRODUCED
    two = line("speed-2048", races({2048: 100 / 3}, repeats=2))
    assert two.verdict == Verdict.INCONCLUSIVE
    assert "2 of 3 runs" in two.why
    assert line("speed-2048", []).verdict == Verdict.NOT_TESTABLE


def test_a_speedup_that_rises_with_length() -> None:
    rising = {n: 100.0 / (1 + i) for i, n in enumerate(LENGTHS)}
    assert line("speed-grows", races(rising)).verdict == Verdict.REPRODUCED
    assert line("speed-grows", races(dict.fromkeys(LENGTHS, 50.0))).verdict == Verdict.INCONCLUSIVE
    assert (
        line("speed-grows", races({n: 100.0 * (1 + i) for i, n in enumerate(LENGTHS)})).verdict
        == Verdict.NOT_REPRODUCED
    )


def test_a_missing_device_is_named() -> None:
    found = line("throughput-pointer", races({2048: 50.0}))
    assert (found.verdict, found.why) == (Verdict.NOT_TESTABLE, "no timing row of pointer on mps")
    absent = [failed("unsupported", "no MPS device", model="pointer", device="mps")]
    assert line("throughput-pointer", absent).why == "no row has finished (unsupported)"


def test_a_device_where_nothing_ran_has_no_say() -> None:
    absent = [failed("unsupported", "no CUDA device", model="pointer", device="cuda", length=2048)]
    assert line("speed-2048", races({2048: 100 / 3}) + absent).verdict == Verdict.REPRODUCED


def test_linear_work_is_reproduced_but_not_the_factor_of_ten_thousand() -> None:
    rows = [counted(model, n, power) for n in LENGTHS for model, power in (("pointer", 1), ("transformer-unfused", 2))]
    found = line("linear-compute", rows)
    assert found.verdict == Verdict.PARTIALLY
    assert Outcome.FAILS not in dict(found.outcomes).values()
    quadratic = [counted("pointer", n, 2) for n in (4096, 8192)] + [counted("transformer-unfused", 8192, 1)]
    assert line("linear-memory", quadratic).verdict == Verdict.NOT_REPRODUCED


def test_copy_claims_exclude_one_another_on_a_model_that_learned() -> None:
    rows = CONTROLS + seeds("pointer", 0.999)
    assert line("copy-95", rows).verdict == Verdict.REPRODUCED
    assert line("copy-low", rows).verdict == Verdict.NOT_REPRODUCED
    assert line("no-pretraining", rows).verdict == Verdict.REPRODUCED
    assert line("copy-table", rows).verdict == Verdict.INCONCLUSIVE  # no Transformer row yet: half of the claim is open


def test_copy_at_chance_refutes_the_high_claim() -> None:
    rows = CONTROLS + seeds("pointer", 0.05)
    assert line("copy-95", rows).verdict == Verdict.NOT_REPRODUCED
    assert line("no-pretraining", rows).verdict == Verdict.NOT_REPRODUCED


def test_one_seed_or_a_straddling_interval_decides_nothing() -> None:
    assert line("copy-95", CONTROLS + seeds("pointer", 0.999, count=1)).verdict == Verdict.INCONCLUSIVE
    assert line("copy-95", CONTROLS + seeds("pointer", 0.951)).verdict == Verdict.INCONCLUSIVE


def test_stability_is_not_judged_against_a_model_that_guesses() -> None:
    rows = CONTROLS + seeds("pointer", 0.999) + seeds("transformer", 0.05)
    assert line("copy-stable", rows).verdict == Verdict.NOT_TESTABLE
    wobbly = [
        copied("transformer", d, 0.99 - 0.1 * i - 0.01 * seed * i, seed=seed)
        for i, d in enumerate(DISTANCES)
        for seed in range(3)
    ]
    assert line("copy-stable", CONTROLS + seeds("pointer", 0.999) + wobbly).verdict == Verdict.REPRODUCED


def test_hops_of_a_copy_task_do_not_judge_the_papers_text() -> None:
    assert line("hops-local", [traced(512)]).verdict == Verdict.NOT_TESTABLE
    text = {"experiment": "interpretability", "distance": None, "hops_max": [60, 60, 60, 480, 480, 483]}
    rows = [row(**text, seed=seed, hops_mean=[50.0, 52.0, 53.0 + seed, 100.0, 120.0, 130.0]) for seed in range(3)]
    assert line("hops-local", rows).verdict == Verdict.REPRODUCED
    assert line("hops-long", rows).verdict == Verdict.REPRODUCED


def test_one_target_is_read_from_the_trace(tmp_path: Path) -> None:
    rows = frame.collect(store([traced(512)], tmp_path), tmp_path)
    assert [c.value for c in metrics.targets_per_position(rows)] == [1.0]
    trace = next(tmp_path.glob("*.trace.json"))
    trace.write_text('{"targets": [[[0, 2]]]}', encoding="utf-8")  # position 1 points ahead
    assert math.isnan(metrics.targets_per_position(rows)[0].value)


def test_every_contradiction_is_computed() -> None:
    rows = CONTROLS + [copied("uniform", 512, 0.05, seed=seed) for seed in range(3)]
    rows += [counted("pointer-dense", n, 2) for n in (1024, 2048, 4096)]
    for number in range(1, 7):
        assert line(f"c{number}", rows).verdict == Verdict.REPRODUCED
    assert line("c1", CONTROLS + seeds("pointer", 0.999)).claim.contradiction


def test_a_vocabulary_far_from_20_would_clear_the_contradiction() -> None:
    rows = [
        copied(model, d, score, chance=0.5)
        for d in DISTANCES
        for model, score in (("oracle-copy", 1.0), ("chance", 0.5))
    ]
    assert line("c1", rows).verdict == Verdict.PARTIALLY


def test_arithmetic_of_the_paper() -> None:
    empty = table_of([])
    assert arithmetic.time_exponent(empty)[0].value == pytest.approx(1.4, abs=0.01)
    assert [round(c.value, 1) for c in arithmetic.sequences_a_cell(empty)] == [20.0, 20.0]
    assert arithmetic.operations_ratio(empty)[0].value == pytest.approx(10_000 / 8192)
    assert arithmetic.uniform_hop(empty)[0].value == pytest.approx(128.0)


def test_controls_that_are_off_make_every_verdict_invalid() -> None:
    wrong = [copied("oracle-copy", 512, 0.99), copied("chance", 512, 0.2)]
    lines = judge(table_of(wrong + seeds("pointer", 0.999)), ledger.read(LEDGER))
    assert {line.verdict for line in lines} == {Verdict.INVALID}
    assert "oracle-copy scores 99.00% at D=512, not 100.00%" in lines[0].why
    assert "chance scores 20.00%" in lines[0].why
    assert claims.controls_off(table_of(seeds("pointer", 0.999))) == [
        "no finished copy row of oracle-copy",
        "no finished copy row of chance",
    ]
    assert claims.controls_off(table_of(CONTROLS)) == []


def test_smoke_gives_no_verdict() -> None:
    lines = judge(table_of(synthetic.grid()), ledger.read(LEDGER), "smoke")
    assert {line.verdict for line in lines} == {Verdict.SMOKE}


def test_the_ledger_holds_every_claim_and_contradiction() -> None:
    assert [claim.id for claim in ledger.read(LEDGER)] == FACTS
    assert all(claim.source and claim.figure for claim in ledger.read(LEDGER))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": "at lest"}, "at lest"),
        ({"metric": "speedupp"}, "Did you mean 'speedup'"),
        ({"with": {"modle": "pointer"}}, "Did you mean 'model'"),
        ({"margn": 1}, "margn"),
    ],
)
def test_a_wrong_ledger_is_refused_by_name(tmp_path: Path, change: dict[str, object], said: str) -> None:
    test = {"metric": "speedup", "with": {"model": "pointer"}, "rule": "at least", "value": 1} | change
    entry = {"id": "a", "claim": "c", "figure": "f", "source": "s", "tests": [test]}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [entry]}), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        ledger.read(path)


def test_a_claim_may_not_appear_twice(tmp_path: Path) -> None:
    entry = {"id": "a", "claim": "c", "figure": "f", "source": "s", "tests": []}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [entry, entry]}), encoding="utf-8")
    with pytest.raises(InputError, match="claim id is 'a'"):
        ledger.read(path)


def test_table_and_figure_are_written_and_a_line_a_claim_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = store(CONTROLS + seeds("pointer", 0.999), tmp_path / "runs")
    frame.collect(manifest, tmp_path)
    assert main(["claims", "--rows", str(tmp_path / "rows.parquet"), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(f"{claim_id} " in printed for claim_id in FACTS)
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {
        f"claims.{kind}" for kind in ("csv", "md", "tex", "html")
    }
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"claims.png", "claims.svg"}
    assert "| copy-95" in (tmp_path / "tables" / "claims.md").read_text(encoding="utf-8")


def test_the_figure_shows_our_number_over_what_the_claim_asks() -> None:
    asked = Statement("copy_accuracy", Rule("at least", 0.5), {"model": "pointer", "at": [512]})
    claim = Claim("a", "c", "50%", "s", (asked,))
    lines = judge(table_of(CONTROLS + seeds("pointer", 0.999)), [claim])
    (shown,) = claims_figure.comparable(lines[0])
    assert shown.value / (shown.paper or 0) == pytest.approx(1.998)
    words = [text.get_text() for text in claims_figure.draw(lines).axes[0].texts]
    assert words == ["reproduced"]
