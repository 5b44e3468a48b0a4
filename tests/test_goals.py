"""The goals of `pointer` and what only they select, from synthetic rows."""

from __future__ import annotations

import math

import pytest
from synthetic import copied, counted, failed, table_of, timed
from test_claims import cells

from workflow.report import GOALS, estimates, goals, ledger
from workflow.report.rules import NotTestable

ROWS = [
    timed(model, n, ms, repeat=r)
    for r in range(3)
    for n, model, ms in ((256, "pointer", 10), (256, "identity", 9.5))
]


def test_every_goal_has_tests_and_every_test_a_figure_of_its_own() -> None:
    read = ledger.read(GOALS)
    assert len(read) > 10
    assert all(goal.tests for goal in read)
    assert all(test.value is not None for goal in read for test in goal.tests)


def test_a_speedup_is_the_references_time_over_the_models_by_pairs() -> None:
    given = {"model": "pointer", "against": "identity", "phase": "training", "at": [256]}
    (cell,) = cells(ROWS, "speedup", **given)
    assert (cell.value, cell.low, cell.high, cell.runs) == (pytest.approx(0.95),) * 3 + (3,)
    there = [row | {"machine": "another", "tokens_per_s": row["tokens_per_s"] / 2} for row in ROWS]
    both = cells(ROWS + there, "speedup", **given)  # machines are never pooled
    assert [cell.runs for cell in both] == [3, 3]
    assert {cell.series.split(",")[0] for cell in both} == {
        "another",
        "Intel(R) Xeon(R) Processor @ 2.10GHz",
    }


def test_inference_is_compared_with_the_own_forward_pass() -> None:
    rows = [timed("pointer", 256, 30.0, forward_ms_mean=12.0, inference_ms=10.0)]
    (cell,) = cells(rows, "inference_over_forward", model="pointer", at=[256])
    assert cell.value == pytest.approx(1.2)


def test_what_failed_is_named_and_what_is_absent_is_not_testable() -> None:
    gone = failed(
        "oom", "no memory", experiment="efficiency", model="identity", length=512, batch=8
    )
    rows = [*ROWS, timed("pointer", 512, 10.0), gone]
    (cell,) = cells(
        rows, "speedup", model="pointer", against="identity", phase="training", at=[512]
    )
    assert cell.open_because.startswith("no pair: identity of the same repeat is oom")
    with pytest.raises(NotTestable, match="no speedup of pointer over longformer"):
        cells(rows, "speedup", model="pointer", against="longformer", phase="training", at=[512])


def test_peaks_are_compared_as_a_ratio_with_the_runs_range() -> None:
    rows = [
        timed("pointer", 256, 10.0, repeat=r, peak_memory_bytes=b)
        for r, b in enumerate((100, 110, 120))
    ]
    rows += [timed("transformer", 256, 10.0, repeat=r, peak_memory_bytes=1100) for r in range(3)]
    (cell,) = cells(rows, "peak_memory_reduction", model="pointer", against="transformer", at=[256])
    assert (cell.value, cell.low, cell.high) == (10.0, pytest.approx(1100 / 120), 11.0)


def test_the_exponent_of_time_is_one_where_throughput_is_constant() -> None:
    rows = [timed("pointer", n, 10.0) for n in (512, 1024, 2048)]
    given = {"model": "pointer", "phase": "training", "at": [512]}
    (cell,) = cells(rows, "time_exponent", **given, lengths=[512, 1024, 2048])
    assert cell.value == pytest.approx(1.0)
    (cell,) = cells(rows, "time_exponent", **given, lengths=[512, 4096])
    assert cell.open_because == "N=4096 not run"


def test_tokens_are_the_worst_seeds_and_a_reference_that_never_learns_counts_its_budget() -> None:
    mine = [
        copied("pointer", 512, 1.0, seed=s, tokens_used=60_000 + s, tokens_to_95=40_000)
        for s in range(3)
    ]
    theirs = [
        copied("transformer", 512, 0.05, seed=s, tokens_used=1_000_000, tokens_to_95=None)
        for s in range(3)
    ]
    used = {"experiment": "copy", "model": "pointer", "at": [512]}
    (most,) = cells(mine + theirs, "tokens_to_stop", **used)
    assert (most.value, most.low, most.high) == (60_002, 60_000, 60_002)
    lost = [row | {"tokens_to_95": None} if row["seed"] == 1 else row for row in mine]
    (never,) = cells(lost, "tokens_to_stop", **used)
    assert math.isinf(never.value)
    fair = [row | {"experiment": "fairness"} for row in mine + theirs]
    sooner = used | {"experiment": "fairness", "against": "transformer"}
    (ratio,) = cells(fair, "tokens_to_95_reduction", **sooner)
    assert ratio.value == pytest.approx(25)
    assert ratio.label.endswith("D=512, transformer never reached 95%: its budget counts")


