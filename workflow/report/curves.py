"""The figure of tokens until 95% over the copy distance, with fitted exponents."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow.bench.cell import Trunk
from workflow.report import models, style
from workflow.report.charts import NEVER
from workflow.report.estimates import from_json, select

TITLE = "Tokens until 95% copy accuracy over the distance"


def curves(estimates: pd.DataFrame, _: pd.DataFrame) -> Figure:
    """Draw a point a run, a line a model with its fitted exponent, dashed with its 95% prediction
    interval beyond the distances that were run; a panel a trunk other than the paper's."""
    copied = {"experiment": "copy", "variant": ""}
    ran = select(estimates, "tokens_to_95", status="ok", **copied)
    ran = ran[ran["trunk"] != str(Trunk())]
    fits, exponents = (
        select(estimates, f"tokens_to_95_{name}", **copied) for name in ("fit", "exponent")
    )
    looks = models.looks(models.series(ran))

    def draw(axis: Axes, group: pd.DataFrame) -> None:
        trunk = group["trunk"].iloc[0]
        for model, line in group.groupby("model", sort=False):
            look = looks[str(model), ""]
            for x, values, budget in zip(line["x"], line["values"], line["tokens"], strict=True):
                tokens = from_json(values)
                learned = tokens.dropna() / 1000
                axis.plot([x] * len(learned), learned, look.marker, color=look.colour, zorder=3)
                never = [NEVER * budget / 1000] * int(tokens.isna().sum())
                hollow: dict[str, Any] = {"color": look.colour, "markerfacecolor": "white"}
                axis.plot([x] * len(never), never, look.marker, zorder=3, **hollow)
            fit = select(fits, "tokens_to_95_fit", model=model, trunk=trunk).sort_values("x")
            last = float(line["x"].max())
            if not line["n"].eq(line["runs"]).all():  # a fit of those that learned predicts nothing
                fit = fit[fit["x"] <= last]
            _draw_fit(axis, fit, last, look.colour)
        style.sizes(axis, [*group["x"], *fits.loc[fits["trunk"] == trunk, "x"]])
        style.plain_log(axis)
        axis.set(xlabel="Copy distance D (tokens)", ylabel="Training tokens until 95% (thousands)")

    parts = {f"trunk {trunk}": group for trunk, group in ran.groupby("trunk")}
    keys = [
        style.key("run that never reached 95%", marker="o", **style.HOLLOW),
        style.key("extrapolation, 97.5% prediction interval", "--"),
    ]
    return style.figure(
        TITLE, parts, draw, height=3.6, width=6.4,
        looks=_named(ran, exponents, looks), keys=keys,
    )  # fmt: skip


def _draw_fit(axis: Axes, fit: pd.DataFrame, last: float, colour: str) -> None:
    """Draw a fit as a line up to the last distance that was run, dashed with its band beyond."""
    if fit.empty:
        return
    inside, beyond = fit[fit["x"] <= last], fit[fit["x"] >= last]
    axis.plot(inside["x"].astype(float), inside["value"] / 1000, color=colour, zorder=2)
    x = beyond["x"].astype(float)
    axis.plot(x, beyond["value"] / 1000, "--", color=colour, linewidth=0.9, zorder=2)
    low, high = beyond["low"] / 1000, beyond["high"] / 1000
    axis.fill_between(x, low, high, color=colour, alpha=0.08, lw=0, zorder=1)


def _named(
    ran: pd.DataFrame, exponents: pd.DataFrame, looks: dict[models.Series, models.Look]
) -> dict[str, models.Look]:
    """Return the looks by model and exponent, such as `transformer: D^0.42 (0.35 to 0.49)`."""
    named = {}
    for model, variant in models.series(ran):
        text = models.label(model, variant)
        own = exponents[exponents["model"] == model]
        for _, fit in own[own["trunk"].isin(set(ran["trunk"]))].iterrows():
            text += f": D^{fit['value']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})"
            never = fit["runs"] - fit["n"]
            text += f", {never} never" if never else ""
        named[text] = looks[model, variant]
    return named
