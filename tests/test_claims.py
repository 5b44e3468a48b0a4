"""Verdicts: each word from synthetic rows, and the ledger, its table and figure."""

import itertools
import math
import re

import pytest
import synthetic
import yaml
from synthetic import DISTANCES, LENGTHS, copied, counted, failed, store, table_of, timed

from pointer.errors import InputError
from workflow.report import LEDGER, claims, estimates, frame, ledger, notes, render, verdicts
from workflow.report.__main__ import main
from workflow.report.ledger import Statement
from workflow.report.paper_checks import checks
from workflow.report.rules import Outcome, Verdict

OPEN = Outcome.OPEN
CONTROLS = [copied("oracle-copy", d, 1.0) for d in DISTANCES]
CONTROLS += [copied("chance", d, 0.05) for d in DISTANCES]
BUILT = {}  # estimates and faults by rows, for many claims are judged from the same


def line(claim_id, rows, tier="paper", reading="L"):
    """Return the line of one claim of the real ledger, for a reading where it has any."""
    key, book = repr(rows), ledger.read(LEDGER)
    chosen = [claim for claim in book.claims if claim.id == claim_id]
    one = book.model_copy(update={"claims": chosen})
    if key not in BUILT:
        table = table_of(rows)
        BUILT[key] = estimates.build(table), claims.unsound_rows(table)
    numbers, unsound = BUILT[key]
    lines = claims.judge(numbers, one, tier, unsound)
    return next((line for line in lines if line.reading == reading), lines[0])


def races(pointer_ms, repeats=3):
    """Repeats that agree to 1%: milliseconds by N against 100 of both references."""
    rows = []
    for (length, step), repeat in itertools.product(pointer_ms.items(), range(repeats)):
        times = {"pointer": step * (1 + 0.01 * repeat), "identity": min(step, 100.0) / 2}
        times |= {"transformer": 100.0, "transformer-unfused": 100.0}
        rows += [timed(model, length, ms, repeat=repeat) for model, ms in times.items()]
    return rows


def seeds(model, accuracy, count=3, at=DISTANCES):
    return [copied(model, d, accuracy, seed=seed) for d in at for seed in range(count)]


def test_what_is_missing_is_named():
    copy = {"experiment": "copy", "distance": 512, "length": 640, "batch": 2, "device": "mps"}
    absent = [failed("unsupported", "no MPS device", model="pointer", **copy)]
    for rows, why in ((CONTROLS, "no accuracy of pointer"), (CONTROLS + absent, "no MPS device")):
        found = line("copy-95", rows)
        assert (found.verdict, why in found.why) == (Verdict.NOT_TESTABLE, True), found.why


def work(pointer, attention, lengths=(*LENGTHS, 8192)):
    """Counted work of the pointer and of attention, each linear (1) or quadratic (2)."""
    powers = {"pointer": pointer, "transformer-unfused": attention, "transformer": attention}
    return [counted(model, n, power) for n in lengths for model, power in powers.items()]


def test_the_factor_is_judged_at_the_length_that_it_was_claimed_for():
    huge = [*work(1, 2), counted("transformer-unfused", 2**20, 2), counted("pointer", 2**20, 1)]
    asked = {"quantity": "saved_bytes_per_sequence_reduction", "rule": "at least", "value": 0}
    asked |= {"model": "pointer", "against": "transformer-unfused", "at": [8192]}
    (factor,), _ = Statement.model_validate(asked).cells(estimates.build(table_of(huge)))
    assert factor.label.endswith("N=8192")
    assert factor.value < 100


def test_time_that_grows_faster_than_work_is_named():
    steep = {n: (n / 256) ** 0.6 * 25.0 for n in LENGTHS}  # of 4096 tokens: N^1.6 a sequence
    for counted_power, noted in ((1, True), (2, False)):
        table = estimates.build(table_of([*races(steep), *work(counted_power, 2)]))
        keys = {"model": "pointer", "phase": "training", "x": 256}
        (found,) = estimates.select(table, "time_exponent", **keys)["low"]
        assert found == pytest.approx(1.6)
        (note,) = notes.scaling(table, table)
        assert ("pointer (1.60 against 1.00)" in note) is noted
        assert "transformer" not in note


