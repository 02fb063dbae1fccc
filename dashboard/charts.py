"""Charts that several pages draw.

Belongs here: how a figure looks. Does not: where it comes from.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COLORS = {"approved": "#4c78a8", "reviewed": "#e8a33d", "blocked": "#d1495b"}
"""Of decisions: told apart by people who do not tell red from green, on light and on dark ground."""
HEIGHT = 260


def stacked(data: "pd.DataFrame", columns: Sequence[str], *, title: str) -> "alt.Chart":
    """Return bars over time, one part for each column.

    Args:
        data: With a column ``at`` in UTC.
        columns: Of ``COLORS``.
        title: Of the values, with their unit.
    """
    import altair as alt

    long = data.melt("at", list(columns), "decision", "value")
    chart: alt.Chart = (
        alt.Chart(long, height=HEIGHT)
        .mark_bar()
        .encode(
            _time(data),
            alt.Y("value:Q", title=title),
            alt.Color(
                "decision:N",
                scale=alt.Scale(domain=list(columns), range=[COLORS[column] for column in columns]),
                legend=alt.Legend(orient="top", title=None),
            ),
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
