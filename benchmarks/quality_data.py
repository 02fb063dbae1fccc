"""Rows to judge models on, how they are divided, and what many divisions amount to.

Belongs here: tables of rows, divisions, means and intervals over divisions and how they are shown. Does not: any model.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Table
from fraudit_dagster.contract import Contract, load_contract
from fraudit_dagster.synthetic import write_synthetic
from fraudit_dagster.tables import read_table, row_weights

Values = dict[str, float]
"""Figures of one division by name."""
PER = 1000
"""Transactions that a cost is given for."""
VALIDATION, TEST = 0.15, 0.15
SYNTHETIC_SEED = 4
FEW_DECIMALS_FROM = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    divisions: int = 20
    search_divisions: int = 10
    random_settings: int = 30
    shown_settings: int = 8

    @classmethod
    def quick(cls) -> "Sizes":
        """Just enough to see that it runs."""
        return cls(divisions=2, search_divisions=2, random_settings=3, shown_settings=3)


@dataclass(frozen=True, slots=True)
class Means(Table):
    """Rows of means with their intervals: ``cells`` are shown as they are."""

    cells: Sequence[Sequence[str]] = ()

    def headings(self) -> list[str]:
        """Title and columns."""
        return [self.title, *self.columns]

    def rows(self) -> list[list[str]]:
        """Return the cells as text."""
        return [list(row) for row in self.cells]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table to judge on: n rows.

    Attributes:
        name: Of the table, as it is shown.
        contract: What its columns mean.
        table: (n, columns).
        label: (n,), 1 for a fraud.
        weight: (n,), transactions that each row stands for.
        amount: (n,), money at stake.
        group: (n,), the same number for rows that repeat each other in every input.
    """

    name: str
    contract: Contract
    table: pd.DataFrame
    label: NDArray[np.int8]
    weight: NDArray[np.float64]
    amount: NDArray[np.float64]
    group: NDArray[np.int64]

    def classifier_matrix(self) -> NDArray[np.float32]:
        """What the classifier sees, (n, features)."""
        return self.contract.models.xgboost.apply(self.table).astype(np.float32)

    def detector_matrix(self) -> NDArray[np.float32]:
        """What the forest sees, (n, features)."""
        return self.contract.models.random_cut_forest.apply(self.table).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Parts:
    """Row numbers of one division."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over divisions, and its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Estimate from one value for each division.

        Random divisions share most of their rows, so that the plain interval is too narrow; the variance is corrected by the
        share of test to train rows (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
        """
        from scipy.stats import t

        found = np.asarray(values, np.float64)
        corrected = 1 / found.size + TEST / (1 - VALIDATION - TEST)
        half = float(t.ppf(0.975, found.size - 1)) * float(found.std(ddof=1)) * math.sqrt(corrected)
        return cls(float(found.mean()), float(found.mean()) - half, float(found.mean()) + half)


@contextmanager
def rows_of(dataset: Path | None, *, quick: bool) -> Iterator[Rows]:
    """Yield the rows of a table of the shipped contract, or of a synthetic one where none is given."""
    contract = load_contract()
    with TemporaryDirectory() as folder:
        path = dataset
        if path is None:
            path = Path(folder) / "synthetic.parquet"
            size, frauds = (6_000, 120) if quick else (60_000, 492)
            write_synthetic(path, rows=size, frauds=frauds, seed=SYNTHETIC_SEED)
        table = read_table(path, contract)
        yield Rows(
            name=dataset.name if dataset else f"synthetic, seed {SYNTHETIC_SEED}",
            contract=contract,
            table=table,
            label=table[contract.label].to_numpy(np.int8),
            weight=row_weights(table, contract),
            amount=table[contract.amount].to_numpy(np.float64),
            group=table.groupby(list(contract.inputs), sort=False).ngroup().to_numpy(np.int64),
        )


def divide(rows: Rows, *, seed: int) -> Parts:
    """Divide rows at random: the share of frauds is the same on every side, and rows that repeat each other share a side."""
    from sklearn.model_selection import train_test_split

    fraud = pd.Series(rows.label).groupby(rows.group).max().to_numpy()
    groups = np.arange(fraud.size)
    rest, test = train_test_split(groups, test_size=TEST, stratify=fraud, random_state=seed)
    train, validation = train_test_split(
        rest, test_size=VALIDATION / (1 - TEST), stratify=fraud[rest], random_state=seed
    )
    return Parts(*(np.flatnonzero(np.isin(rows.group, side)) for side in (train, validation, test)))


def natural_sample(rows: Rows, part: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return those of the rows that the forest is fitted on: each kept in proportion to its weight, as the split does it."""
    chance = rows.weight[part] / rows.weight[part].max()
    kept: NDArray[np.int64] = part[np.random.default_rng(seed).random(part.size) < chance]
    return kept


def shown(found: Sequence[Values], key: str) -> str:
    """Return mean and interval of a figure over the divisions."""
    return interval([values[key] for values in found])


def difference(found: Sequence[Values], base: Sequence[Values], key: str) -> str:
    """Return mean and interval of a figure's difference to another contender's on the same division."""
    return interval([ours[key] - other[key] for ours, other in zip(found, base, strict=True)], signed=True)


def interval(values: Sequence[float], *, signed: bool = False) -> str:
    """Return mean and 95 % interval as text, with as many decimals as the size asks for."""
    estimate = Estimate.of(values)
    large = max(abs(estimate.low), abs(estimate.high)) >= FEW_DECIMALS_FROM
    sign, decimals = "+" if signed else "", 1 if large else 3
    mean, low, high = (f"{value:{sign},.{decimals}f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"
