"""Figures: what is drawn is what the rows say, looks are stable, files reproducible, missing data said in words."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import synthetic
from matplotlib.axes import Axes
from synthetic import HOSTILE, LENGTHS, copied, failed, table_of, timed, traced

from workflow.bench import registry
from workflow.report import canvas, curves, figures, frame, models, summary
from workflow.report.hop_figures import pointer_map


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    """The style that `figures.write` draws in."""
    with matplotlib.rc_context(canvas.STYLE):
        yield


DTYPES = ("float32", "bfloat16")


def lines(axis: Axes, colour: str) -> list[tuple[list[float], list[float]]]:
    """Points of every line of a colour."""
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axis.get_lines()
        if line.get_color() == colour
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every figure of the whole grid, drawn once through the command line's function."""
    out = tmp_path_factory.mktemp("figures")
    manifest = synthetic.store(synthetic.grid(), out / "runs")
    figures.write(frame.collect(manifest, out), out / "figures")
    return out / "figures"


def test_every_figure_is_written_as_png_and_svg(drawn: Path) -> None:
    names = {
        "time",
        "throughput",
        "speedup",
        "memory",
        "operations",
        "copy_accuracy",
        "loss_curves",
        "hops",
        "pointer_map",
        "ablation",
        "two_hop",
        "mqar",
        "trade_off",
    }
    assert {path.name for path in drawn.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.glob("*.png"))


