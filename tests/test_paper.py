"""The published numbers: as in the paper, each with its source, and what follows from them."""

import pytest

from workflow.report import paper

TABLES = sorted(path.stem for path in paper.FOLDER.glob("*.csv"))


@pytest.mark.parametrize("table", TABLES)
def test_every_number_has_a_claim_a_unit_and_a_source(table: str) -> None:
    numbers = paper.published(table)
    assert len(numbers) > 0
    assert numbers[["claim", "quantity", "model", "value", "unit", "source"]].notna().all(axis=None)


def test_throughput_as_published() -> None:
    rates = paper.throughput().pivot(index="length", columns="model", values="value")
    assert list(rates.index) == [256, 512, 1024, 2048]
    assert list(rates[paper.MODEL]) == [14_446, 34_914, 37_189, 28_268]
    assert list(rates["transformer"]) == [30_320, 29_427, 19_703, 11_549]


def test_times_are_as_printed_at_2048_and_implied_elsewhere() -> None:
    times = paper.training_time().set_index(["model", "length"])
    assert times.loc[(paper.MODEL, 2048), "value"] == 1.45
    assert times.loc[("transformer", 2048), "value"] == 3.55
    assert times.loc[(paper.MODEL, 256), "value"] == pytest.approx(20 * 256 / 14_446)
    assert times.loc[("transformer", 1024), "source"].startswith("implied")


def test_printed_times_agree_with_the_throughput_at_20_sequences() -> None:
    printed = paper.published("training_time").set_index("model")["value"]
    for model in (paper.MODEL, "transformer"):
        rate = paper.throughput().set_index(["model", "length"]).loc[(model, 2048), "value"]
        assert printed[model] * rate == pytest.approx(paper.SEQUENCES * 2048, rel=0.002)


def test_speedups_as_printed_at_the_ends_and_implied_between() -> None:
    ratio = paper.speedup().set_index("length")["value"]
    assert list(ratio.index) == [256, 512, 1024, 2048]
    assert ratio[256] == 0.48
    assert ratio[2048] == 2.45
    assert ratio[1024] == pytest.approx(37_189 / 19_703)


def test_copy_accuracies_are_multiples_of_one_in_800() -> None:
    cells = paper.published("copy_accuracy").dropna(subset="distance")
    assert len(cells) == 8
    assert all(abs(value * 8 - round(value * 8)) < 0.05 for value in cells["value"])