def test_the_largest_budget_decides():
    """What was not learned in fewer tokens says nothing against what more of them teach."""
    for tokens, verdict in ((10_000, Verdict.REPRODUCED), (10**6, Verdict.NOT_REPRODUCED)):
        other = [row | {"tokens_budget": tokens} for row in seeds("pointer", 0.05)]
        found = line("copy-95", CONTROLS + seeds("pointer", 0.999) + other)
        assert found.verdict == verdict
        budget = "100,000 tokens" if tokens < 100_000 else "98,304 of 1,000,000 tokens"
        budget = budget if verdict == Verdict.NOT_REPRODUCED else f"49,152 of {budget}"
        labels = {f"pointer, D={d}, {budget}" for d in DISTANCES}
        assert {label for label, _ in found.outcomes} == labels


def test_an_open_verdict_names_the_command_that_may_close_it():
    few = line("speed-2048", races({2048: 100 / 3}, repeats=2))
    assert few.why.endswith("next: snakemake --cores 4 paper")
    straddling = []
    for repeat, pointer_ms in enumerate((20.0, 40.0, 90.0)):
        times = {"pointer": pointer_ms, "transformer": 100.0, "identity": 15.0}
        straddling += [timed(name, 2048, ms, repeat=repeat) for name, ms in times.items()]
    assert line("speed-2048", straddling).why.endswith("next: snakemake --cores 4 decide")


def test_seeds_that_failed_are_not_left_out():
    given = {"distance": 2048, "length": 2176, "batch": 1, "seed": 3, "tokens_budget": 100_000}
    lost = [failed("diverged", "nan", experiment="copy", model="pointer", **given)]
    found = line("copy-95", CONTROLS + seeds("pointer", 0.999) + lost)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "1 of 4 runs diverged" in found.why
    oom = [failed("oom", "killed", model="transformer", repeat=3)]
    oom.append(timed("pointer", 2048, 30.0, repeat=3))
    assert "1 of 4 runs no pair" in line("speed-2048", races({2048: 100 / 3}) + oom).why


@pytest.mark.parametrize("model", ["pointer", "transformer"])
def test_a_length_at_which_a_model_failed_is_open_but_no_cell_where_the_reference_did(model):
    lost = [
        failed("oom", "no memory", model=model, length=4096, repeat=repeat) for repeat in range(3)
    ]
    held = races({2048: 100 / 3, 4096: 100 / 3})
    assert line("speed-range", held).verdict == Verdict.REPRODUCED
    kept = [row for row in held if (row["model"], row["length"]) != (model, 4096)]
    found = line("speed-range", kept + lost)
    if model == "pointer":
        assert found.verdict == Verdict.INCONCLUSIVE
        assert ("over transformer, N=4096", OPEN) in found.outcomes
    else:
        assert found.verdict == Verdict.REPRODUCED
        assert "no cell at N=4096: no pair: transformer of the same session is oom" in found.why


def test_guessing_is_that_of_the_copy_task():
    induction = {"experiment": "induction", "task": {"name": "induction"}}
    other = [copied("pointer", 512, 0.9, chance=0.001) | induction]
    assert line("c1", other + CONTROLS).verdict == Verdict.REPRODUCED
    assert "no copy row gives the vocabulary" in [label for label, _ in line("c1", other).outcomes]


def test_arithmetic_of_the_paper():
    cells = checks(estimates.build(table_of([])))
    assert cells["time_exponent"][0].value == pytest.approx(1.4, abs=0.01)
    assert [round(c.value, 1) for c in cells["sequences_a_cell"]] == [20.0, 20.0]
    assert cells["operations_ratio"][0].value == pytest.approx(10_000 / 8192)
    assert cells["uniform_hop"][0].value == pytest.approx(128.0)


def test_controls_that_are_off_make_every_verdict_invalid():
    wrong = [copied("oracle-copy", 512, 0.99), copied("chance", 512, 0.2)]
    lines = synthetic.judged(table_of(wrong + seeds("pointer", 0.999)))
    assert {line.verdict for line in lines} == {Verdict.INVALID}
    assert "oracle-copy scores 99.00% at D=512, not 100.00%" in lines[0].why
    assert "chance scores 20.00%" in lines[0].why


