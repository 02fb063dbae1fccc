"""A synthetic table of card transactions, for those who have no data yet.

It has the schema, the size and about the difficulty of the "Credit Card Fraud Detection" set (Worldline and ULB, 2013),
none of its rows: only the constants below were measured on it. It is never to be shown without the word synthetic.
Rows are drawn in chunks of a fixed size, each with a seed of its own: memory stays flat, and a table depends on its
arguments alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pyarrow as pa

ROWS = 284_807
FRAUDS = 492
SEED = 2013
CHUNK_ROWS = 65_536

COMPONENTS = tuple(f"V{number}" for number in range(1, 29))
COLUMNS = ("Time", *COMPONENTS, "Amount", "Class")

SPAN_S = 172_792
MAX_AMOUNT_EUR = 25_691.16

# Transactions in each hour of the day.
HOURLY = (
    196, 113, 93, 88, 50, 75, 104, 163, 250, 382, 430, 398,
    392, 412, 418, 370, 405, 396, 398, 385, 408, 424, 410, 277,
)  # fmt: skip

# Per component V1..V28. Legitimate rows: spread of the bulk, correlation with log(amount), degrees of freedom of the tail.
SPREAD = (
    1.81, 1.50, 1.42, 1.38, 1.17, 1.12, 1.02, 0.72, 1.05, 0.87, 1.01, 0.87, 1.00, 0.79,
    0.92, 0.80, 0.67, 0.79, 0.76, 0.46, 0.47, 0.73, 0.39, 0.60, 0.50, 0.47, 0.26, 0.21,
)  # fmt: skip
AMOUNT_CORRELATION = (
    -0.08, -0.51, 0.00, -0.01, -0.31, 0.20, -0.01, 0.00, -0.08, 0.05, -0.03, -0.05, 0.00, 0.01,
    -0.06, -0.11, 0.06, 0.05, -0.01, 0.19, 0.20, 0.07, -0.05, -0.02, 0.01, -0.05, -0.15, 0.01,
)  # fmt: skip
TAIL_FREEDOM = (
    4.5, 4.0, 6.0, 9.0, 5.0, 5.5, 5.0, 3.0, 8.0, 5.0, 30.0, 6.0, 30.0, 6.0,
    30.0, 10.0, 6.0, 20.0, 12.0, 2.8, 3.0, 12.0, 2.8, 20.0, 8.0, 15.0, 2.8, 2.6,
)  # fmt: skip
# Frauds that stand out: their mean at severity 1, and the spread around it.
FRAUD_MEAN = (
    -5.56, 4.31, -8.19, 5.04, -3.84, -1.62, -6.61, 0.84, -3.03, -6.68, 4.44, -7.28, -0.10, -8.07,
    -0.08, -4.92, -7.98, -2.72, 0.84, 0.45, 0.81, 0.00, -0.03, -0.12, 0.06, 0.07, 0.19, 0.08,
)  # fmt: skip
FRAUD_SPREAD = (
    3.80, 2.60, 2.60, 1.90, 3.30, 1.50, 2.90, 4.50, 1.70, 1.90, 1.50, 1.90, 1.10, 2.20,
    1.04, 1.40, 2.00, 1.30, 1.30, 1.20, 2.60, 1.30, 1.20, 0.51, 0.80, 0.46, 1.20, 0.55,
)  # fmt: skip
# Frauds that hide among the legitimate rows are moved and widened by this alone.
HIDDEN_SCALE = 1.2
HIDDEN_SHIFT = {"V3": -0.7, "V4": 1.8, "V8": -0.9, "V12": -0.65, "V14": -1.0}

HIDDEN_SHARE = 0.16  # of the frauds: boosted trees miss about these
SEVERITY_SHAPE = 1.6  # of the gamma distribution (mean 1) that says how far a fraud stands out
DUPLICATE_SHARE = 0.04  # of the frauds: exact repeats of the one before

# Of the legitimate rows: what costs precision (lookalikes, for trees; outliers, for the forest).
LOOKALIKE_SHARE = 0.0001
LOOKALIKE_SEVERITY = 0.45
OUTLIER_SHARE = 0.009
OUTLIER_SCALE = 5.0
ROW_LOG_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class _Amounts:
    """Log-normal amounts, and prices that come again and again, each with its share of the rows."""

    median_eur: float
    log_spread: float
    prices: tuple[tuple[float, float], ...]


AMOUNTS = _Amounts(
    31.0,
    1.65,
    (
        (1.00, 0.046),
        (1.98, 0.020),
        (0.89, 0.017),
        (9.99, 0.017),
        (15.00, 0.013),
        (10.00, 0.012),
        (1.29, 0.011),
        (0.0, 0.006),
    ),
)
FRAUD_AMOUNTS = _Amounts(40.0, 1.7, ((1.00, 0.23), (99.99, 0.055), (0.0, 0.055), (0.76, 0.035)))


class SyntheticError(ValueError):
    """A table was asked for that cannot be made."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows ``start`` to ``stop`` of the table, and how many of them are frauds."""

    index: int
    start: int
    stop: int
    frauds: int