def test_recall_is_judged_by_task_size_and_tokens_beside_the_reference() -> None:
    task = {"name": "mqar", "pairs": 16}
    known = {"experiment": "mqar", "task": task, "axis": "pairs", "x": 16, "length": 256}
    rows = [
        copied("pointer", 0, 0.9 + 0.05 * s, seed=s, tokens_to_95=60_000) | known for s in range(3)
    ]
    rows += [
        copied("transformer", 0, 1.0, seed=s, tokens_to_95=20_000 + 10_000 * s) | known
        for s in range(3)
    ]
    of = {"experiment": "mqar", "model": "pointer"}
    beside = of | {"against": "transformer", "at": [16]}
    (cell,) = cells(rows, "accuracy_by_sequence", **of, at=[16])
    assert (cell.value, cell.runs) == (pytest.approx(0.95), 3)
    assert cell.low < 0.9 < 0.99 < cell.high
    (ratio,) = cells(rows, "tokens_to_95_reduction", **beside)
    assert (ratio.value, ratio.low, ratio.high) == (
        0,
        0,
        pytest.approx(2 / 3),
    )  # one ends at 90%: a lucky evaluation
    (ratio,) = cells([row | {"accuracy": 0.95} for row in rows], "tokens_to_95_reduction", **beside)
    assert (ratio.value, ratio.low, ratio.high) == (
        ratio.low,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    with pytest.raises(NotTestable, match="not learned"):
        cells([row | {"tokens_to_95": None} for row in rows], "tokens_to_95_reduction", **beside)
    made = [row | {"settings": {"mixer": {"candidates": "offsets+content"}}} for row in rows[:3]]
    (own,) = cells(
        made, "accuracy_by_sequence", **of, variant="candidates=offsets+content", at=[16]
    )
    assert (own.value, own.low, own.high) == (cell.value, cell.low, cell.high)
    (absent,) = cells(rows, "accuracy_by_sequence", **of, at=[64])
    assert absent.open_because == "not run"


def test_the_table_says_yes_no_and_what_was_not_run() -> None:
    rows = [counted("pointer", n, power=1) for n in (256, 512)]
    table = goals.goals(estimates.build(table_of([*ROWS, *rows])))
    met = {(line.goal, line.cell): (line.met, line.interval) for line in table.data.itertuples()}
    assert met["limit-training", "over identity, N=256"] == ("yes", "yes")
    assert met["limit-training", "over identity, N=512"] == ("–", "–")
    assert met["limit-inference", "over identity, N=256"] == ("yes", "yes")
    assert met["copy-tokens", "no tokens to stop of pointer in copy"] == ("–", "–")
    assert met["counted-work", "pointer, flops forward growth, N=512"][0] == "yes"


def test_the_summary_counts_measured_cells_and_names_the_worst_by_value() -> None:
    """At 256 a wide interval around 0.88, at 512 a narrow one around 0.87: the second is the
    worse."""
    rows = [
        timed(model, n, ms, repeat=r)
        for n, steps in ((256, (10.0, 10.8, 11.6)), (512, (10.92, 10.92, 10.93)))
        for r, own in enumerate(steps)
        for model, ms in (("pointer", own), ("identity", 9.5))
    ]
    table = goals.summary(estimates.build(table_of(rows))).wide.set_index("what")
    line = table.loc["Training near the trunk's own limit, credit included"]
    cells = len(
        next(goal for goal in ledger.read(GOALS) if goal.id == "limit-training").tests[0].at
    )
    assert line["met"] == f"2 of 2, {cells - 2} not run"
    assert line["worst cell"].startswith("over identity, N=512: 0.870 (")
    assert table.loc["It takes few training tokens"]["met"].tolist() == ["1 not run", "1 not run"]
