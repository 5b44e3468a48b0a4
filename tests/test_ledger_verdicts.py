"""Every claim of the ledger under every verdict that rows can give it, from synthetic rows."""

import itertools

import pytest
from synthetic import DISTANCES, LAPTOP, LENGTHS, copied, counted, failed, row, traced
from test_claims import CONTROLS, line, races, seeds, work

from workflow.report import LEDGER, ledger
from workflow.report.rules import Verdict

YES, PARTLY, NO = Verdict.REPRODUCED, Verdict.PARTIALLY, Verdict.NOT_REPRODUCED
OPEN, UNTESTED = Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE
NEED_ROWS = ("speed-2048", "speed-grows", "speed-range", "speed-2048-unfused", "linear-compute")
NEED_ROWS += ("linear-memory", "hops-long", "perplexity")
NEED_MORE = ("copy-512", "noise-needed", "chain-needed", "copy-95", "copy-table", "copy-low")
NEED_MORE += ("same-in-inference-khop",)
FIXED = ("c2", "c4", "c5")  # the paper's own numbers alone: no row changes them


def text(mean, longest, count=3, **values):
    """Seeds trained on text: mean hop of the lower layers, longest of the upper ones."""
    hops = {"hops_mean": [mean] * 3 + [100.0] * 3, "hops_max": [60] * 3 + [longest] * 3}
    given = {"task": "bytes", "distance": None, "length": 1024, "tokens_budget": 10**6}
    traced = given | hops | values | {"experiment": "interpretability", "bits_per_byte": 2.0}
    alone = row(**given, experiment="bytes", model="identity", bits_per_byte=2.5)
    return [alone, *(row(**traced, seed=seed) for seed in range(count))]


def copies(pointer, transformer):
    return CONTROLS + seeds("pointer", pointer) + seeds("transformer", transformer)


def wobbly(model, step, **values):
    """Seeds whose accuracy falls from distance to distance, each a little differently."""
    rows = []
    for (place, distance), seed in itertools.product(enumerate(DISTANCES), range(3)):
        accuracy = 0.99 - (step + 0.001 * seed) * place
        rows.append(copied(model, distance, accuracy, seed=seed, **values))
    return rows


def public_code(loss, utilisation):
    """Seeds of the repository's block on text, its hops as uniform weights give them."""
    given = {"experiment": "repository", "model": "pointer-repository", "length": 512}
    given |= {"loss": loss, "utilisation": utilisation, "hops_mean": [128.0] * 6}
    return [row(**given, seed=seed) for seed in range(3)]


STEADY = races(dict.fromkeys(LENGTHS, 25.0))
TWO_RACES = races({2048: 100 / 3}, repeats=2)
NO_CUDA = failed("unsupported", "no CUDA device", model="pointer", device="cuda", length=2048)
HALF = {"chance": 0.5, "symbols": 2}
LOW = [row | {"dtype": "bfloat16"} for row in CONTROLS + seeds("pointer", 1.0, at=(512,))]
FIRST = [copied("pointer", d, 0.05, tokens_budget=10**6) for d in DISTANCES]
THERE = [row | {"machine": LAPTOP} for row in seeds("pointer", 0.999) if row["seed"]]
GUESSING = (("untrained", "pointer-formula"), ("copy", "identity"), ("copy", "uniform"))
UNTRAINED = [
    copied(model, distance, 0.05, seed=seed, loss=2.996, experiment=experiment)
    for experiment, model in GUESSING
    for distance in DISTANCES
    for seed in range(3)
]


def with_soft(accuracy, soft):
    whole = {"accuracy_train_mode": soft, "tokens_used": 100_000}
    return [row | whole for row in seeds("pointer-formula", accuracy)]


def hopping(chained, alone, **values):
    """Seeds of the formula at 1 to 3 hops, with one pointer and with two, with the chain and
    without it."""
    given = {"experiment": "khop", "model": "pointer-formula", "n_evaluated": 10_000}
    given |= {"trunk": {"layers": 4, "width": 64, "heads": 2}, "tokens_used": 100_000, **values}
    rows = []
    for hops, heads, seed in itertools.product((1, 2, 3), ({}, {"pointer_heads": 2}), range(3)):
        for accuracy, further in ((chained, {}), (alone, {"chain": False})):
            settings = {"mixer": {**further, **heads}}
            own = {"hops": hops, "accuracy": accuracy + seed / 1000, "seed": seed}
            rows.append(row(**given, **own, settings=settings))
    return CONTROLS + rows


