"""Every claim of the ledger under every verdict that rows can give it, from synthetic rows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from synthetic import DISTANCES, LAPTOP, LENGTHS, Row, copied, counted, row, timed, traced
from test_claims import CONTROLS, FACTS, line, races, seeds, seeds_at, work

from workflow.report import paper
from workflow.report.rules import Verdict

YES, PARTLY, NO = Verdict.REPRODUCED, Verdict.PARTIALLY, Verdict.NOT_REPRODUCED
OPEN, UNTESTED = Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE
FIXED = ("c2", "c4", "c5")  # the paper's own numbers alone: no row changes them


def on_mps(model: str, factor: dict[int, float], repeats: int = 3) -> list[Row]:
    """Rows on Apple Silicon at a multiple of the paper's tokens/s, with the trunk at ten times of
    them."""
    rates = paper.throughput().set_index(["model", "length"])["value"]
    given = {"device": "mps", "machine": "Apple M3"}
    rows = []
    for length, times in factor.items():
        named = paper.MODEL if model == "pointer" else model
        step = 1000 * 4096 / (times * float(rates[named, length]))
        for repeat in range(repeats):
            rows.append(timed(model, length, step * (1 + 0.01 * repeat), repeat=repeat, **given))
            rows.append(timed("identity", length, step / 10, repeat=repeat, **given))
    return rows


def flat(factor: float) -> dict[int, float]:
    return dict.fromkeys(LENGTHS, factor)


def text(mean: float, longest: int, count: int = 3, **values: object) -> list[Row]:
    """Seeds trained on text: mean hop of the lower layers, longest of the upper ones."""
    hops = {"hops_mean": [mean] * 3 + [100.0] * 3, "hops_max": [60] * 3 + [longest] * 3}
    given = {"task": "bytes", "distance": None, "length": 1024, "tokens_budget": 10**6}
    traced = given | hops | values | {"experiment": "interpretability", "bits_per_byte": 2.0}
    alone = row(**given, experiment="bytes", model="identity", bits_per_byte=2.5)
    return [alone, *(row(**traced, seed=seed) for seed in range(count))]


def factor(of: str, times: float) -> list[Row]:
    """Linear work of the pointer, and attention with `times` as much of one kind at N=8192."""
    pointer = counted("pointer", 8192, 1)
    many = {of: int(times * pointer[of])}
    attentions = [
        counted(model, 8192, 2, **many) for model in ("transformer-unfused", "transformer")
    ]
    return [*work(1, 2, LENGTHS), pointer, *attentions]


def copies(pointer: float, transformer: float) -> list[Row]:
    return CONTROLS + seeds("pointer", pointer) + seeds("transformer", transformer)


def wobbly(model: str, step: float, **values: object) -> list[Row]:
    """Seeds whose accuracy falls from distance to distance, each a little differently."""
    return [
        copied(model, distance, 0.99 - (step + 0.001 * seed) * place, seed=seed, **values)
        for place, distance in enumerate(DISTANCES)
        for seed in range(3)
    ]


def elsewhere(rows: Iterable[Row]) -> list[Row]:
    """The same rows on another machine."""
    return [
        row(
            **{k: v for k, v in r.items() if k not in ("started", "ended", "digest")}
            | {"machine": LAPTOP}
        )
        for r in rows
    ]


def public_code(loss: float, utilisation: float) -> list[Row]:
    """Seeds of the repository's block on text, its hops as uniform weights give them."""
    given = {"experiment": "repository", "model": "pointer-repository", "length": 512}
    given |= {"loss": loss, "utilisation": utilisation, "hops_mean": [128.0] * 6}
    return [row(**given, seed=seed) for seed in range(3)]


STEADY = races(dict.fromkeys(LENGTHS, 25.0))
GUESSING = (("untrained", "pointer-formula"), ("copy", "identity"), ("copy", "uniform"))
UNTRAINED = [
    copied(model, distance, 0.05, seed=seed, loss=2.996, experiment=experiment)
    for experiment, model in GUESSING
    for distance in DISTANCES
    for seed in range(3)
]


