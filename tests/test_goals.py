"""The goals of `pointer` and the metrics that only they use, from synthetic rows."""

from __future__ import annotations

import math

import pytest
from synthetic import copied, counted, failed, table_of, timed

from workflow.report import GOALS, cost_metrics, goals, ledger
from workflow.report.metrics import NotTestable

ROWS = [
    timed(model, n, ms, repeat=r) for r in range(3) for n, model, ms in ((256, "pointer", 10), (256, "identity", 9.5))
]


def test_every_goal_has_tests_and_every_test_a_figure_of_its_own() -> None:
    read = ledger.read(GOALS)
    assert len(read) > 10
    assert all(goal.tests for goal in read)
    assert all(test.rule.value is not None for goal in read for test in goal.tests)


def test_faster_is_the_references_time_over_the_models_by_pairs() -> None:
    (cell,) = cost_metrics.faster(table_of(with_means(ROWS)), model="pointer", reference="identity", at=[256])
    assert cell.value == pytest.approx(0.95)
    assert (cell.low, cell.high, cell.runs) == (pytest.approx(0.95), pytest.approx(0.95), 3)


def test_two_phases_of_one_model_can_be_compared() -> None:
    rows = with_means([timed("pointer", 256, 30.0, forward_ms_mean=12.0, inference_ms_mean=10.0)])
    given = {"model": "pointer", "reference": "pointer", "phase": "inference", "reference_phase": "forward"}
    (cell,) = cost_metrics.faster(table_of(rows), at=[256], **given)
    assert cell.value == pytest.approx(1.2)


def test_what_failed_is_named_and_what_is_absent_is_not_testable() -> None:
    gone = failed("oom", "no memory", experiment="efficiency", model="identity", length=512, batch=8)
    frame = table_of([*with_means([timed("pointer", 512, 10.0)]), gone])
    (cell,) = cost_metrics.faster(frame, model="pointer", reference="identity", at=[512])
    assert cell.open_because == "identity: oom"
    with pytest.raises(NotTestable, match="no efficiency row of longformer"):
        cost_metrics.faster(frame, model="pointer", reference="longformer", at=[512])


def test_machines_are_never_pooled() -> None:
    there = [row | {"machine": "another", "step_ms_mean": 2 * row["step_ms_mean"]} for row in with_means(ROWS)]
    cells = cost_metrics.faster(table_of([*with_means(ROWS), *there]), model="pointer", reference="identity", at=[256])
    assert [cell.runs for cell in cells] == [3, 3]
    assert [cell.label.partition(", ")[2].partition(",")[0] for cell in cells] == [
        "Intel(R) Xeon(R) Processor @ 2.10GHz",
        "another",
    ]


def test_peaks_are_compared_as_a_ratio_with_the_runs_range() -> None:
    rows = [timed("pointer", 256, 10.0, repeat=r, peak_memory_bytes=b) for r, b in enumerate((100, 110, 120))]
    rows += [timed("transformer", 256, 10.0, repeat=r, peak_memory_bytes=1100) for r in range(3)]
    (cell,) = cost_metrics.smaller_peak(table_of(rows), model="pointer", reference="transformer", at=[256])
    assert (cell.value, cell.low, cell.high) == (10.0, pytest.approx(1100 / 120), 11.0)


def test_the_exponent_of_time_is_one_where_throughput_is_constant() -> None:
    rows = [timed("pointer", n, 10.0) for n in (512, 1024, 2048)]
    (cell,) = cost_metrics.time_growth(table_of(rows), model="pointer", at=[512, 1024, 2048])
    assert cell.value == pytest.approx(1.0)
    with pytest.raises(NotTestable, match="did not run at all of"):
        cost_metrics.time_growth(table_of(rows), model="pointer", at=[512, 4096])


def test_tokens_are_those_of_the_worst_seed_and_a_reference_that_never_learns_counts_its_budget() -> None:
    mine = [copied("pointer", 512, 1.0, seed=s, tokens_used=60_000 + s, tokens_to_95=40_000) for s in range(3)]
    theirs = [copied("transformer", 512, 0.05, seed=s, tokens_used=1_000_000, tokens_to_95=None) for s in range(3)]
    (used,) = cost_metrics.copy_tokens(table_of(mine + theirs), model="pointer", at=[512])
    assert used.value == 60_002
    lost = [row | {"tokens_to_95": None} if row["seed"] == 1 else row for row in mine]
    (never,) = cost_metrics.copy_tokens(table_of(lost), model="pointer", at=[512])
    assert math.isinf(never.value)
    frame = table_of([row | {"experiment": "fairness"} for row in mine + theirs])
    (ratio,) = cost_metrics.sooner(frame, model="pointer", reference="transformer", at=[512])
    assert ratio.value == pytest.approx(25)
    assert ratio.label == "D=512 (transformer never: its budget)"
    (never,) = cost_metrics.sooner(frame, model="transformer", reference="pointer", at=[512])
    assert (never.value, never.low, never.high, never.open_because) == (0, 0, 0, "")