CASES = [
    ("speed-2048", YES, races({2048: 100 / 3})),
    ("speed-2048", PARTLY, races({2048: 100 / 1.5})),
    ("speed-2048", NO, races({2048: 200.0})),
    ("speed-2048", OPEN, TWO_RACES),
    ("speed-2048", YES, [*races({2048: 100 / 3}), NO_CUDA]),
    ("throughput-pointer", UNTESTED, races({2048: 50.0})),
    ("throughput-transformer", UNTESTED, races({2048: 50.0})),
    ("speed-grows", YES, races({n: 100.0 / (1 + i) for i, n in enumerate(LENGTHS)})),
    ("speed-grows", PARTLY, races(dict(zip(LENGTHS, (100.0, 40.0, 60.0, 20.0), strict=True)))),
    ("speed-grows", NO, races({n: 100.0 * (1 + i) for i, n in enumerate(LENGTHS)})),
    ("speed-grows", OPEN, races(dict.fromkeys(LENGTHS, 50.0))),
    ("speed-range", YES, races({2048: 40.0})),
    ("speed-range", YES, races({2048: 40.0, 8192: 40.0})),
    ("speed-range", PARTLY, races({2048: 40.0, 8192: 140.0})),
    ("speed-range", NO, races({2048: 200.0})),
    ("speed-range", OPEN, races({2048: 40.0}, repeats=1)),
    ("speed-2048-unfused", YES, races({2048: 100 / 3})),
    ("speed-256", YES, races({256: 250.0})),
    ("speed-256", NO, races({256: 80.0})),
    ("speed-256", PARTLY, races({256: 110.0})),
    ("linear-compute", YES, work(1, 2)),
    ("linear-compute", NO, work(2, 1)),
    ("linear-compute", OPEN, work(1, 2, (512, 1024))),
    ("linear-memory", YES, work(1, 2)),
    ("linear-memory", NO, work(2, 1)),
    ("copy-512", YES, CONTROLS + seeds("pointer", 0.99)),
    ("copy-512", NO, CONTROLS + seeds("pointer", 0.95)),
    ("copy-transformer", YES, copies(0.97, 0.99)),
    ("copy-transformer", PARTLY, CONTROLS + seeds("transformer", 0.95)),
    ("copy-transformer", NO, CONTROLS + seeds("transformer", 0.05)),
    ("comparable", YES, copies(0.97, 0.98)),
    ("comparable", NO, copies(0.5, 0.98)),
    ("comparable", UNTESTED, CONTROLS + seeds("pointer", 0.97)),
    ("comparable", UNTESTED, copies(0.97, 0.3)),
    ("same-in-inference", YES, CONTROLS + with_soft(0.99, 0.99)),
    ("same-in-inference", NO, CONTROLS + with_soft(0.9, 1.0)),
    ("same-in-inference-khop", YES, hopping(0.99, 0.9, accuracy_train_mode=0.991)),
    ("same-in-inference-khop", NO, hopping(0.5, 0.5, accuracy_train_mode=0.99)),
    ("chain-needed", YES, hopping(0.99, 0.5)),
    ("chain-needed", NO, hopping(0.98, 0.99)),
    ("chain-needed", UNTESTED, hopping(0.5, 0.99)),
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999)),
    # Every distance means also those that the paper leaves out, up to its longest.
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999, at=(*DISTANCES, 777))),
    ("copy-95", PARTLY, CONTROLS + seeds("pointer", 0.999) + seeds("pointer", 0.05, at=(777,))),
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999) + seeds("pointer", 0.05, at=(8191,))),
    ("copy-95", NO, CONTROLS + seeds("pointer", 0.05)),
    ("copy-95", OPEN, CONTROLS + seeds("pointer", 0.999, count=2)),
    ("copy-95", OPEN, CONTROLS + seeds("pointer", 0.951)),
    # A few cells in bfloat16 take no verdict away; where they are all there is, they are judged.
    ("copy-95", YES, CONTROLS + seeds("pointer", 1.0) + LOW),
    ("copy-95", OPEN, LOW),
    # A first run of a larger budget opens nothing.
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999) + FIRST),
    # Seeds of two machines are pooled where no time is judged.
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999, count=2) + THERE),
    ("copy-table", YES, CONTROLS + seeds("pointer", 0.97)),
    ("copy-table", PARTLY, CONTROLS + seeds("pointer", 0.96)),
    ("copy-table", NO, CONTROLS + seeds("pointer", 0.05)),
    ("copy-low", YES, CONTROLS + UNTRAINED),
    ("copy-low", PARTLY, CONTROLS + [r | {"loss": 2.5} for r in UNTRAINED]),
    ("copy-low", OPEN, CONTROLS + [r for r in UNTRAINED if not r["seed"]]),
    ("copy-stable", YES, CONTROLS + wobbly("pointer", 0.001) + wobbly("transformer", 0.1)),
    ("copy-stable", NO, CONTROLS + wobbly("pointer", 0.1) + wobbly("transformer", 0.001)),
    ("copy-stable", OPEN, CONTROLS + wobbly("pointer", 0.05) + wobbly("transformer", 0.05)),
    ("copy-stable", OPEN, copies(1.0, 1.0)),
    ("copy-stable", UNTESTED, copies(0.999, 0.05)),
    ("hops-local", YES, text(50.0, 483)),
    ("hops-local", NO, text(90.0, 483)),
    ("hops-local", UNTESTED, [traced(512)]),
    ("hops-long", YES, text(50.0, 483)),
    ("hops-long", NO, text(50.0, 900)),
    ("hops-long", OPEN, text(50.0, 483, count=2)),
    ("perplexity", YES, public_code(0.01, 511 / 512)),
    ("perplexity", NO, public_code(2.0, 511 / 512)),
    ("utilisation", YES, public_code(0.01, 511 / 512)),
    ("utilisation", PARTLY, public_code(0.01, 0.5)),
    ("longformer", UNTESTED, STEADY),
    ("future-work", UNTESTED, STEADY),
    ("c1", YES, CONTROLS),
    ("c1", PARTLY, [copied("oracle-copy", 512, 1.0, **HALF), copied("chance", 512, 0.5, **HALF)]),
    ("c1", OPEN, []),
    ("c3", YES, [counted("pointer-formula", n, 2) for n in (1024, 2048)]),
    ("c3", PARTLY, [counted("pointer-formula", n, 1) for n in (1024, 2048)]),
    ("c3", OPEN, []),
    ("c6", YES, CONTROLS + seeds("uniform", 0.052, at=(512,))),
    ("c6", OPEN, [*CONTROLS, copied("uniform", 512, 0.052)]),
    *((claim, YES, []) for claim in FIXED),
    *((claim, UNTESTED, []) for claim in NEED_ROWS),
    *((claim, UNTESTED, CONTROLS) for claim in NEED_MORE),
]


