"""Figures: what is drawn is what the rows say, looks are stable, files reproducible, missing data
said in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic import HOSTILE, LENGTHS, Row, copied, failed, peak, row, table_of, timed, traced

from workflow.bench import registry
from workflow.report import estimates, figures, frame, intervals, models, paper, style

DTYPES = ("float32", "bfloat16")


@pytest.fixture(autouse=True)
def drawing() -> Iterator[None]:
    """The style that `figures.write` draws in."""
    with style.drawing():
        yield


def draw(name: str, rows: list[Row]) -> Figure:
    return draw_frame(name, table_of(rows))


def draw_frame(name: str, table: pd.DataFrame) -> Figure:
    return figures.FIGURES[name](estimates.build(table), table)


def points(axis: Axes, colour: str) -> list[tuple[list[float], list[float]]]:
    """Points of every line of a colour."""
    lines = [line for line in axis.get_lines() if line.get_color() == colour]
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in lines
    ]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def colour(model: str) -> str:
    return models.looks([(model, "")])[model, ""].colour


def mqar(model: str, pairs: int, accuracy: float) -> Row:
    return copied(
        model, 512, accuracy, experiment="mqar", task="mqar", pairs=pairs, length=16 * pairs
    )


def timings(**values: Any) -> list[Row]:
    return [timed("pointer", n, 100.0, **values) for n in LENGTHS]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every figure of the whole grid, drawn once through the command line's function."""
    out = tmp_path_factory.mktemp("figures")
    rows = frame.collect(synthetic.store(synthetic.grid(), out / "runs"), out)
    figures.write(estimates.build(rows), rows, out / "figures")
    return out / "figures"


def test_every_figure_is_written_as_png_and_svg(drawn: Path) -> None:
    names = [*figures.FIGURES]
    assert len(names) == 14
    assert {path.name for path in drawn.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.glob("*.png"))


def test_svg_is_well_formed_undated_and_keeps_hostile_names_as_text(drawn: Path) -> None:
    for path in drawn.glob("*.svg"):
        tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert not [
            node
            for node in tree.iter()
            if node.tag.endswith("script") or node.tag.endswith("}date")
        ]
    tree = ElementTree.fromstring((drawn / "throughput.svg").read_text(encoding="utf-8"))
    assert HOSTILE in [node.text for node in tree.iter() if node.tag.endswith("text")]


def test_no_panel_is_empty_and_every_axis_is_labelled(tmp_path: Path) -> None:
    rows = frame.collect(synthetic.store(synthetic.grid(), tmp_path), tmp_path)
    table = estimates.build(rows)
    for name in ("time", "speedup", "memory", "operations", "copy_accuracy", "hops", "trade_off"):
        for axis in figures.FIGURES[name](table, rows).axes:
            if axis.get_visible():
                assert axis.has_data(), (name, axis.get_title())
                assert axis.get_xlabel().strip(), name
                assert axis.get_ylabel().strip(), name


