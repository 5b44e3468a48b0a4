"""The ledger's file, and the table and figure of its verdicts."""

import math
import re
from pathlib import Path

import pytest
import yaml
from synthetic import store, table_of
from test_claims import CONTROLS, FACTS, seeds

from pointer.errors import InputError
from workflow.report import LEDGER, claims_figure, estimates, frame, ledger, verdicts
from workflow.report.__main__ import main
from workflow.report.claims import judge
from workflow.report.ledger import Claim, Statement
from workflow.report.rules import Verdict


def test_the_ledger_holds_every_claim_and_contradiction() -> None:
    claims = ledger.read(LEDGER).claims
    assert [claim.id for claim in claims] == FACTS
    assert all(claim.source and claim.figure for claim in claims)
    assert all(claim.short for claim in claims if not claim.contradiction)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "at lest"}, "Did you mean 'at least'"),
        ({"quantity": "speedupp"}, "Did you mean 'speedup'"),
        ({"check": "operations_ratio"}, "a quantity or a check, and not both"),
        ({"modle": "pointer"}, "Did you mean 'model'"),
        ({"model": "pointr"}, "Did you mean 'pointer'"),
        ({"model": None}, "a model or readings in a"),
        ({"value": math.nan}, "'.nan' is no plain decimal number"),
        ({"value": "1e999"}, "value is '1e999'; accepted: a finite number"),
        ({"value": None, "quantity": "loss"}, "a value, unless the paper publishes the quantity"),
        ({"at": [0]}, "tests.0.at.0 is 0"),
        ({"margin": -1}, "margin is -1"),
    ],
)
def test_a_wrong_ledger_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    test = {"quantity": "speedup", "model": "pointer", "rule": "at least", "value": 1} | change
    entry = {"id": "a", "claim": "c", "figure": "f", "source": "s", "tests": [test]}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"readings": {}, "claims": [entry]}), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        ledger.read(path)
    assert str(path) in str(error.value)


def test_table_and_figure_are_written_and_a_line_a_claim_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {
        f"claims.{kind}" for kind in ("csv", "md", "tex", "html")
    }
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"claims.png", "claims.svg"}
    assert "| copy-95" in (tmp_path / "tables" / "claims.md").read_text(encoding="utf-8")


def test_the_figure_shows_our_number_over_what_the_claim_asks() -> None:
    asked = {"quantity": "accuracy", "experiment": "copy", "model": "pointer", "at": [512]}
    test = Statement.model_validate({**asked, "rule": "at least", "value": 0.5})
    claim = Claim(id="a", claim="c", figure="50%", source="s", tests=[test])
    book = ledger.Ledger(readings={}, claims=[claim])
    lines = judge(estimates.build(table_of(CONTROLS + seeds("pointer", 0.999))), book)
    (shown,) = claims_figure.comparable(lines[0])
    assert shown.value / (shown.paper or 0) == pytest.approx(1.998)
    words = [text.get_text() for text in claims_figure.verdicts(lines).axes[0].texts]
    assert words == ["reproduced"]


def test_every_verdict_has_words_and_a_mark() -> None:
    assert all(verdict.mark and str(verdict) == verdict.value for verdict in Verdict)
    assert Verdict("invalid: rows unsound") is Verdict.UNSOUND
    assert set(claims_figure.VERDICTS) == set(Verdict)