@pytest.mark.parametrize(
    ("claim", "verdict", "rows"), CASES, ids=[f"{claim}-{verdict}" for claim, verdict, _ in CASES]
)
def test_rows_give_a_claim_its_verdict(claim, verdict, rows):
    found = line(claim, rows)
    assert (found.verdict, found.why) == (verdict, found.why)


def test_every_claim_is_judged_here():
    assert {claim for claim, _, _ in CASES} == {claim.id for claim in ledger.read(LEDGER).claims}


def test_the_formula_fails_only_where_no_choice_that_the_paper_leaves_open_reaches_the_figure():
    def eight(accuracy):
        settings = {"mixer": {"pointer_heads": 8}}
        given = {"experiment": "ablation", "settings": settings}
        return CONTROLS + taken + [copied("pointer-formula", 512, accuracy, **given)]

    taken = [copied("pointer-formula", 512, 0.7, seed=seed) for seed in range(3)]
    assert line("copy-512", CONTROLS + taken, reading="F").verdict == NO
    assert line("copy-512", eight(0.8), reading="F").verdict == NO
    opened = line("copy-512", eight(0.995), reading="F")
    assert opened.verdict == OPEN
    assert "fails as taken, but pointer-formula with 8 pointer heads, D=512" in opened.why
    assert "1 of 3 runs" in opened.why
    assert opened.next == "snakemake --cores 4 long"  # rows are too few: no second look
    own = [row for row in eight(0.995) if row["model"] == "pointer-formula"]
    dense = CONTROLS + [row | {"model": "pointer-dense"} for row in own]
    assert line("copy-512", dense, reading="T").verdict == NO  # whose words leave nothing open
