"""Whether the transactions of a day are distributed like those that a model was trained and judged on.

Belongs here: profiles of what a model knew, and two distances of later counts from them. Does not: reading the warehouse or S3
(``assets/drift.py``), what follows from drift (``retraining.py``).

Two measures, since each is blind where the other sees. The population stability index adds up what moved between tenths of the
profile, also far out where few transactions are; the Kolmogorov-Smirnov distance is the largest difference between the two
cumulative distributions, also where a profile has but one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudit_dagster.records import Profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

PSI_LIMIT = 0.2
"""From here on a distribution has changed: between the 0.1 of "slight" and the 0.25 of "major" in N. Siddiqi, Credit Risk
Scorecards (Wiley 2006)."""
KS_LIMIT = 0.1
"""From here on a tenth of the transactions lies elsewhere."""
LEAST_ROWS = 500
"""Fewer say nothing: by chance alone 10 bins of 500 rows reach an index of 0.03 and a distance of 0.06 one time in twenty."""
QUANTILES = 100
BINS = 10
LEAST_SHARE = 1e-4
"""An empty bin is taken to hold this share, or its logarithm would be infinite."""
MARGIN = 1e-6
"""Of the largest value: how far beyond the profile's ends a value has to be to count as outside."""


def drifted(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the features and scores that have drifted, the farthest first.

    Args:
        rows: Of ``daily_feature_drift``, of one day: ``feature``, ``rows``, and ``psi`` and ``ks``, None where they are not known.
    """
    moved = [
        row
        for row in rows
        if row["rows"] >= LEAST_ROWS and ((row["psi"] or 0) >= PSI_LIMIT or (row["ks"] or 0) >= KS_LIMIT)
    ]
    farthest_first = sorted(moved, key=lambda row: (-(row["psi"] or 0), -(row["ks"] or 0), row["feature"]))
    return list(dict.fromkeys(row["feature"] for row in farthest_first))


def profile_of(values: ArrayLike, weights: ArrayLike | None = None) -> Profile:
    """Return how values are distributed.

    An edge lies half-way between two values that were seen, so that neither a value that many rows share nor the last digit of a
    computation decides on which side one falls.

    Args:
        values: Numbers, NaN where there is none; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
    """
    import numpy as np

    value = np.asarray(values, np.float64)
    weight = np.ones(value.shape) if weights is None else np.asarray(weights, np.float64)
    there = ~np.isnan(value)
    missing = 1 - float(weight[there].sum() / weight.sum()) if value.size else 0.0
    if not there.any():
        return Profile(edges=(), below=(), missing=missing, rows=value.size)
    order = np.argsort(value[there], kind="stable")
    sorted_, cumulated = value[there][order], np.append(0.0, np.cumsum(weight[there][order]))
    share = cumulated / cumulated[-1]  # of what lies before each place
    at = np.searchsorted(share, np.arange(1, QUANTILES) / QUANTILES)
    quantiles = sorted_[np.minimum(at, sorted_.size - 1)]
    before, behind = (np.searchsorted(sorted_, quantiles, side) for side in ("left", "right"))
    shared = share[behind] - share[before] > 1 / QUANTILES
    places = np.unique(np.concatenate([before, behind[shared]]))
    places = places[(places > 0) & (places < sorted_.size)]
    half_way = (sorted_[places - 1] + sorted_[places]) / 2
    margin = MARGIN * (max(abs(sorted_[0]), abs(sorted_[-1])) or 1.0)
    return Profile(
        edges=(
            float(sorted_[0] - margin),
            *np.where(half_way > sorted_[places - 1], half_way, sorted_[places]).tolist(),
            float(sorted_[-1] + margin),
        ),
        below=(0.0, *share[places].tolist(), 1.0),
        missing=missing,
        rows=value.size,
    )


@dataclass(slots=True)
class Tally:
    """Later values, counted between the edges of a profile a batch at a time.

    Attributes:
        profile: Of what a model knew; None, or one without an edge: the values are counted and not compared.
        counts: Of values below the first edge, from each edge to the next, and from the last one on; shape (edges + 1,).
        missing: Rows without a value.
        total: Sum of the values.
    """

    profile: Profile | None
    counts: NDArray[np.int64]
    missing: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, profile: Profile | None) -> Tally:
        """Begin to count."""
        import numpy as np

        return cls(profile, np.zeros(len(profile.edges if profile else ()) + 1, np.int64))

    def add(self, values: Floats) -> None:
        """Count values, NaN where there is none; shape (rows,)."""
        import numpy as np

        there = values[~np.isnan(values)]
        edges = np.asarray(self.profile.edges if self.profile else (), np.float64)
        self.counts += np.bincount(np.searchsorted(edges, there, side="right"), minlength=self.counts.size)
        self.missing += values.size - there.size
        self.total += float(there.sum())

    @property
    def rows(self) -> int:
        """All that were counted."""
        return int(self.counts.sum()) + self.missing

    @property
    def mean(self) -> float | None:
        """Of the values; None where there is none."""
        there = int(self.counts.sum())
        return self.total / there if there else None

    def distances(self) -> tuple[float | None, float | None]:
        """Return the population stability index and the Kolmogorov-Smirnov distance; None where there is nothing to compare.

        The index is the sum of (a - e) ln(a / e) over bins, with the shares a of now and e of the profile (B. Yurdakul and J.
        Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation 14 (2020)). The bins
        are tenths of the profile, or what its edges allow, and one more for values that are missing.

        The distance is seen at the edges alone, and so too small by up to 0.01. It is None where no row has a value.
        """
        import numpy as np

        if self.profile is None or not self.profile.edges or not self.rows:
            return None, None
        there = int(self.counts.sum())
        below = np.append(0.0, self.profile.below)  # what lies before each bin
        tenth = np.minimum((below * BINS + MARGIN).astype(np.int64), BINS - 1)
        known = np.bincount(tenth, np.diff(np.append(below, 1.0)), BINS)
        expected = np.append(known * (1 - self.profile.missing), self.profile.missing)
        actual = np.append(np.bincount(tenth, self.counts, BINS), self.missing) / self.rows
        e, a = np.maximum(expected, LEAST_SHARE), np.maximum(actual, LEAST_SHARE)
        psi = float(((a - e) * np.log(a / e)).sum())
        if not there:
            return psi, None
        return psi, float(np.abs(np.cumsum(self.counts)[:-1] / there - self.profile.below).max())
