"""What all pages are filtered by: time, source and country. The choice is in the URL, so that a link shows the same.

Belongs here: the choice, and which stretch of time it means. Does not: any figure.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from dashboard.reading import FAILURES, rows

EVERY = "all"
DAY = timedelta(days=1)
UNSETTLED_DAYS = 3
"""Of the newest days late events still come in: they are counted anew, not taken from the daily summary."""


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time up to now.

    Attributes:
        length: Of the whole.
        step: Of one bar in a chart; the ends lie on multiples of it.
    """

    length: timedelta
    step: timedelta


RANGES = {
    "15 minutes": Range(timedelta(minutes=15), timedelta(minutes=1)),
    "1 hour": Range(timedelta(hours=1), timedelta(minutes=1)),
    "6 hours": Range(timedelta(hours=6), timedelta(minutes=10)),
    "24 hours": Range(DAY, timedelta(minutes=30)),
    "7 days": Range(7 * DAY, DAY),
    "30 days": Range(30 * DAY, DAY),
    "90 days": Range(90 * DAY, DAY),
}
DEFAULT = "24 hours"


@dataclass(frozen=True, slots=True)
class Filters:
    """The choice.

    Attributes:
        start: First moment, UTC.
        end: The moment after the last, UTC.
        step: Of one bar in a chart.
        source: Of the transactions; None: of all.
        country: ISO 3166 alpha-2, ZZ where unknown; None: of all.
    """

    start: datetime
    end: datetime
    step: timedelta
    source: str | None = None
    country: str | None = None

    def __str__(self) -> str:
        """Return the choice in words."""
        picked = [word for word in (self.source, self.country) if word]
        words = [f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC", *picked]
        return ", ".join(words)

    def parameters(self) -> dict[str, Any]:
        """Return what the statements of ``queries/`` ask for."""
        today = datetime.combine(self.end - timedelta(microseconds=1), datetime.min.time(), UTC)
        return {
            "start": self.start,
            "end": self.end,
            "step": self.step,
            "settled": today - (UNSETTLED_DAYS - 1) * DAY,
            "source": self.source,
            "country": self.country,
        }


def up_to(now: datetime, chosen: Range) -> tuple[datetime, datetime]:
    """Return start and end of a range, on multiples of its step; the end is the first that is not before ``now``."""
    epoch = datetime.fromtimestamp(0, UTC)
    end = epoch - (epoch - now) // chosen.step * chosen.step
    return end - chosen.length, end


def show_filters() -> None:
    """Show the filters in the side bar; where the warehouse is away, with nothing to choose from: the page tells why."""
    try:
        known = rows("choices")
    except FAILURES:
        known = []
    with st.sidebar:
        names = list(RANGES)
        st.selectbox("Time (UTC)", names, index=names.index(DEFAULT), key="range", bind="query-params")
        for name in ("source", "country"):
            values = sorted({row[name] for row in known})
            st.selectbox(name.capitalize(), [EVERY, *values], key=name, bind="query-params")


def current() -> Filters:
    """Return what is chosen, up to now."""
    chosen = RANGES[st.session_state["range"]]
    start, end = up_to(datetime.now(UTC), chosen)
    source, country = (
        None if st.session_state[name] == EVERY else str(st.session_state[name]) for name in ("source", "country")
    )
    return Filters(start, end, chosen.step, source, country)
