"""Figures: what is drawn is what the rows say, files reproducible, missing data said in words."""

import math
import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic
from synthetic import HOSTILE, LENGTHS, ablated, copied, failed, mqar, table_of, timed, traced

from workflow.bench import registry
from workflow.report import estimates, figures, frame, intervals, models, paper, style
from workflow.report.layout import short


@pytest.fixture(autouse=True)
def drawing():
    with style.drawing():
        yield


def draw(name, rows):
    return draw_frame(name, table_of(rows))


def draw_frame(name, table):
    return figures.FIGURES[name](estimates.build(table), table)


def points(axis, colour):
    lines = [line for line in axis.get_lines() if line.get_color() == colour]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]


def words(figure):
    return " ".join(text.get_text() for text in figure.texts)


def colour(model):
    return models.looks([(model, "")])[model, ""].colour


def timings(**values):
    return [timed("pointer", n, 100.0, **values) for n in LENGTHS]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, grid):
    """Every figure of the whole grid, drawn once through the command line's function."""
    rows, numbers = grid
    out = tmp_path_factory.mktemp("figures")
    figures.write(numbers, rows, out)
    return out


def test_every_figure_is_written_undated_with_hostile_names_as_text(drawn):
    wanted = {f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "svg")}
    assert {path.name for path in drawn.iterdir()} == wanted
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.glob("*.png"))
    for path in drawn.glob("*.svg"):
        tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert not [node for node in tree.iter() if node.tag.endswith(("script", "}date"))]
    tree = ElementTree.fromstring((drawn / "throughput.svg").read_text(encoding="utf-8"))
    assert HOSTILE in [node.text for node in tree.iter() if node.tag.endswith("text")]


def test_no_panel_is_empty_and_every_axis_is_labelled(grid):
    rows, table = grid
    for name in ("time", "speedup", "memory", "operations", "copy_accuracy", "hops", "trade_off"):
        for axis in figures.FIGURES[name](table, rows).axes:
            if axis.get_visible():
                assert axis.has_data(), (name, axis.get_title())
                assert axis.get_xlabel().strip(), name
                assert axis.get_ylabel().strip(), name