def test_files_depend_on_the_rows_alone(tmp_path: Path) -> None:
    """Neither the time nor a matplotlibrc nor a notebook's backend changes a figure."""
    rows, numbers = tmp_path / "rows.parquet", tmp_path / "estimates.parquet"
    table_of(timings()).to_parquet(rows)
    estimates.write(table_of(timings()), tmp_path)
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 30\naxes.facecolor: red\n"
    )
    mine = {"MPLBACKEND": "no_such_backend", "MATPLOTLIBRC": str(tmp_path)}
    for folder, more in (("a", {}), ("b", mine)):
        drawing = str(tmp_path / folder / "figures" / "time.png")
        make = [sys.executable, "-m", "workflow.report", "make", drawing]
        command = [*make, "--from", str(rows), str(numbers)]
        subprocess.run(command, env={**os.environ, **more}, check=True, timeout=120)
    for kind in ("png", "svg"):
        first, second = (tmp_path / folder / "figures" / f"time.{kind}" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_time_shows_our_seconds_and_the_papers_hollow_points() -> None:
    axis = draw("time", timings()).axes[0]
    (ours,) = points(axis, colour("pointer"))
    (theirs,) = points(axis, colour(paper.MODEL))
    assert ours == (
        list(map(float, LENGTHS)),
        pytest.approx([20 * n * 0.1 / 4096 for n in LENGTHS]),
    )
    assert theirs[1][-1] == 1.45
    (mark,) = [line for line in axis.get_lines() if line.get_color() == colour(paper.MODEL)]
    assert mark.get_markerfacecolor() == "white"
    labels = [axis.xaxis.get_major_formatter()(tick, 0) for tick in axis.get_xticks()]
    assert labels == ["256", "512", "1024", "2048"]
    assert "(s)" in axis.get_ylabel()


def test_each_machine_has_a_panel_of_its_own() -> None:
    figure = draw("throughput", [timed("pointer", 512, 100.0, machine=m) for m in ("one", "two")])
    assert [axis.get_title().splitlines()[0] for axis in figure.axes] == ["one", "two"]


def test_speedup_draws_the_geometric_mean_of_pairs() -> None:
    rows = []
    for repeat, step in enumerate((50.0, 50.0, 12.5)):
        rows += [
            timed("transformer", 512, 100.0, repeat=repeat),
            timed("pointer", 512, step, repeat=repeat),
        ]
    axis = draw("speedup", rows).axes[0]
    assert points(axis, colour("pointer"))[0] == ([512.0], [pytest.approx(32 ** (1 / 3))])


def test_the_papers_points_stand_beside_float32_alone() -> None:
    rows = [
        timed(model, 512, 100.0, dtype=dtype)
        for model in ("transformer", "pointer")
        for dtype in DTYPES
    ]
    for name in ("speedup", "throughput", "time"):
        hollow = {
            axis.get_title().split()[-1]: [
                line for line in axis.get_lines() if line.get_markerfacecolor() == "white"
            ]
            for axis in draw(name, rows).axes
        }
        assert [len(hollow[dtype]) > 0 for dtype in DTYPES] == [True, False]


def test_panels_of_memory_say_in_what_they_differ() -> None:
    keys = {"experiment": "complexity", "length": 512, "saved_bytes": 9 * 2**20}
    rows = [row(**keys, dtype=dtype) for dtype in DTYPES]
    figure = draw(
        "memory", [*rows, *(peak("pointer", 512, 2**20, dtype=dtype) for dtype in DTYPES)]
    )
    assert len({axis.get_title() for axis in figure.axes}) == 4


def test_copy_accuracy_is_in_percent_with_its_interval() -> None:
    axis = draw("copy_accuracy", [copied("pointer", 512, 0.97)]).axes[0]
    known = intervals.wilson(0.97 * 10_240, 10_240)
    (bars,) = [c for c in axis.collections if hasattr(c, "get_segments")]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx(
        [100 * known.low, 100 * known.high]
    )


def test_pointer_map_draws_the_hops_of_the_trace(tmp_path: Path) -> None:
    figure = draw_frame(
        "pointer_map", frame.collect(synthetic.store([traced(512)], tmp_path), tmp_path)
    )
    assert len(figure.axes) == 6
    hop = np.asarray(figure.axes[2].collections[0].get_offsets())[:640, 1]
    assert hop[512:].tolist() == [512.0] * 128


def test_a_missing_trace_is_said_in_words(tmp_path: Path) -> None:
    rows = frame.collect(synthetic.store([traced(512)], tmp_path), tmp_path)
    next(tmp_path.glob("*.trace.json")).unlink()
    assert "No interpretability row with a trace" in words(draw_frame("pointer_map", rows))


EXPERIMENTS = ("efficiency", "copy", "complexity", "interpretability", "ablation", "mqar")
FAILURES = [failed("error", "no", experiment=e, distance=512) for e in EXPERIMENTS]


@pytest.mark.parametrize("rows", [[], FAILURES], ids=["no rows", "only failures"])
def test_without_a_finished_row_a_figure_says_what_is_missing(rows: list[Row]) -> None:
    table = table_of(rows)
    numbers = estimates.build(table)
    for figure in (draw_one(numbers, table) for draw_one in figures.FIGURES.values()):
        assert not figure.axes
        assert "nothing to draw" in words(figure)


def test_failed_cells_are_named_above_the_legend() -> None:
    rows = [
        timed("pointer", 512, 100.0),
        failed("oom", "too big", model="transformer", length=2048),
    ]
    figure = draw("throughput", rows)
    assert figure.legends[0].get_title().get_text() == "No point: transformer at 2048: oom"


def test_smoke_is_stamped(tmp_path: Path) -> None:
    style.save(draw("time", [timed("pointer", 512, 100.0)]), tmp_path / "time", "smoke")
    assert "smoke: not for verdicts" in (tmp_path / "time.svg").read_text(encoding="utf-8")


def test_twenty_new_models_look_different_and_shift_no_known_one() -> None:
    new = [(f"baseline-{number}", "") for number in range(20)]
    looks = models.looks(new)
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)
    known = models.looks([])
    assert all(looks[name, ""] == known[name, ""] for name in registry.names())
    theirs = ("theirs", "")
    assert (
        models.looks([theirs])[theirs]
        == models.looks([("mine", ""), theirs, ("yours", "")])[theirs]
    )
    assert all(looks[name].colour not in models.COLOURS[: models.OWN_COLOURS] for name in new)