TIMED = races({2048: 100 / 3})
SAME = {key: TIMED[0][key] for key in ("started", "ended")}
REFUSED = [
    ([*TIMED, timed("longformer", 2048, 50.0, repeat=9, **SAME)], "ran at once for 9 s"),
    ([*TIMED, timed("pointer", 1024, 50.0, source_hash="1" * 64)], "other sources than the newest"),
    ([*CONTROLS, copied("pointer", 512, 0.9, accuracy_low=0.95)], "lies outside its interval"),
]


@pytest.mark.parametrize(("rows", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_rows_that_verify_refuses_give_no_verdict(rows, words):
    lines = synthetic.judged(table_of(rows))
    assert {line.verdict for line in lines} == {Verdict.UNSOUND}
    assert words in lines[0].why


def test_smoke_gives_no_verdict(tmp_path, grid):
    lines = synthetic.judged(*grid, "smoke")
    assert {line.verdict for line in lines} == {Verdict.SMOKE}
    files = render.write(claims.table(lines), tmp_path, "smoke")
    said = f"{len(lines)} verdicts, no verdict: smoke: runs of smoke size decide nothing"
    assert verdicts.text(next(file for file in files if file.suffix == ".csv")) == said


def test_a_reading_that_takes_more_is_attainable_and_not_reproduced():
    rows = CONTROLS + seeds("pointer", 0.999) + seeds("pointer-formula", 0.999)
    assert line("copy-95", rows, reading="L").words == "attainable"
    assert line("copy-95", rows, reading="F").words == "reproduced"
    worse = CONTROLS + seeds("pointer", 0.05) + seeds("pointer-formula", 0.05)
    assert line("copy-95", worse, reading="L").words == "not attained"
    assert line("copy-95", worse, reading="F").words == "not reproduced"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "at lest"}, "Did you mean 'at least'"),
        ({"quantity": "speedupp"}, "Did you mean 'speedup'"),
        ({"modle": "pointer"}, "Did you mean 'model'"),
        ({"model": "pointr"}, "Did you mean 'pointer'"),
        ({"value": math.nan}, "'.nan' is no plain decimal number"),
        ({"value": "1e999"}, "value is '1e999'; accepted: a finite number"),
        ({"value": None, "quantity": "loss"}, "a value, unless the paper publishes the quantity"),
        ({"margin": -1}, "margin is -1"),
    ],
)
def test_a_wrong_ledger_is_refused_by_name(tmp_path, change, message):
    test = {"quantity": "speedup", "model": "pointer", "rule": "at least", "value": 1} | change
    entry = {"id": "a", "claim": "c", "figure": "f", "source": "s", "tests": [test]}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"readings": {}, "claims": [entry]}), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        ledger.read(path)
    assert str(path) in str(error.value)


def test_table_and_figure_are_written_and_a_line_a_claim_is_printed(tmp_path, capsys):
    manifest = store(CONTROLS + seeds("pointer", 0.999), tmp_path / "runs")
    frame.collect(manifest, tmp_path)
    rows, numbers = (str(tmp_path / f"{name}.parquet") for name in ("rows", "estimates"))
    assert main(["estimates", "--rows", rows, "--out", str(tmp_path)]) == 0
    assert main(["make", str(tmp_path / "tables" / "claims.csv"), "--from", rows, numbers]) == 0
    capsys.readouterr()
    assert main(["verdicts", "--table", str(tmp_path / "tables" / "claims.csv")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Does Pointer work? Pointer, formula as printed"
    assert len(printed) <= 12
    assert all(len(told) <= verdicts.WIDEST for told in printed)
    assert any("attainable: 98.38% when copying" in told for told in printed)
    assert main(["verdicts", "--table", str(tmp_path / "nothing.csv")]) == 2
    written = {p.name for p in (tmp_path / "tables").iterdir()}
    assert written == {f"claims.{kind}" for kind in ("csv", "md", "tex", "html")}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"claims.png", "claims.svg"}
    assert "| copy-95" in (tmp_path / "tables" / "claims.md").read_text(encoding="utf-8")
