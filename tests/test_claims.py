"""Verdicts: each rule and each word from synthetic cells and rows, the ledger's checks, its table
and figure."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import synthetic
from synthetic import DISTANCES, LENGTHS, copied, counted, failed, table_of, timed

from workflow.report import LEDGER, claims, estimates, ledger, notes, paper_checks, render, verdicts
from workflow.report.claims import Line, judge
from workflow.report.ledger import Statement
from workflow.report.rules import Cell, Outcome, Verdict

HOLDS, DIRECTION, FAILS, OPEN = Outcome
FACTS = [
    "speed-2048", "speed-2048-unfused", "speed-256", "throughput-pointer", "throughput-transformer",
    "speed-grows", "speed-range", "linear-compute", "linear-memory", "copy-512", "copy-table",
    "copy-95", "copy-transformer", "comparable", "copy-stable", "copy-low", "same-in-inference",
    "noise-needed", "chain-needed", "hops-local", "hops-long", "perplexity", "utilisation",
    "longformer", "future-work",
    "c1", "c2", "c3", "c4", "c5", "c6",
]  # fmt: skip
CONTROLS = [
    copied(model, d, score)
    for d in DISTANCES
    for model, score in (("oracle-copy", 1.0), ("chance", 0.05))
]


def line(claim_id: str, rows: list[synthetic.Row], tier: str = "paper", reading: str = "L") -> Line:
    """Return the line of one claim of the real ledger, for a reading where it has any."""
    table, book = table_of(rows), ledger.read(LEDGER)
    chosen = [claim for claim in book.claims if claim.id == claim_id]
    one = book.model_copy(update={"claims": chosen})
    lines = judge(estimates.build(table), one, tier, claims.unsound_rows(table))
    return next((line for line in lines if line.reading == reading), lines[0])


def judged(rows: list[synthetic.Row], claims_file: Path = LEDGER) -> list[Line]:
    """Return all lines of a ledger."""
    return synthetic.judged(table_of(rows), claims_file)


def cells(rows: list[synthetic.Row], quantity: str, **keys: object) -> list[Cell]:
    """Return the cells that a test selects."""
    test = Statement.model_validate({"quantity": quantity, "rule": "at least", "value": 0, **keys})
    return test.cells(estimates.build(table_of(rows)))


def races(
    pointer_ms: dict[int, float], reference: str = "transformer-unfused", repeats: int = 3
) -> list[synthetic.Row]:
    """Repeats that agree to 1%: the pointer's milliseconds by N against 100 ms of both references
    and a fast trunk."""
    rows = []
    for repeat in range(repeats):
        noise = 1 + 0.01 * repeat
        for length, step in pointer_ms.items():
            rows.append(timed("pointer", length, step * noise, repeat=repeat))
            rows += [
                timed(name, length, 100.0, repeat=repeat) for name in ("transformer", reference)
            ]
            rows.append(timed("identity", length, min(step, 100.0) / 2, repeat=repeat))
    return rows


def seeds(model: str, accuracy: float, count: int = 3) -> list[synthetic.Row]:
    return [copied(model, d, accuracy, seed=seed) for d in DISTANCES for seed in range(count)]


def seeds_at(model: str, distance: int, accuracy: float) -> list[synthetic.Row]:
    return [copied(model, distance, accuracy, seed=seed) for seed in range(3)]


def test_a_missing_device_is_named() -> None:
    found = line("throughput-pointer", races({2048: 50.0}))
    assert (found.verdict, found.why) == (Verdict.NOT_TESTABLE, "no throughput of pointer on mps")
    absent = [failed("unsupported", "no MPS device", model="pointer", device="mps")]
    assert "unsupported: no MPS device (1 of 1 runs)" in line("throughput-pointer", absent).why


def test_a_few_cells_in_bfloat16_take_no_verdict_away() -> None:
    full, low = CONTROLS + seeds("pointer", 1.0), CONTROLS + seeds_at("pointer", 512, 1.0)
    low = [row | {"dtype": "bfloat16"} for row in low]
    assert line("copy-95", full + low).verdict == Verdict.REPRODUCED
    assert (
        line("copy-95", low).verdict == Verdict.INCONCLUSIVE
    )  # where they are all there is, they are judged


def test_a_device_where_nothing_ran_has_no_say() -> None:
    absent = [failed("unsupported", "no CUDA device", model="pointer", device="cuda", length=2048)]
    assert line("speed-2048", races({2048: 100 / 3}) + absent).verdict == Verdict.REPRODUCED


def work(
    pointer: int, attention: int, lengths: Sequence[int] = (*LENGTHS, 8192)
) -> list[synthetic.Row]:
    """Counted work of the pointer and of attention, each linear (1) or quadratic (2)."""
    return [
        counted(model, n, power)
        for n in lengths
        for model, power in (
            ("pointer", pointer),
            ("transformer-unfused", attention),
            ("transformer", attention),
        )
    ]


def test_the_factor_is_judged_at_the_length_that_it_was_claimed_for() -> None:
    huge = [*work(1, 2), counted("transformer-unfused", 2**20, 2), counted("pointer", 2**20, 1)]
    given = {"model": "pointer", "against": "transformer-unfused", "at": [8192]}
    (factor,) = cells(huge, "saved_bytes_per_sequence_reduction", **given)
    assert factor.label.endswith("N=8192")
    assert factor.value < 100


def test_time_that_grows_faster_than_work_is_named() -> None:
    steep = {n: (n / 256) ** 0.6 * 25.0 for n in LENGTHS}  # of 4096 tokens: N^1.6 a sequence
    for counted_power, noted in ((1, True), (2, False)):
        table = estimates.build(table_of([*races(steep), *work(counted_power, 2)]))
        (found,) = estimates.select(
            table, "time_exponent", model="pointer", phase="training", x=256
        )["low"]
        assert found == pytest.approx(1.6)
        (note,) = notes.scaling(table, table)
        assert ("pointer (1.60 against 1.00)" in note) is noted
        assert "transformer" not in note


def test_every_distance_means_also_those_that_the_paper_leaves_out() -> None:
    rows = CONTROLS + seeds("pointer", 0.999)
    assert line("copy-95", rows + seeds_at("pointer", 777, 0.999)).verdict == Verdict.REPRODUCED
    assert line("copy-95", rows + seeds_at("pointer", 777, 0.05)).verdict == Verdict.PARTIALLY
    assert line("copy-95", rows + seeds_at("pointer", 8191, 0.05)).verdict == Verdict.REPRODUCED


def test_the_largest_budget_decides() -> None:
    """What was not learned in fewer tokens says nothing against what more of them teach."""
    for tokens, verdict in ((10_000, Verdict.REPRODUCED), (10**6, Verdict.NOT_REPRODUCED)):
        other = [
            copied("pointer", d, 0.05, seed=seed, tokens_budget=tokens)
            for d in DISTANCES
            for seed in range(3)
        ]
        found = line("copy-95", CONTROLS + seeds("pointer", 0.999) + other)
        assert found.verdict == verdict
        assert {label for label, _ in found.outcomes} == {
            f"pointer, D={d}, {max(tokens, 100_000):,} tokens" for d in DISTANCES
        }


def test_an_open_verdict_names_the_command_that_may_close_it() -> None:
    assert line("speed-2048", races({2048: 100 / 3}, repeats=2)).why.endswith(
        "next: snakemake --cores 4 paper"
    )
    straddling = [
        timed(model, 2048, ms, repeat=repeat)
        for repeat, pointer_ms in enumerate((20.0, 40.0, 90.0))
        for model, ms in (("pointer", pointer_ms), ("transformer", 100.0), ("identity", 15.0))
    ]
    assert line("speed-2048", straddling).why.endswith("next: snakemake --cores 4 decide")


def test_seeds_that_failed_are_not_left_out() -> None:
    given = {"distance": 2048, "length": 2176, "batch": 1, "seed": 3, "tokens_budget": 100_000}
    lost = [failed("diverged", "nan", experiment="copy", model="pointer", **given)]
    found = line("copy-95", CONTROLS + seeds("pointer", 0.999) + lost)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "1 of 4 runs diverged" in found.why
    oom = [
        failed("oom", "killed", model="transformer", repeat=3),
        timed("pointer", 2048, 30.0, repeat=3),
    ]
    assert "1 of 4 runs no pair" in line("speed-2048", races({2048: 100 / 3}) + oom).why


def test_a_copied_row_is_no_further_run() -> None:
    again = [copied("pointer", d, 0.998, seed=seed) for d in DISTANCES for seed in (0, 1)]
    found = line("copy-95", CONTROLS + seeds("pointer", 0.999, count=2) + again)
    assert (found.verdict, "2 of 3 runs" in found.why) == (Verdict.INCONCLUSIVE, True)
    twice = [*races({2048: 100 / 3}, repeats=2), timed("pointer", 2048, 34.0, repeat=1)]
    assert line("speed-2048", twice).verdict == Verdict.INCONCLUSIVE


def test_long_means_every_length_from_the_papers_on() -> None:
    assert line("speed-range", races({2048: 40.0, 8192: 40.0})).verdict == Verdict.REPRODUCED
    assert line("speed-range", races({2048: 40.0, 8192: 140.0})).verdict == Verdict.PARTIALLY


def test_a_length_at_which_a_model_failed_is_not_left_out() -> None:
    lost = [
        failed("oom", "no memory", model="transformer", length=4096, repeat=r) for r in range(3)
    ]
    held = [*races({2048: 100 / 3, 4096: 100 / 3})]
    assert line("speed-range", held).verdict == Verdict.REPRODUCED
    kept = [row for row in held if (row["model"], row["length"]) != ("transformer", 4096)]
    found = line("speed-range", kept + lost)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "over transformer, N=4096" in [
        label for label, said in found.outcomes if said == Outcome.OPEN
    ]


def test_the_table_shows_the_cells_first_that_decide() -> None:
    found = line("speed-grows", races(dict(zip(LENGTHS, (40.0, 20.0, 30.0, 10.0), strict=True))))
    shown = [cell.label.rpartition(", ")[2] for cell in claims.deciding(found)]
    assert shown[0] == "N=1024"  # the doubling that does not rise
    assert sorted(shown) == sorted(cell.label.rpartition(", ")[2] for cell in found.cells)


def test_guessing_is_that_of_the_copy_task() -> None:
    other = [
        copied("pointer", 512, 0.9, chance=0.001)
        | {"experiment": "induction", "task": {"name": "induction"}}
    ]
    assert line("c1", other + CONTROLS).verdict == Verdict.REPRODUCED
    assert "no copy row gives the vocabulary" in [label for label, _ in line("c1", other).outcomes]


def test_arithmetic_of_the_paper() -> None:
    empty = estimates.build(table_of([]))
    assert paper_checks.time_exponent(empty)[0].value == pytest.approx(1.4, abs=0.01)
    assert [round(c.value, 1) for c in paper_checks.sequences_a_cell(empty)] == [20.0, 20.0]
    assert paper_checks.operations_ratio(empty)[0].value == pytest.approx(10_000 / 8192)
    assert paper_checks.uniform_hop(empty)[0].value == pytest.approx(128.0)


def test_controls_that_are_off_make_every_verdict_invalid() -> None:
    wrong = [copied("oracle-copy", 512, 0.99), copied("chance", 512, 0.2)]
    lines = judged(wrong + seeds("pointer", 0.999))
    assert {line.verdict for line in lines} == {Verdict.INVALID}
    assert "oracle-copy scores 99.00% at D=512, not 100.00%" in lines[0].why
    assert "chance scores 20.00%" in lines[0].why


def test_rows_that_do_not_stand_side_by_side_make_every_verdict_invalid() -> None:
    rows = races({2048: 100 / 3})
    at_once = [
        *rows,
        timed(
            "longformer",
            2048,
            50.0,
            repeat=9,
            **{key: rows[0][key] for key in ("started", "ended")},
        ),
    ]
    lines = judged(at_once)
    assert {line.verdict for line in lines} == {Verdict.UNSOUND}
    assert "ran at once for 9 s" in lines[0].why
    edited = [*rows, timed("pointer", 1024, 50.0, source_hash="1" * 64)]
    assert "come from other sources than the newest" in judged(edited)[0].why


def test_a_row_that_verify_refuses_gives_no_verdict() -> None:
    wrong = CONTROLS + seeds("pointer", 0.999)
    wrong[-1] |= {"accuracy_low": 0.1, "accuracy_high": 0.2}
    lines = judged(wrong)
    assert {line.verdict for line in lines} == {Verdict.UNSOUND}
    assert "accuracy lies outside its interval" in lines[0].why


def test_smoke_gives_no_verdict(tmp_path: Path) -> None:
    lines = synthetic.judged(table_of(synthetic.grid()), LEDGER, "smoke")
    assert {line.verdict for line in lines} == {Verdict.SMOKE}
    files = render.write(claims.table(lines), tmp_path, "smoke")
    said = f"{len(lines)} verdicts, no verdict: smoke: runs of smoke size decide nothing"
    assert verdicts.text(next(file for file in files if file.suffix == ".csv")) == said


def test_a_reading_that_takes_more_is_attainable_and_not_reproduced() -> None:
    rows = CONTROLS + seeds("pointer", 0.999) + seeds("pointer-formula", 0.999)
    assert line("copy-95", rows, reading="L").words == "attainable"
    assert line("copy-95", rows, reading="F").words == "reproduced"
    worse = CONTROLS + seeds("pointer", 0.05) + seeds("pointer-formula", 0.05)
    assert line("copy-95", worse, reading="L").words == "not attained"
    assert line("copy-95", worse, reading="F").words == "not reproduced"


def test_seeds_of_two_machines_are_pooled_where_no_time_is_judged() -> None:
    here = [copied("pointer", d, 0.999, seed=seed) for d in DISTANCES for seed in (0, 1)]
    there = [copied("pointer", d, 0.999, seed=seed) for d in DISTANCES for seed in (1, 2)]
    there = [row | {"machine": synthetic.LAPTOP} for row in there]
    assert line("copy-95", CONTROLS + here).verdict == Verdict.INCONCLUSIVE
    found = line("copy-95", CONTROLS + here + there)
    assert (found.verdict, {cell.runs for cell in found.cells}) == (Verdict.REPRODUCED, {3})