def test_controls_are_grey_and_dashed() -> None:
    for (name, _), look in models.looks([]).items():
        red, green, blue = (look.colour[i : i + 2] for i in (1, 3, 5))
        assert (look.line == "--" and red == green == blue) == models.is_control(name)


def test_a_legend_of_many_models_grows_the_figure_and_overlaps_nothing() -> None:
    figure = draw(
        "throughput", [timed(f"baseline-{i}", n, 100.0 + i) for i in range(25) for n in LENGTHS]
    )
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axis = figure.axes[0].get_tightbbox(renderer)
    legend = figure.legends[0].get_window_extent(renderer)
    assert legend.y1 <= axis.y0 + 1
    assert legend.y0 >= 0
    assert figure.axes[0].get_window_extent(renderer).height > 150


def test_a_name_that_begins_with_an_underscore_or_holds_mathematics_is_shown() -> None:
    assert models.plain("_hidden").strip() == "_hidden"
    assert models.plain("a$b$") == r"a\$b\$"
    assert len(models.plain("x" * 500)) == models.LONGEST_NAME


def test_changed_settings_have_their_models_colour_and_are_told_apart() -> None:
    variants = ["", "k=32", "k=48"]
    looks = [
        models.looks([("pointer", v) for v in variants])["pointer", variant] for variant in variants
    ]
    assert {look.colour for look in looks} == {colour("pointer")}
    assert len({look.marker for look in looks}) == len(variants)


def test_untrained_controls_have_no_loss_curve() -> None:
    figure = draw(
        "loss_curves", [copied("pointer", 512, 0.99), copied("chance", 512, 0.05, loss_curve=[])]
    )
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert keys == [models.title("pointer"), "guessing, ln V"]
    assert figure.axes[0].get_ylim()[1] > 3.1


@pytest.mark.parametrize(("megabytes", "scale"), [((300, 400), "linear"), ((300, 4000), "log")])
def test_close_values_are_drawn_from_zero_and_wide_ones_on_a_logarithm(
    megabytes: tuple[int, int], scale: str
) -> None:
    sizes = zip((256, 512), megabytes, strict=True)
    rows = [peak("pointer", n, size * 2**20) for n, size in sizes]
    assert draw("memory", rows).axes[0].get_yscale() == scale