def with_soft(accuracy: float, soft: float) -> list[Row]:
    """Seeds with the accuracy of training mode beside."""
    return [row | {"accuracy_train_mode": soft} for row in seeds("pointer", accuracy)]


CASES: list[tuple[str, Verdict, list[Row]]] = [
    ("speed-2048", YES, races({2048: 100 / 3})),
    ("speed-2048", PARTLY, races({2048: 100 / 1.5})),
    ("speed-2048", NO, races({2048: 200.0})),
    ("speed-2048", OPEN, races({2048: 100 / 3}, repeats=2)),
    ("speed-2048", UNTESTED, []),
    ("throughput-pointer", YES, on_mps("pointer", flat(1.1))),
    ("throughput-pointer", PARTLY, on_mps("pointer", flat(1.0) | {2048: 3.0})),
    ("throughput-pointer", NO, on_mps("pointer", flat(3.0))),
    ("throughput-pointer", OPEN, on_mps("pointer", flat(1.1), repeats=2)),
    ("throughput-pointer", UNTESTED, races({2048: 50.0})),
    ("throughput-transformer", YES, on_mps("transformer", flat(1.1))),
    ("speed-grows", YES, races({n: 100.0 / (1 + i) for i, n in enumerate(LENGTHS)})),
    ("speed-grows", PARTLY, races(dict(zip(LENGTHS, (100.0, 40.0, 60.0, 20.0), strict=True)))),
    ("speed-grows", NO, races({n: 100.0 * (1 + i) for i, n in enumerate(LENGTHS)})),
    ("speed-grows", OPEN, races(dict.fromkeys(LENGTHS, 50.0))),
    ("speed-grows", UNTESTED, []),
    ("speed-range", YES, races({2048: 40.0})),
    ("speed-range", PARTLY, races({2048: 70.0})),
    ("speed-range", NO, races({2048: 200.0})),
    ("speed-range", OPEN, races({2048: 40.0}, repeats=1)),
    ("speed-range", UNTESTED, []),
    ("speed-2048-unfused", YES, races({2048: 100 / 3})),
    ("speed-2048-unfused", UNTESTED, []),
    ("speed-256", YES, races({256: 250.0})),
    ("speed-256", NO, races({256: 80.0})),
    ("speed-256", PARTLY, races({256: 110.0})),
    ("linear-compute", YES, work(1, 2)),
    ("linear-compute", NO, work(2, 1)),
    ("linear-compute", OPEN, work(1, 2, (512, 1024))),
    ("linear-compute", UNTESTED, []),
    ("linear-memory", YES, work(1, 2)),
    ("linear-memory", NO, work(2, 1)),
    ("linear-memory", UNTESTED, []),
    ("copy-512", YES, CONTROLS + seeds("pointer", 0.99)),
    ("copy-512", NO, CONTROLS + seeds("pointer", 0.95)),
    ("copy-512", UNTESTED, CONTROLS),
    ("copy-transformer", YES, copies(0.97, 0.99)),
    ("copy-transformer", PARTLY, CONTROLS + seeds("transformer", 0.95)),
    ("copy-transformer", NO, CONTROLS + seeds("transformer", 0.05)),
    ("comparable", YES, copies(0.97, 0.98)),
    ("comparable", NO, copies(0.5, 0.98)),
    ("comparable", UNTESTED, CONTROLS + seeds("pointer", 0.97)),
    ("comparable", UNTESTED, copies(0.97, 0.3)),
    ("same-in-inference", YES, CONTROLS + with_soft(0.99, 0.99)),
    ("same-in-inference", NO, CONTROLS + with_soft(0.9, 1.0)),
    ("noise-needed", UNTESTED, CONTROLS),
    ("chain-needed", UNTESTED, CONTROLS),
    ("copy-95", YES, CONTROLS + seeds("pointer", 0.999)),
    ("copy-95", PARTLY, CONTROLS + seeds("pointer", 0.999) + seeds_at("pointer", 777, 0.05)),
    ("copy-95", NO, CONTROLS + seeds("pointer", 0.05)),
    ("copy-95", OPEN, CONTROLS + seeds("pointer", 0.999, count=2)),
    ("copy-95", OPEN, CONTROLS + seeds("pointer", 0.951)),
    ("copy-95", UNTESTED, CONTROLS),
    ("copy-table", YES, CONTROLS + seeds("pointer", 0.97)),
    ("copy-table", PARTLY, CONTROLS + seeds("pointer", 0.96)),
    ("copy-table", NO, CONTROLS + seeds("pointer", 0.05)),
    ("copy-table", UNTESTED, CONTROLS),
    ("copy-low", YES, CONTROLS + UNTRAINED),
    ("copy-low", PARTLY, CONTROLS + [r | {"loss": 2.5} for r in UNTRAINED]),
    ("copy-low", OPEN, CONTROLS + [r for r in UNTRAINED if not r["seed"]]),
    ("copy-low", UNTESTED, CONTROLS),
    ("copy-stable", YES, CONTROLS + wobbly("pointer", 0.001) + wobbly("transformer", 0.1)),
    ("copy-stable", NO, CONTROLS + wobbly("pointer", 0.1) + wobbly("transformer", 0.001)),
    ("copy-stable", OPEN, CONTROLS + wobbly("pointer", 0.05) + wobbly("transformer", 0.05)),
    ("copy-stable", OPEN, copies(1.0, 1.0)),
    ("copy-stable", UNTESTED, copies(0.999, 0.05)),
    ("hops-local", YES, text(50.0, 483)),
    ("hops-local", NO, text(90.0, 483)),
    ("hops-local", OPEN, text(50.0, 483, count=2)),
    ("hops-local", UNTESTED, [traced(512)]),
    ("hops-long", YES, text(50.0, 483)),
    ("hops-long", PARTLY, text(50.0, 900)),
    ("hops-long", NO, text(50.0, 50)),
    ("hops-long", OPEN, text(50.0, 483, count=2)),
    ("hops-long", UNTESTED, []),
    ("perplexity", YES, public_code(0.01, 511 / 512)),
    ("perplexity", NO, public_code(2.0, 511 / 512)),
    ("perplexity", UNTESTED, []),
    ("utilisation", YES, public_code(0.01, 511 / 512)),
    ("utilisation", PARTLY, public_code(0.01, 0.5)),
    ("longformer", UNTESTED, STEADY),
    ("future-work", UNTESTED, STEADY),
    ("c1", YES, CONTROLS),
    (
        "c1",
        PARTLY,
        [
            copied(m, 512, a, chance=0.5, symbols=2)
            for m, a in (("oracle-copy", 1.0), ("chance", 0.5))
        ],
    ),
    ("c1", OPEN, []),
    ("c3", YES, [counted("pointer-formula", n, 2) for n in (1024, 2048)]),
    ("c3", PARTLY, [counted("pointer-formula", n, 1) for n in (1024, 2048)]),
    ("c3", OPEN, []),
    ("c6", YES, CONTROLS + seeds_at("uniform", 512, 0.052)),
    ("c6", OPEN, [*CONTROLS, copied("uniform", 512, 0.052)]),
    *((claim, YES, []) for claim in FIXED),
]


@pytest.mark.parametrize(
    ("claim", "verdict", "rows"), CASES, ids=[f"{claim}-{verdict}" for claim, verdict, _ in CASES]
)
def test_rows_give_a_claim_its_verdict(claim: str, verdict: Verdict, rows: list[Row]) -> None:
    found = line(claim, rows)
    assert (found.verdict, found.why) == (verdict, found.why)


def test_every_claim_is_judged_here() -> None:
    assert {claim for claim, _, _ in CASES} == set(FACTS)