def test_files_depend_on_the_rows_alone(tmp_path):
    """Neither the time nor a matplotlibrc nor a notebook's backend changes a figure."""
    rows, numbers = tmp_path / "rows.parquet", tmp_path / "estimates.parquet"
    table_of(timings()).to_parquet(rows)
    estimates.write(table_of(timings()), tmp_path)
    hostile = "text.usetex: True\nfont.size: 30\naxes.facecolor: red\n"
    (tmp_path / "matplotlibrc").write_text(hostile)
    mine = {"MPLBACKEND": "no_such_backend", "MATPLOTLIBRC": str(tmp_path)}
    for folder, more in (("a", {}), ("b", mine)):
        drawing = str(tmp_path / folder / "figures" / "time.png")
        make = [sys.executable, "-m", "workflow.report", "make", drawing]
        command = [*make, "--from", str(rows), str(numbers)]
        subprocess.run(command, env={**os.environ, **more}, check=True, timeout=120)
    for kind in ("png", "svg"):
        first, second = (tmp_path / folder / "figures" / f"time.{kind}" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_time_shows_our_seconds_and_the_papers_hollow_points():
    axis = draw("time", timings()).axes[0]
    (ours,) = points(axis, colour("pointer"))
    (theirs,) = points(axis, colour(paper.MODEL))
    assert ours == ([*LENGTHS], pytest.approx([20 * n * 0.1 / 4096 for n in LENGTHS]))
    assert theirs[1][-1] == 1.45
    (mark,) = [line for line in axis.get_lines() if line.get_color() == colour(paper.MODEL)]
    assert mark.get_markerfacecolor() == "white"
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["256", "512", "1024", "2048"]
    assert "(s)" in axis.get_ylabel()


def test_pointer_map_draws_the_hops_of_the_trace_or_says_that_it_is_missing(tmp_path):
    rows = frame.collect(synthetic.store([traced(512)], tmp_path), tmp_path)
    figure = draw_frame("pointer_map", rows)
    assert len(figure.axes) == 6
    hop = np.asarray(figure.axes[2].collections[0].get_offsets())[:640, 1]
    assert hop[512:].tolist() == [512.0] * 128
    next(tmp_path.glob("*.trace.json")).unlink()
    assert "nothing to draw" in words(draw_frame("pointer_map", rows))


@pytest.mark.parametrize("rows", [[], synthetic.FAILURES], ids=["no rows", "only failures"])
def test_without_a_finished_row_a_figure_says_what_is_missing(rows):
    table = table_of(rows)
    numbers = estimates.build(table)
    for figure in (draw_one(numbers, table) for draw_one in figures.FIGURES.values()):
        assert not figure.axes
        assert "nothing to draw" in words(figure)


def test_controls_alone_are_no_figure():
    alone = [timed("identity", n, 100.0) for n in LENGTHS]
    assert "nothing to draw" in words(draw("throughput", alone))
    assert len(draw("throughput", alone + timings()).axes[0].get_lines())


def test_failed_cells_are_named_above_the_legend():
    lost = failed("oom", "too big", model="transformer", length=2048)
    figure = draw("throughput", [timed("pointer", 512, 100.0), lost])
    assert figure.legends[0].get_title().get_text() == "No point: transformer at 2048: oom"


def test_a_legend_of_many_models_grows_the_figure_and_overlaps_nothing():
    rows = [timed(f"baseline-{i}", n, 100.0 + i) for i in range(25) for n in LENGTHS]
    figure = draw("throughput", rows)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    axis = figure.axes[0].get_tightbbox(renderer)
    legend = figure.legends[0].get_window_extent(renderer)
    assert legend.y1 <= axis.y0 + 1
    assert legend.y0 >= 0
    assert figure.axes[0].get_window_extent(renderer).height > 150


def test_the_trade_off_has_a_point_for_each_model_that_was_timed_and_scored():
    rows = [
        mqar("transformer", 16, 0.9),
        mqar("pointer", 16, 0.3),
        mqar("longformer", 16, 0.2),  # never timed
        mqar("transformer", 4, 1.0),  # fewer models have it
        copied("pointer", 2048, 0.99),
        copied("transformer", 2048, 0.05),
        timed("transformer", 3072, 1.0),  # fewer models have it
        mqar("transformer", 8, 0.7, trunk=SMALL),  # scored and timed on a trunk of its own
        timed("transformer", 128, 10.0, trunk=SMALL),
    ]
    for length in (256, 2048):
        rows += [timed("transformer", length, 400.0), timed("pointer", length, 200.0)]
    figure = draw("trade_off", rows)
    place = f"{models.plain(short(synthetic.SERVER))}, cpu (2 threads), float32"
    assert figure.get_suptitle().splitlines()[1:] == [place]
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [
        "copy over 2048 tokens\ntrunk 6x256x8, timed at N=2048",
        "MQAR with 8 pairs\ntrunk 2x64x2, timed at N=128",
        "MQAR with 16 pairs\ntrunk 6x256x8, timed at N=256",
    ]
    small = points(figure.axes[1], colour("transformer"))[0]
    assert small == (pytest.approx([409_600.0]), [70.0])
    recall = {name: points(figure.axes[2], colour(name))[0] for name in ("transformer", "pointer")}
    assert recall["transformer"] == (pytest.approx([10_240.0]), [90.0])
    assert recall["pointer"] == (pytest.approx([20_480.0]), [30.0])


def test_recall_is_drawn_on_its_own_trunk_by_ten_models_at_most():
    """What all have in common stands in the title; models at one size give way to those at two."""
    with_convolution = {"trunk": SMALL, "settings": {"short_convolution": "on"}}
    content = {"candidates": "offsets+content"}
    names = models.ordered(name for name in registry.names() if not models.is_control(name))[:12]
    rows = [mqar(name, 4, 0.9, **with_convolution) for name in names]
    rows.append(mqar(names[-1], 16, 0.8, **with_convolution))
    by_content = {"trunk": SMALL, "settings": {"short_convolution": "on", "mixer": content}}
    rows.append(mqar("pointer", 4, 0.95, **by_content))
    figure = draw("mqar", rows)
    assert figure.axes[0].get_title().endswith(", trunk 2x64x2, with convolution")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    wanted = [models.title(name) for name in (*names[:8], names[-1])]
    wanted.insert(1, "Pointer, linear (this suite): candidates by content")
    assert texts[: figures.MOST_NAMED] == wanted
    assert figure.legends[0].get_title().get_text().startswith("Of each panel 10 models")


def test_an_ablation_has_a_point_a_seed_and_a_cross_beyond_the_budget_for_never():
    rows = ablated()
    axis = draw("ablation", rows).axes[0]
    lines = [line for line in axis.get_lines() if line.get_marker() in ("o", "x")]
    seen = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in lines]
    solved = sorted(float(row["tokens_to_95"]) for row in rows if row["tokens_to_95"])
    assert sorted(x for x, _, marker in seen if marker == "o") == solved
    assert {x for x, _, marker in seen if marker == "x"} == {200_000 * figures.NEVER}
    assert len({(x, y) for x, y, _ in seen}) == len(rows)
    labels = [label.get_text() for label in axis.get_yticklabels()]
    changed = ["credit to candidates only", "no credit", "k=16, window=8", "k=128"]
    assert labels == ["defaults", *changed]