def write_synthetic(
    path: Path,
    *,
    rows: int = ROWS,
    frauds: int = FRAUDS,
    seed: int = SEED,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a synthetic table as parquet: ``Time`` (s), ``V1``..``V28``, ``Amount`` (EUR), ``Class`` (1 = fraud).

    Rows are in time order, over two days, and the frauds are spread over all of them. The file appears under its name
    only when it is complete.

    Args:
        path: Where to write; an earlier file is replaced.
        rows: Transactions.
        frauds: How many of them are fraudulent, exactly.
        seed: Another seed gives another table; the same one gives the same table.
        progress: Called after each chunk with the number of rows written so far.

    Raises:
        SyntheticError: ``rows`` or ``frauds`` is out of range.
    """
    import pyarrow.parquet as pq

    if rows < 1 or not 0 <= frauds <= rows:
        raise SyntheticError(f"rows={rows}, frauds={frauds}: at least one row, and no more frauds than rows")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    try:
        with pq.ParquetWriter(unfinished, _schema(), compression="zstd") as writer:
            for index, start in enumerate(range(0, rows, CHUNK_ROWS)):
                stop = min(start + CHUNK_ROWS, rows)
                # Counted from the table's start, so that the chunks' shares add up to the exact number.
                chunk = _Chunk(index, start, stop, frauds * stop // rows - frauds * start // rows)
                writer.write_table(_draw(chunk, rows=rows, seed=seed))
                if progress:
                    progress(stop)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def kept_table(folder: Path) -> Path:
    """Return where the table of the default size, shares and seed is kept below ``folder``; it need not be there.

    Other code, or other libraries under it, have another place: what is there is what would be made anew.
    """
    makers = f"{version('numpy')} {version('pyarrow')}".encode() + Path(__file__).read_bytes()
    return folder / f"synthetic-{hashlib.sha256(makers).hexdigest()[:12]}" / "synthetic.parquet"


def keep_table(folder: Path) -> Path:
    """Return the table of the default size, shares and seed, which the first call makes below ``folder``."""
    kept = kept_table(folder)
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent) as made:
            write_synthetic(Path(made) / kept.name)
            (Path(made) / kept.name).replace(kept)
    return kept


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.int8() if name == "Class" else pa.float64()) for name in COLUMNS])


def _draw(chunk: _Chunk, *, rows: int, seed: int) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng([seed, chunk.index])
    size = chunk.stop - chunk.start
    fraud = np.sort(rng.choice(size, chunk.frauds, replace=False))
    label = np.zeros(size)
    label[fraud] = 1

    time = _times((np.arange(chunk.start, chunk.stop) + rng.random(size)) / rows)
    amount = _amounts(rng, size, AMOUNTS)
    amount[fraud] = _amounts(rng, fraud.size, FRAUD_AMOUNTS)
    components = _legitimate(rng, amount)

    is_hidden = rng.random(fraud.size) < HIDDEN_SHARE
    hidden, standing_out = fraud[is_hidden], fraud[~is_hidden]
    components[hidden] = components[hidden] * HIDDEN_SCALE + [HIDDEN_SHIFT.get(name, 0.0) for name in COMPONENTS]
    components[standing_out] = _standing_out(rng, standing_out.size, severity=1.0)
    lookalike = np.flatnonzero((rng.random(size) < LOOKALIKE_SHARE) & (label == 0))
    components[lookalike] = _standing_out(rng, lookalike.size, severity=LOOKALIKE_SEVERITY)

    values = np.column_stack([time, components.round(6), amount, label])
    repeated = 1 + np.flatnonzero(rng.random(max(fraud.size - 1, 0)) < DUPLICATE_SHARE)
    values[fraud[repeated]] = values[fraud[repeated - 1]]
    values = values[np.argsort(values[:, 0], kind="stable")]
    schema = _schema()
    columns = [pa.array(column).cast(field.type) for column, field in zip(values.T, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _times(rank: np.ndarray) -> np.ndarray:
    """Whole seconds since the first transaction, busy by day and quiet by night, from ranks in [0, 1)."""
    import numpy as np

    passed = np.cumsum((0, *HOURLY, *HOURLY))
    seconds: np.ndarray = np.floor(np.interp(rank, passed / passed[-1], np.linspace(0, SPAN_S, passed.size)))
    return seconds


def _amounts(rng: np.random.Generator, size: int, law: _Amounts) -> np.ndarray:
    import numpy as np

    amount: np.ndarray = np.exp(rng.normal(np.log(law.median_eur), law.log_spread, size))
    amount = np.minimum(amount, MAX_AMOUNT_EUR).round(2)
    prices, shares = np.array(law.prices).T
    which = np.searchsorted(shares.cumsum(), rng.random(size), side="right")
    priced = which < prices.size
    amount[priced] = prices[which[priced]]
    return amount


def _legitimate(rng: np.random.Generator, amount: np.ndarray) -> np.ndarray:
    """Components of legitimate rows, shape (rows, 28): heavy-tailed, a few rows unusual in all of them."""
    import numpy as np

    correlation, freedom = np.array(AMOUNT_CORRELATION), np.array(TAIL_FREEDOM)
    row_scale = np.exp(rng.normal(0, ROW_LOG_SPREAD, amount.size))
    row_scale[rng.random(amount.size) < OUTLIER_SHARE] *= OUTLIER_SCALE
    noise = rng.standard_t(freedom, (amount.size, freedom.size)) * np.sqrt((freedom - 2) / freedom)
    noise *= np.sqrt(1 - correlation**2) * row_scale[:, None]
    standing = (np.log1p(amount) - np.log1p(AMOUNTS.median_eur)) / AMOUNTS.log_spread
    components: np.ndarray = (noise + np.outer(standing, correlation)) * SPREAD
    return components


def _standing_out(rng: np.random.Generator, size: int, *, severity: float) -> np.ndarray:
    """Components of rows that look like fraud, shape (rows, 28): one direction, more or less far along it."""
    import numpy as np

    severities = severity * rng.gamma(SEVERITY_SHAPE, 1 / SEVERITY_SHAPE, size)
    noise = rng.normal(0, 1, (size, len(FRAUD_SPREAD))) * FRAUD_SPREAD
    components: np.ndarray = np.outer(severities, FRAUD_MEAN) + noise * np.sqrt(0.2 + severities)[:, None]
    return components