def test_svg_is_well_formed_undated_and_keeps_hostile_names_as_text(drawn: Path) -> None:
    for path in drawn.glob("*.svg"):
        tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert not [node for node in tree.iter() if node.tag.endswith("script") or node.tag.endswith("}date")]
    tree = ElementTree.fromstring((drawn / "throughput.svg").read_text(encoding="utf-8"))
    assert HOSTILE in [node.text for node in tree.iter() if node.tag.endswith("text")]


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    rows = table_of([timed("pointer", n, 100.0) for n in LENGTHS])
    for name in ("a", "b"):
        canvas.save(curves.time(rows), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_time_shows_our_seconds_and_the_papers_hollow_points() -> None:
    axis = curves.time(table_of([timed("pointer", n, 100.0) for n in LENGTHS])).axes[0]
    look = models.looks(["pointer"])["pointer"]
    ours, theirs = lines(axis, look.colour)
    assert ours == (list(map(float, LENGTHS)), pytest.approx([20 * n * 0.1 / 4096 for n in LENGTHS]))
    assert theirs[1][-1] == 1.45
    assert axis.get_lines()[0].get_marker() == axis.get_lines()[1].get_marker() == look.marker
    assert axis.get_lines()[1].get_markerfacecolor() == "white"
    assert [axis.xaxis.get_major_formatter()(tick, 0) for tick in axis.get_xticks()] == ["256", "512", "1024", "2048"]
    assert "(s)" in axis.get_ylabel()


def test_each_machine_has_a_panel_of_its_own() -> None:
    figure = curves.throughput(table_of([timed("pointer", 512, 100.0, machine=m) for m in ("one", "two")]))
    assert [axis.get_title().splitlines()[0] for axis in figure.axes] == ["one", "two"]


def test_speedup_draws_the_median_pair() -> None:
    rows = [timed("transformer", 512, 100.0), timed("pointer", 512, 40.0)]
    axis = curves.speedup(table_of(rows)).axes[0]
    colour = models.looks(["pointer"])["pointer"].colour
    assert lines(axis, colour)[0] == ([512.0], [2.5])


def test_the_papers_points_stand_beside_float32_alone() -> None:
    rows = [timed(model, 512, 100.0, dtype=dtype) for model in ("transformer", "pointer") for dtype in DTYPES]
    for figure in (curves.speedup(table_of(rows)), curves.throughput(table_of(rows)), curves.time(table_of(rows))):
        hollow = {
            axis.get_title().split()[-1]: [line for line in axis.get_lines() if line.get_markerfacecolor() == "white"]
            for axis in figure.axes
        }
        assert [len(hollow[dtype]) > 0 for dtype in DTYPES] == [True, False]


def test_copy_accuracy_is_in_percent_with_its_interval() -> None:
    axis = figures.FIGURES["copy_accuracy"](table_of([copied("pointer", 512, 0.97)])).axes[0]
    low, high = synthetic.wilson(0.97, 10_240)
    (bars,) = [c for c in axis.collections if hasattr(c, "get_segments")]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([100 * low, 100 * high])


def test_pointer_map_draws_the_hops_of_the_trace(tmp_path: Path) -> None:
    figure = pointer_map(frame.collect(synthetic.store([traced(512)], tmp_path), tmp_path))
    assert len(figure.axes) == 6
    hop = np.asarray(figure.axes[2].collections[0].get_offsets())[:1280, 1]
    assert hop[600:].tolist() == [512.0] * 680


def test_a_missing_trace_is_said_in_words() -> None:
    assert "No interpretability row with a trace" in words(pointer_map(table_of([traced(512)])))


def words(figure: matplotlib.figure.Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_without_rows_a_figure_says_what_is_missing(name: str) -> None:
    figure = figures.FIGURES[name](table_of([]))
    assert not figure.axes
    assert "nothing to draw" in words(figure)


def test_only_failures_is_still_a_figure_in_words() -> None:
    rows = [
        failed("error", None, experiment=e, distance=512)
        for e in ("efficiency", "copy", "complexity", "interpretability")
    ]
    for draw in figures.FIGURES.values():
        assert "nothing to draw" in words(draw(table_of(rows)))


def test_failed_cells_are_named_above_the_legend() -> None:
    rows = [timed("pointer", 512, 100.0), failed("oom", "too big", model="transformer", length=2048)]
    figure = curves.throughput(table_of(rows))
    assert figure.legends[0].get_title().get_text() == "No point: transformer at 2048: oom"


def test_smoke_is_stamped(tmp_path: Path) -> None:
    canvas.save(curves.time(table_of([timed("pointer", 512, 100.0)])), tmp_path / "time", "smoke")
    assert "smoke: not for verdicts" in (tmp_path / "time.svg").read_text(encoding="utf-8")


def test_twenty_new_models_look_different_and_shift_no_known_one() -> None:
    new = [f"baseline-{number}" for number in range(20)]
    looks = models.looks([*new, *registry.names()])
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)
    known = models.looks(["pointer"])
    assert all(looks[name] == known[name] for name in registry.names())
    assert models.looks(["theirs"])["theirs"] == models.looks(["mine", "theirs", "yours"])["theirs"]
    assert all(looks[name].colour not in models.COLOURS[: models.OWN_COLOURS] for name in new)


def test_controls_are_grey_and_dashed() -> None:
    for name, look in models.looks([]).items():
        red, green, blue = (look.colour[i : i + 2] for i in (1, 3, 5))
        assert (look.line == "--" and red == green == blue) == models.is_control(name)


def test_a_legend_of_many_models_grows_the_figure_and_overlaps_nothing() -> None:
    rows = [timed(f"baseline-{i}", n, 100.0 + i) for i in range(25) for n in LENGTHS]
    figure = curves.throughput(table_of(rows))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axis, legend = figure.axes[0].get_tightbbox(renderer), figure.legends[0].get_window_extent(renderer)
    assert legend.y1 <= axis.y0 + 1
    assert legend.y0 >= 0
    assert figure.axes[0].get_window_extent(renderer).height > 150


def test_a_name_that_begins_with_an_underscore_or_holds_mathematics_is_shown() -> None:
    assert models.plain("_hidden").strip() == "_hidden"
    assert models.plain("a$b$") == r"a\$b\$"
    assert len(models.plain("x" * 500)) == models.LONGEST_NAME


def test_changed_settings_have_their_models_colour_and_are_told_apart() -> None:
    mixers: list[dict[str, int]] = [{}, {"k": 32}, {"k": 48}]
    rows = table_of([timed("pointer", 512, 100.0, settings={"mixer": mixer}) for mixer in mixers])
    looks = canvas.looks_for(summary.of(rows, "efficiency")["model"])
    drawn = [look for name, look in looks.items() if name.startswith("pointer") and name != "pointer-dense"]
    assert {look.colour for look in drawn} == {models.looks(["pointer"])["pointer"].colour}
    assert len(drawn) == len(mixers) == len({look.marker for look in drawn})


def test_untrained_controls_have_no_loss_curve() -> None:
    rows = table_of([copied("pointer", 512, 0.99), copied("chance", 512, 0.05, loss_curve=[])])
    figure = figures.FIGURES["loss_curves"](rows)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pointer", "guessing, ln V"]
    assert figure.axes[0].get_ylim()[1] > 3.1


def test_close_values_are_drawn_from_zero_and_wide_ones_on_a_logarithm() -> None:
    close = table_of([timed("pointer", n, 100.0, peak_memory_bytes=m * 2**20) for n, m in ((256, 300), (512, 400))])
    assert figures.FIGURES["memory"](close).axes[0].get_yscale() == "linear"
    wide = table_of([timed("pointer", n, 100.0, peak_memory_bytes=m * 2**20) for n, m in ((256, 300), (512, 4000))])
    assert figures.FIGURES["memory"](wide).axes[0].get_yscale() == "log"