SMALL = {"layers": 2, "width": 64, "heads": 2}
DISTANCES = (16, 32, 64, 128)


def runs(exponent, never=0):
    """Three seeds a distance, spread by a tenth; the last `never` at the largest never learn."""
    rows = []
    for distance in DISTANCES:
        for seed in range(3):
            tokens = int(1000 * distance**exponent * (0.9 + 0.1 * seed))
            tokens = None if distance == DISTANCES[-1] and seed >= 3 - never else tokens
            accuracy = 0.5 if tokens is None else 0.99
            given = {"seed": seed, "trunk": SMALL, "tokens_to_95": tokens}
            rows.append(copied("transformer", distance, accuracy, **given))
    return rows


def test_the_exponent_is_that_of_the_runs_that_learned():
    made = estimates.build(table_of(runs(0.5, never=1)))
    (fit,) = estimates.select(made, "tokens_to_95_exponent").to_dict("records")
    assert fit["low"] < 0.5 < fit["high"]
    assert (fit["n"], fit["runs"], fit["reason"]) == (11, 12, "1 runs never learned")
    line = estimates.select(made, "tokens_to_95_fit").set_index("x")
    assert line.loc[2048, "value"] == pytest.approx(1000 * math.sqrt(2048), rel=0.15)
    assert line.loc[2048, "low"] < line.loc[2048, "value"] < line.loc[2048, "high"]


def test_a_prediction_holds_a_further_run_at_its_level():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        noise = np.exp(0.3 * rng.standard_normal(13))
        x = np.repeat(DISTANCES, 3)
        found = intervals.predictions(list(x), list(5 * x**0.7 * noise[:12]), [1024])
        held += found[0].low <= 5 * 1024**0.7 * noise[12] <= found[0].high
    assert 0.965 < held / 2000 < 0.985


def test_the_figure_names_the_exponent_and_the_runs_that_never_learned(tmp_path):
    table = table_of(runs(0.5, never=2))
    made = estimates.build(table)
    figures.write(made, table, tmp_path, names=["curves"])
    text = (tmp_path / "curves.svg").read_text()
    assert "transformer: D^0.4" in text
    assert "2 never" in text
    assert "trunk 2x64x2" in text
    drawn = figures.curves(made, table).axes[0]
    heights = [y for line in drawn.lines for y in np.atleast_1d(line.get_ydata())]
    assert max(heights) >= 1.5 * 100_000 / 1000  # the budget is 100,000 tokens
