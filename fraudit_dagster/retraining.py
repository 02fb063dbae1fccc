"""When what became known later is reason enough to train again.

Belongs here: the decisions of the triggers, from numbers of the daily tables. Does not: reading those tables and requesting runs
(``jobs/triggers.py``), what counts as drift of one feature (``drift.py``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date, timedelta

Z = 1.96  # of a two-sided 95 % interval
REST = timedelta(days=7)
"""A retraining that changed nothing is not asked for again every day."""


@dataclass(frozen=True, slots=True)
class Requested:
    """What a trigger asked for last: the cursor of its sensor.

    Attributes:
        manifest_version: What served then.
        day: The newest day that was known then.
    """

    manifest_version: str
    day: date

    @classmethod
    def read(cls, cursor: str | None) -> Requested | None:
        """Return what a cursor says; None where there is none, or one that is not ours."""
        try:
            said = json.loads(cursor or "")
            return cls(str(said["manifest_version"]), date.fromisoformat(said["day"]))
        except (ValueError, KeyError, TypeError):
            return None

    def written(self) -> str:
        """Return it as a cursor."""
        return json.dumps({"manifest_version": self.manifest_version, "day": self.day.isoformat()})

    def still_rests(self, manifest_version: str, day: date) -> bool:
        """Whether ``day`` is too soon to ask again about the same champion; another champion is asked about at once."""
        return self.manifest_version == manifest_version and day < self.day + REST


def wilson_upper(hits: int, of: int) -> float:
    """Return the upper end of the 95 % Wilson score interval of a share, 0 to 1; 1 where nothing was observed.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).

    Args:
        hits: Observations that count, at most ``of``.
        of: All observations.
    """
    if of == 0:
        return 1.0
    share, spread = hits / of, Z * Z / of
    centre = share + spread / 2
    return (centre + Z * math.sqrt(share * (1 - share) / of + spread / (4 * of))) / (1 + spread)


def has_fallen(*, caught: int, frauds: int, promised_recall: float, margin: float) -> bool:
    """Whether a champion flags fewer of the frauds than it did when it was judged, by more than chance and ``margin``.

    Few frauds leave a wide interval, so that a day or two without luck is no reason.

    Args:
        caught: Known frauds that were flagged.
        frauds: Known frauds.
        promised_recall: Share of the frauds that it flagged on the test part.
        margin: Of recall that may be lost.
    """
    return wilson_upper(caught, frauds) < promised_recall - margin
