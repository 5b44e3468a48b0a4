"""Are ListOps answers right, and are expressions those of the grammar? A second evaluator judges,
on text."""

from __future__ import annotations

import statistics

import numpy as np

from workflow.bench.tasks.base import IGNORED, Seeds, generator
from workflow.bench.tasks.listops import END, FILLER, MAX, MED, MIN, SM, ListOps, TooLong, draw

NAMES = {MIN: "MIN", MAX: "MAX", MED: "MED", SM: "SM"}


def parse(tokens: list[int]) -> tuple[int, int, int]:
    """(value, tokens read, depth) of the expression at the start of `tokens`, read from the left
    with a stack."""
    stack: list[tuple[str, list[int]]] = []
    deepest = 0
    for place, token in enumerate(tokens):
        if token in NAMES:
            stack.append((NAMES[token], []))
            deepest = max(deepest, len(stack))
        elif token < 10:
            stack[-1][1].append(token)
        else:
            assert token == END
            name, arguments = stack.pop()
            assert 2 <= len(arguments) <= 10
            ranked, total = sorted(arguments), str(sum(arguments))
            answers = {
                "MIN": ranked[0],
                "MAX": ranked[-1],
                "MED": int(statistics.median(ranked)),
                "SM": int(total[-1]),
            }
            known = answers[name]
            if not stack:
                return known, place + 1, deepest
            stack[-1][1].append(known)
    raise AssertionError("the expression does not end")


def test_every_answer_is_that_of_the_other_evaluator_and_every_tree_is_bounded() -> None:
    task = ListOps().at(1, length=200, symbols=16, seeds=Seeds.of(0))
    tokens, targets = task.sequences(generator("train", 0, 0), 60, "train")
    for line, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        answer, used, depth = parse(line)
        assert 50 < used <= 200
        assert depth <= 9
        assert set(line[used:]) <= {FILLER}
        assert wanted[used - 1] == answer
        assert [t for t in wanted if t != IGNORED] == [answer]


def test_lra_lengths_are_500_to_2000() -> None:
    task = ListOps().at(1, length=2000, symbols=16, seeds=Seeds.of(0))
    sizes = (task.sequences(generator("train", 0, 0), 20, "train")[0] != FILLER).sum(1)
    assert 500 < sizes.min() <= sizes.max() <= 2000


def test_an_expression_that_outgrows_its_bound_is_given_up() -> None:
    rng, met = np.random.default_rng(0), 0
    for _ in range(300):
        try:
            tokens: list[int] = []
            draw(rng, tokens, 30)
            assert len(tokens) <= 30
        except TooLong:
            met += 1
    assert met > 0
