"""Repetitions and their statistics.

Belongs here: who is measured when, and what many values amount to. Does not: what is measured.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Contender = Callable[[], Mapping[str, float]]
"""Measures once and returns the values by the name of their figure."""


@dataclass(frozen=True, slots=True)
class Series:
    """What the repetitions of one measurement gave."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest value."""
        return max(self.values)

    def over(self, other: "Series") -> "Series":
        """Return the ratio to another series, repetition by repetition."""
        return Series(tuple(mine / its for mine, its in zip(self.values, other.values, strict=True)))


def interleaved(
    contenders: Mapping[str, Contender], *, repetitions: int, advance: Callable[[], None]
) -> dict[str, dict[str, Series]]:
    """Measure all contenders in turn, again and again, so that what else the machine does meets all of them alike.

    Args:
        contenders: What to measure, by name.
        repetitions: How often each is measured.
        advance: Called after each measurement.

    Returns:
        The series by contender and by figure.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    for _ in range(repetitions):
        for name, contender in contenders.items():
            for figure, value in contender().items():
                found[name].setdefault(figure, []).append(value)
            advance()
    return {
        name: {figure: Series(tuple(values)) for figure, values in figures.items()} for name, figures in found.items()
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which the given share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def growth_exponent(small: Series, large: Series, *, factor: float) -> Series:
    """Return k where the cost grows as size^k: 1 is as fast as the work; ``large`` is the cost of ``factor`` times the size."""
    return Series(tuple(math.log(ratio) / math.log(factor) for ratio in large.over(small).values))


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the rank correlation of two scorings of the same rows, (n,) each, without ties."""
    ranks = np.stack([np.argsort(np.argsort(scores)) for scores in (first, second)])
    correlations: NDArray[np.float64] = np.asarray(np.corrcoef(ranks))
    return float(correlations[0, 1])
