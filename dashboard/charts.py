"""Charts that several pages draw.

Belongs here: how a figure looks. Does not: where it comes from.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import timedelta

    import altair as alt
    import pandas as pd

    from fraudit_dagster.records import CostOfThreshold

COLORS = {"approved": "#4c78a8", "reviewed": "#e8a33d", "blocked": "#d1495b"}
"""Of decisions: told apart by people who do not tell red from green, on light and on dark ground."""
HEIGHT = 340
SCORE_STEP = 0.02
BAR = 0.9
"""Of the room that a bar has."""
PER = 1000
"""Transactions that a cost is given for."""


def stacked(data: "pd.DataFrame", columns: Sequence[str], *, title: str, step: "timedelta") -> "alt.Chart":
    """Return bars over time, one part for each column.

    Args:
        data: With a column ``at`` in UTC.
        columns: Of ``COLORS``.
        title: Of the values, with their unit.
        step: From one bar to the next.
    """
    import altair as alt

    long = data.melt("at", list(columns), "decision", "value")
    long["until"] = long["at"] + BAR * step
    chart: alt.Chart = (
        alt.Chart(long, height=HEIGHT)
        .mark_bar(orient="vertical")
        .encode(
            _time(data),
            alt.X2("until:T"),
            alt.Y("value:Q", title=title, stack="zero"),
            _decisions(columns),
            tooltip=[_moment(), "decision:N", alt.Tooltip("value:Q", title=title, format=",.0f")],
        )
    )
    return chart


def lines(data: "pd.DataFrame", columns: Sequence[str], *, title: str, floor: float | None = 0) -> "alt.Chart":
    """Return a line over time for each column.

    Args:
        data: With a column ``at`` in UTC.
        columns: To be drawn.
        title: Of the values, with their unit.
        floor: Where the axis starts; None: where the values do.
    """
    import altair as alt

    long = data.melt("at", list(columns), "line", "value")
    chart: alt.Chart = (
        alt.Chart(long, height=HEIGHT)
        .mark_line(point=True)
        .encode(
            _time(data),
            alt.Y("value:Q", title=title, scale=alt.Scale(zero=floor == 0)),
            alt.Color("line:N", sort=list(columns), legend=alt.Legend(orient="top", title=None)),
            tooltip=[_moment(), "line:N", alt.Tooltip("value:Q", title=title, format=",.2f")],
        )
    )
    return chart


def scores(data: "pd.DataFrame", thresholds: Mapping[str, float]) -> "alt.LayerChart":
    """Return how many transactions have which score, by decision, with a line at each threshold.

    Args:
        data: With columns ``score`` (lower end of a step of 0.02), ``decision`` and ``transactions``.
        thresholds: Scores, by name.
    """
    import altair as alt

    decisions = {"approve": "approved", "review": "reviewed", "block": "blocked"}
    named = data.assign(decision=data["decision"].map(decisions), end=data["score"] + SCORE_STEP)
    bars = (
        alt.Chart(named)
        .mark_bar()
        .encode(
            alt.X("score:Q", bin="binned", title="probability of fraud", scale=alt.Scale(domain=[0, 1])),
            alt.X2("end:Q"),
            alt.Y(
                "transactions:Q",
                title="transactions",
                stack=False,
                scale=alt.Scale(type="symlog"),
                axis=alt.Axis(values=[10**power for power in range(7)], labelExpr="format(datum.value, ',')"),
            ),
            _decisions(list(COLORS)),
            tooltip=["score:Q", "decision:N", alt.Tooltip("transactions:Q", format=",")],
        )
    )
    chart: alt.LayerChart = alt.LayerChart(layer=[bars, *_thresholds(thresholds, side="left")], height=HEIGHT)
    return chart


def costs(curve: "CostOfThreshold", thresholds: Mapping[str, float]) -> "alt.LayerChart":
    """Return what a single threshold would cost over where it lies, what the chosen ones cost together, and where they lie.

    Args:
        curve: Costs per transaction.
        thresholds: Probabilities, by name.
    """
    import altair as alt
    import pandas as pd

    lines_of = {
        "review from here on": curve.review,
        "block from here on": curve.block,
        "no model": [curve.nothing] * len(curve.threshold),
        "both thresholds": [curve.chosen] * len(curve.threshold),
    }
    data = pd.DataFrame({"threshold": curve.threshold, **lines_of}).melt(
        "threshold", var_name="line", value_name="cost"
    )
    data["cost"] *= PER
    lowest = curve.threshold[0]
    # The left end, where every good customer would be reviewed or blocked, would flatten all the rest.
    highest = 2.2 * max(curve.nothing, curve.chosen) * PER
    drawn = (
        alt.Chart(data)
        .mark_line(clip=True)
        .encode(
            alt.X("threshold:Q", title="probability of fraud", scale=alt.Scale(type="log", domain=[lowest, 1])),
            alt.Y("cost:Q", title=f"cost per {PER:,} transactions", scale=alt.Scale(domain=[0, highest])),
            alt.Color(
                "line:N",
                scale=alt.Scale(
                    domain=list(lines_of), range=[COLORS["reviewed"], COLORS["blocked"], "#888", COLORS["approved"]]
                ),
                legend=alt.Legend(orient="top", title=None, columns=2),
            ),
            tooltip=["line", alt.Tooltip("threshold:Q", format=".2g"), alt.Tooltip("cost:Q", format=",.1f")],
        )
    )
    shown = {name: max(at, lowest) for name, at in thresholds.items()}
    chart: alt.LayerChart = alt.LayerChart(layer=[drawn, *_thresholds(shown, side="right")], height=HEIGHT)
    return chart


def heat_map(data: "pd.DataFrame", *, limit: float) -> "alt.Chart":
    """Return the population stability index of each feature on each day.

    Args:
        data: With columns ``day``, ``feature``, ``psi`` and ``ks``.
        limit: From where on a feature has drifted: the darkest.
    """
    import altair as alt

    chart: alt.Chart = (
        alt.Chart(data, height=alt.Step(18))
        .mark_rect()
        .encode(
            alt.X("day:O", title=None, timeUnit="utcyearmonthdate", axis=alt.Axis(format="%d %b", labelOverlap=True)),
            alt.Y(
                "feature:N",
                title=None,
                axis=alt.Axis(labelOverlap=False),
                sort=alt.EncodingSortField("psi", "max", "descending"),
            ),
            alt.Color(
                "psi:Q",
                title="index",
                scale=alt.Scale(
                    domain=[0, limit], range=["#e8eef5", "#e8a33d", "#d1495b"], clamp=True, interpolate="rgb"
                ),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["feature", "day:O", alt.Tooltip("psi:Q", format=".3f"), alt.Tooltip("ks:Q", format=".3f"), "rows"],
        )
    )
    return chart


def _thresholds(thresholds: Mapping[str, float], *, side: Literal["left", "right"]) -> "list[alt.Chart]":
    """Return a line at each threshold that a probability can reach, which is the left or the right end of its name."""
    import altair as alt
    import pandas as pd

    within = {name: at for name, at in thresholds.items() if at <= 1}
    at = pd.DataFrame({"at": list(within.values()), "name": [f"{name} at {at:.2g}" for name, at in within.items()]})
    rules = alt.Chart(at).mark_rule(strokeDash=[4, 4], size=2, color="#888").encode(alt.X("at:Q"), tooltip=["name"])
    names = (
        alt.Chart(at)
        .mark_text(align=side, dx=4 if side == "left" else -4, baseline="top", color="#888")
        .encode(alt.X("at:Q"), alt.Text("name"), alt.Y(value=0))
    )
    return [rules, names]


def _decisions(columns: Sequence[str]) -> "alt.Color":
    import altair as alt

    return alt.Color(
        "decision:N",
        scale=alt.Scale(domain=list(columns), range=[COLORS[column] for column in columns]),
        legend=alt.Legend(orient="top", title=None),
    )


def _time(data: "pd.DataFrame") -> "alt.X":
    import altair as alt

    is_of_days = (data["at"].dt.normalize() == data["at"]).all()
    return alt.X(
        "at:T",
        title=None,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(
            format="%d %b" if is_of_days else "%H:%M", labelOverlap=True, tickCount="day" if is_of_days else 8
        ),
    )


def _moment() -> "alt.Tooltip":
    import altair as alt

    return alt.Tooltip("at:T", title="UTC", format="%Y-%m-%d %H:%M", timeUnit="utcyearmonthdatehoursminutes")