def test_recall_is_judged_by_task_size_and_tokens_beside_the_reference() -> None:
    known = {"experiment": "mqar", "task": "mqar", "distance": None, "pairs": 16, "length": 256}
    rows = [copied("pointer", 0, 0.9 + 0.05 * s, seed=s, tokens_to_95=60_000) | known for s in range(3)]
    rows += [copied("transformer", 0, 1.0, seed=s, tokens_to_95=20_000 + 10_000 * s) | known for s in range(3)]
    (cell,) = cost_metrics.task_accuracy(table_of(rows[:3]), model="pointer", task="mqar", at=[16])
    assert (cell.value, cell.runs) == (pytest.approx(0.95), 3)
    assert cell.low < 0.9 < 0.99 < cell.high
    (ratio,) = cost_metrics.sooner(table_of(rows), model="pointer", reference="transformer", task="mqar", at=[16])
    assert (ratio.value, ratio.low, ratio.high) == (0, 0, pytest.approx(2 / 3))  # one ends at 90%: a lucky look
    kept = table_of([row | {"accuracy": 0.95} for row in rows])
    (ratio,) = cost_metrics.sooner(kept, model="pointer", reference="transformer", task="mqar", at=[16])
    assert (ratio.value, ratio.low, ratio.high) == (ratio.low, pytest.approx(1 / 3), pytest.approx(2 / 3))
    (never,) = cost_metrics.sooner(
        table_of([row | {"tokens_to_95": None} for row in rows]),
        model="pointer",
        reference="transformer",
        task="mqar",
        at=[16],
    )
    assert never.open_because == "not learned"
    made = [row | {"settings": {"mixer": {"candidates": "offsets+content"}}} for row in rows[:3]]
    (own,) = cost_metrics.task_accuracy(
        table_of(made), model="pointer", candidates="offsets+content", task="mqar", at=[16]
    )
    assert own == cell
    (absent,) = cost_metrics.task_accuracy(table_of(rows), model="pointer", task="mqar", at=[64])
    assert absent.open_because == "not run"


def test_the_table_says_yes_no_and_what_was_not_run() -> None:
    rows = [counted("pointer", n, power=1) for n in (256, 512)]
    table = goals.goals(table_of([*with_means(ROWS), *rows]))
    met = {(line.goal, line.cell): (line.met, line.interval) for line in table.data.itertuples()}
    assert met["limit-training", "N=256"] == ("yes", "yes")
    assert met["limit-training", "N=512"] == ("–", "–")
    assert met["limit-inference", "N=256"] == ("yes", "yes")
    assert met["copy-tokens", "no copy row of pointer in float32"] == ("–", "–")
    assert met["counted-work", "pointer, flops_forward, N=256 to 512"][0] == "yes"


def test_the_summary_counts_measured_cells_and_names_the_worst_by_value() -> None:
    """At 256 a wide interval around 0.88, at 512 a narrow one around 0.87: the second is the worse."""
    rows = [
        timed(model, n, ms, repeat=r)
        for n, steps in ((256, (10.0, 10.8, 11.6)), (512, (10.92, 10.92, 10.93)))
        for r, own in enumerate(steps)
        for model, ms in (("pointer", own), ("identity", 9.5))
    ]
    table = goals.summary(table_of(with_means(rows))).wide.set_index("what")
    line = table.loc["Training near the trunk's own limit, credit included"]
    cells = len(next(goal for goal in ledger.read(GOALS) if goal.id == "limit-training").tests[0].given["at"])
    assert line["met"] == f"2 of 2, {cells - 2} not run"
    assert line["worst cell"].startswith("N=512: 0.870 (")
    assert table.loc["It takes few training tokens"]["met"].tolist() == ["1 not run", "1 not run"]


def with_means(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Timed rows with the mean milliseconds that real rows have."""
    return [
        {"step_ms_mean": r["step_ms"], "inference_ms_mean": r["inference_ms"]}
        | {k: v for k, v in r.items() if v is not None}
        for r in rows
    ]
