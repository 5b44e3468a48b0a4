"""`pointer-bench trace` on a real, tiny interpretability row."""

from __future__ import annotations

import json

import pytest

from workflow.bench import cli


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """A row of a model that has seen a hundred tokens, with its weights."""
    path = tmp_path_factory.mktemp("trace") / "row.json"
    asked = "--experiment interpretability --model pointer --distance 5 --length 40 --batch 1"
    asked += " --tokens 80 --evaluate-symbols 35 --threads 1"
    assert cli.main(["run", *asked.split(), "--out", str(path)]) == 0
    assert json.loads(path.read_text())["status"] == "ok"
    return path


def test_a_chain_is_printed_layer_by_layer_and_written(row, tmp_path, capsys):
    out = tmp_path / "trace.json"
    assert cli.main(["trace", "--row", str(row), "--position", "30", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    written = json.loads(out.read_text())
    assert len(lines) == 7
    assert lines[0].startswith("position 30, symbol ")
    assert written["chain"][0] == 30
    for step, line in enumerate(lines[1:]):
        layer, here, there = 6 - step, written["chain"][step], written["chain"][step + 1]
        assert line.startswith(f"layer {layer}:")
        assert line.endswith(f"symbol {written['tokens'][there]}")
        assert written["targets"][layer - 1][0][here] == there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--position", "40"], "position is 40; accepted: 0 to 39"),
        (["--position", "3", "--head", "1"], "--head is 1; accepted: 0 to 0"),
        (["--position", "3", "--sequence", "-1"], "'--sequence': -1 is not in the range"),
        (["--position", "x"], "'--position': 'x' is not a valid integer"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(row, options, message, capsys):
    assert cli.main(["trace", "--row", str(row), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_row_without_weights_is_refused(row, tmp_path, capsys):
    alone = tmp_path / "alone.json"
    alone.write_text(row.read_text())
    assert cli.main(["trace", "--row", str(alone), "--position", "3"]) == 2
    assert "with alone.weights.safetensors beside it" in capsys.readouterr().err