def test_the_trade_off_has_a_point_for_each_model_that_was_timed_and_scored() -> None:
    rows = [
        mqar("transformer", 16, 0.9),
        mqar("pointer", 16, 0.3),
        mqar("longformer", 16, 0.2),  # never timed
        mqar("transformer", 4, 1.0),  # fewer models have it
        copied("pointer", 2048, 0.99),
        copied("transformer", 2048, 0.05),
        *(
            timed(m, n, step)
            for m, step in (("transformer", 400.0), ("pointer", 200.0))
            for n in (256, 2048)
        ),
        timed("transformer", 3072, 1.0),  # fewer models have it
    ]
    figure = draw("trade_off", rows)
    assert figure.get_suptitle().splitlines()[1:] == [models.plain(synthetic.SERVER)]
    assert [axis.get_title().splitlines() for axis in figure.axes] == [
        ["copy over 2048 tokens", "cpu, float32, timed at N=2048"],
        ["MQAR with 16 pairs", "cpu, float32, timed at N=256"],
    ]
    recall = {name: points(figure.axes[1], colour(name))[0] for name in ("transformer", "pointer")}
    assert recall["transformer"] == (pytest.approx([10_240.0]), [90.0])
    assert recall["pointer"] == (pytest.approx([20_480.0]), [30.0])
    note = " ".join(figure.legends[0].get_title().get_text().split())
    assert (
        note == f"No point, as not timed: MQAR with 16 pairs on {models.plain(synthetic.SERVER)}: "
        "longformer"
    )


def test_variants_that_were_not_timed_are_counted() -> None:
    names = [("hyena", ""), ("pointer", "k=8"), ("pointer", "k=16")]
    assert figures.together(names) == "hyena, variants of pointer: 2"


def seeds(
    variant: dict[str, Any], until: tuple[int | None, ...], experiment: str = "ablation"
) -> list[Row]:
    """A row for each seed of a variant, which reached 95% after so many tokens, or never."""
    rows = []
    for seed, tokens in enumerate(until):
        values: Row = {"experiment": experiment, "seed": seed, "settings": {"mixer": variant}}
        values |= {"tokens_to_95": tokens, "tokens_budget": 200_000}
        rows.append(copied("pointer", 512, 1.0 if tokens else 0.05, **values))
    return rows


ABLATED = [
    *seeds({}, (40_000, 50_000, 60_000)),
    *seeds({"credit": "none"}, (None, None, None)),
    *seeds({"credit": "candidates"}, (None, 40_000, None)),
    *seeds({"k": 128}, (20_000, 20_000, 20_000)),
    *seeds({"k": 16, "window": 8}, (90_000, 100_000, 110_000)),
]


def test_an_ablation_has_a_point_a_seed_and_a_cross_beyond_the_budget_for_never() -> None:
    axis = draw("ablation", ABLATED).axes[0]
    seen = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_marker())
        for line in axis.get_lines()
        if line.get_marker() in ("o", "x")
    ]
    solved = sorted(float(row["tokens_to_95"]) for row in ABLATED if row["tokens_to_95"])
    assert sorted(x for x, _, marker in seen if marker == "o") == solved
    assert {x for x, _, marker in seen if marker == "x"} == {200_000 * figures.NEVER}
    assert len({(x, y) for x, y, _ in seen}) == len(ABLATED)


def test_an_ablation_lists_defaults_first_and_names_what_changed() -> None:
    labels = [label.get_text() for label in draw("ablation", ABLATED).axes[0].get_yticklabels()]
    changed = ["credit=candidates", "credit=none", "k=16, window=8", "k=128"]
    assert labels == [f"{models.title('pointer')}, defaults", *changed]


def test_settings_that_all_variants_share_are_told_once() -> None:
    rows = [
        *seeds({"k": 32, "reach": 32}, (90_000,), "two_hop"),
        *seeds({"k": 37, "reach": 32}, (None,), "two_hop"),
    ]
    figure = draw("two_hop", rows)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["k=32", "k=37"]
    assert figure.legends[0].get_title().get_text() == "All rows: reach=32."
