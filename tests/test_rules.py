"""Each rule judges the interval of a cell; outcomes become one verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.report import rules
from workflow.report.rules import Cell, Outcome, Verdict, combine, exactly, over_machines

HOLDS, DIRECTION, FAILS, OPEN = Outcome


def rule_of(kind, value=None, **numbers):
    return rules.Rule(rule=kind, value=value, **numbers)


def cell(low, high, runs=3, **values):
    return Cell("cell", (low + high) / 2, low, high, runs, **values)


def says(rule, *cells):
    return [rule.judge(cell) for cell in cells]


@pytest.mark.parametrize(
    ("rule", "low", "high", "outcome"),
    [
        (rule_of("at least", 2.0), 2.0, 2.4, HOLDS),
        (rule_of("at least", 2.0), 1.9, 2.4, OPEN),
        (rule_of("at least", 2.0), 1.1, 1.9, FAILS),
        (rule_of("at least", 2.0, direction=1.0), 1.1, 1.9, DIRECTION),
        (rule_of("at least", 2.45, margin=0.1, direction=1.0), 2.06, 2.5, DIRECTION),
        (rule_of("at least", 2.45, margin=0.1, direction=1.0), 0.9, 2.5, OPEN),
        (rule_of("at most", 2.02), 2.0, 2.0, HOLDS),
        (rule_of("at most", 2.02), 2.1, 4.0, FAILS),
        (rule_of("at most", 2.02, direction=4.0), 2.1, 3.0, DIRECTION),
        (rule_of("below", 0.0), -0.2, -0.1, HOLDS),
        (rule_of("below", 0.0), 0.0, 0.0, OPEN),
        (rule_of("below", 0.0), 0.1, 0.2, FAILS),
        (rule_of("above", 1.0), 1.01, 1.1, HOLDS),
        (rule_of("above", 1.0), 1.0, 1.0, OPEN),
        (rule_of("within", 100.0, margin=0.1), 91.0, 109.0, HOLDS),
        (rule_of("within", 100.0, margin=0.1), 111.0, 115.0, FAILS),
        (rule_of("between", 47.0, upper=58.0), 50.0, 55.0, HOLDS),
        (rule_of("between", 47.0, upper=58.0), 60.0, 65.0, FAILS),
        (rule_of("includes", 0.05), 0.04, 0.06, HOLDS),
        (rule_of("includes", 0.05), 0.06, 0.07, FAILS),
    ],
)
def test_a_rule_judges_the_interval_not_the_value(rule, low, high, outcome):
    assert says(rule, cell(low, high)) == [outcome]


def test_too_few_runs_stay_open_unless_the_value_is_exact():
    assert says(rule_of("at least", 2.0), cell(3.0, 3.1, runs=2)) == [OPEN]
    assert says(rule_of("at least", 2.0), exactly("counted", 3.0)) == [HOLDS]
    assert says(rule_of("at least", 2.0), Cell("no bounds", 3.0, math.nan, math.nan, 3)) == [OPEN]


def test_without_a_value_the_papers_figure_of_the_cell_is_asked_for():
    near, far = (cell(0.99, 1.01, paper=paper) for paper in (1.0, 2.0))
    assert says(rule_of("within", margin=0.1), near, far) == [HOLDS, FAILS]
    assert says(rule_of("within"), cell(0.9, 1.1)) == [OPEN]  # the paper gives no figure here


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
    ],
)
def test_cells_become_one_verdict(outcomes, verdict):
    assert combine(outcomes) == verdict


STRENGTH = (Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE, Verdict.PARTIALLY, Verdict.REPRODUCED)
OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=6)


@given(OUTCOMES, st.integers(0, 5))
def test_a_cell_that_opens_never_strengthens_a_verdict(outcomes, place):
    place %= len(outcomes)
    if outcomes[place] == HOLDS:
        opened = [*outcomes[:place], OPEN, *outcomes[place + 1 :]]
        assert STRENGTH.index(combine(opened)) <= STRENGTH.index(combine(outcomes))


@given(st.lists(OUTCOMES, min_size=1, max_size=3))
def test_a_machine_that_decides_nothing_changes_nothing(machines):
    verdicts = [combine(outcomes) for outcomes in machines]
    assert over_machines([*verdicts, Verdict.INCONCLUSIVE]) == over_machines(verdicts)


def test_machines_that_disagree_hold_in_part():
    yes, no, undecided = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE
    assert over_machines([yes, yes, undecided]) == yes
    assert over_machines([yes, no]) == Verdict.PARTIALLY
    assert over_machines([undecided]) == undecided
