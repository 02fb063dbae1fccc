"""Traffic from a table: its rows as transactions of customers with habits, on a clock of our choosing, and what is said of them later.

Belongs here: which request is made of which row, and which label follows when. Does not: sending them (``resources/traffic.py``).
What a client sends besides the inputs is invented and seeded; its addresses are reserved for benchmarks (RFC 2544), nobody's.
"""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pandas as pd

ADDRESSES = ipaddress.ip_network("198.18.0.0/15")
EVENTS_PER_CUSTOMER = 20
P_AWAY = 0.03  # a transaction made from another place than home
P_OTHER_SOURCE = 0.1  # a transaction made by another way than usual
DELAY_SPREAD = 0.6  # standard deviation of the logarithm of a label's delay: 95 % within a factor of 3.2 of the median

Order = Literal["time", "shuffled"]

# Who says what a transaction was: source, share, and the median of its delay as a part of a chargeback's.
_TELLERS = {
    1: (("chargeback", 0.7, 1.0), ("customer", 0.2, 0.25), ("analyst", 0.1, 0.05)),
    0: (("analyst", 0.8, 0.05), ("customer", 0.2, 0.25)),
}
_SOURCES = ("Mobile App", "Web", "POS", "ATM")
_DEVICES = (
    ("phone", "Android 16"),
    ("phone", "iOS 26.1"),
    ("tablet", "iPadOS 26.1"),
    ("desktop", "Windows 11"),
    ("desktop", "macOS 26"),
)
_APP_VERSIONS = ("4.1.3", "4.2.0", "4.2.1")
_PLACES = (
    {"country": "NL", "region": "Noord-Holland", "city": "Amsterdam", "latitude": 52.3676, "longitude": 4.9041},
    {"country": "DE", "region": "Berlin", "city": "Berlin", "latitude": 52.52, "longitude": 13.405},
    {"country": "FR", "region": "Ile-de-France", "city": "Paris", "latitude": 48.8566, "longitude": 2.3522},
    {"country": "BE", "region": "Brussels", "city": "Brussels", "latitude": 50.8503, "longitude": 4.3517},
    {"country": "ES", "region": "Madrid", "city": "Madrid", "latitude": 40.4168, "longitude": -3.7038},
    {"country": "IT", "region": "Lazio", "city": "Rome", "latitude": 41.9028, "longitude": 12.4964},
    {"country": "GB", "region": "England", "city": "London", "latitude": 51.5074, "longitude": -0.1278},
    {"country": "US", "region": "New York", "city": "New York", "latitude": 40.7128, "longitude": -74.006},
)


class SimulationError(ValueError):
    """The table or the arguments allow no traffic; the message says why."""


class TableColumns(Protocol):
    """The part of a data contract that traffic is made by."""

    @property
    def inputs(self) -> Sequence[str]:
        """Columns that a client sends, in this order."""

    @property
    def label(self) -> str:
        """Column that is 1 for fraud."""

    @property
    def amount(self) -> str:
        """Input that is the money at stake."""

    @property
    def time(self) -> str | None:
        """Column that orders the rows (seconds or a timestamp), or None: their order in the table does."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """How much is said of the transactions later on, and how late.

    Attributes:
        share: Of the transactions that get a label, 0 to 1, whatever it is.
        median_delay: From a transaction to its chargeback, on the run's clock. Customers are four times as fast, analysts twenty
            times. The delay is log-normal: a few come very late.
    """

    share: float
    median_delay: timedelta

    def __post_init__(self) -> None:
        """Refuse what is no share or no delay."""
        if not 0 <= self.share <= 1 or self.median_delay <= timedelta(0):
            raise SimulationError(f"a share lies between 0 and 1 and a delay is longer than nothing: {self}")


@dataclass(frozen=True, slots=True)
class Drift:
    """A world that changes: from a moment on, transactions are others than those that the models have learnt from.

    Attributes:
        shift: How far every input moves but the time, in standard deviations of the table's; the amount, which is never below
            zero, grows by this factor.
        from_share: When it sets in, as a share of the time that the transactions are spread over.
    """

    shift: float
    from_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no shift or no share."""
        if not (0 < self.shift < float("inf") and 0 <= self.from_share < 1):
            raise SimulationError(f"a shift is above 0 and sets in at a share from 0 to below 1: {self}")


@dataclass(frozen=True, slots=True)
class SimulatedLabel:
    """The truth about one transaction, as it comes in later.

    Attributes:
        due: When it is sent, on the run's clock.
        body: Body for ``POST /feedback``.
        comes: Whether it is there by the end of the time that the run covers; the others are still to come when it ends.
    """

    due: datetime
    body: dict[str, Any]
    comes: bool


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """One request, and what the table knows about it.

    Attributes:
        transaction_id: uuid5 of run id, row and lap: the same run makes the same ids, two equal rows differ.
        body: Body for ``POST /predict``.
        row: Position of the row in the table, from 0.
        clock: Where the run is in the time that it covers; in time order, the transaction's own time.
        feedback: What is said of it later, or None.
    """

    transaction_id: str
    body: dict[str, Any]
    row: int
    clock: datetime
    feedback: SimulatedLabel | None


def plan_events(
    table: pd.DataFrame,
    columns: TableColumns,
    *,
    run_id: str,
    seed: int,
    events: int,
    start: datetime,
    end: datetime,
    order: Order = "time",
    feedback: Feedback | None = None,
    drift: Drift | None = None,
) -> Iterator[SimulatedEvent]:
    """Plan requests from rows drawn at random without replacement; where the table is too short, from all its rows again.

    The time span of the rows that were drawn is mapped linearly onto [start, end], lap after lap. What is kept in memory grows
    with the table and the number of customers, not with the events.

    Args:
        table: Shape (rows, columns), with the inputs, the label and the time.
        columns: Names in the table; a ``Contract`` is one.
        run_id: Goes with every event, and into every transaction id.
        seed: Of the draw, of the customers and of the feedback.
        events: How many.
        start: Time of the first event, with an offset.
        end: Time of the last event, with an offset.
        order: As the transactions were made, or shuffled within a lap: then their times are those of the time order, the
            sequence is not.
        feedback: None: nothing is said of any transaction later. It changes no request of another kind.
        drift: None: the transactions are the table's.

    Raises:
        SimulationError: The table is empty, lacks a column or a time, or the times are not in order.
    """
    needed = [*columns.inputs, columns.label, *([columns.time] if columns.time else [])]
    missing = [name for name in dict.fromkeys(needed) if name not in table.columns]
    if missing:
        raise SimulationError(f"the table lacks the columns {', '.join(missing)}")
    if table.empty or events < 1:
        raise SimulationError(f"no traffic can be made of {len(table)} rows and {events} events")
    if start.tzinfo is None or end.tzinfo is None or start > end:
        raise SimulationError(f"start {start} must not be after end {end}, and both need an offset")
    return _events(
        table,
        columns,
        run_id=run_id,
        seed=seed,
        events=events,
        start=start,
        end=end,
        order=order,
        feedback=feedback,
        drift=drift,
    )


def _events(
    table: pd.DataFrame,
    columns: TableColumns,
    *,
    run_id: str,
    seed: int,
    events: int,
    start: datetime,
    end: datetime,
    order: Order,
    feedback: Feedback | None,
    drift: Drift | None,
) -> Iterator[SimulatedEvent]:
    import numpy as np

    random, later = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    seconds = _seconds(table, columns.time)
    span_s = (end - start).total_seconds()
    usual = table[list(columns.inputs)].to_numpy(dtype=np.float64)
    changed, changed_from_s = usual, np.inf
    if drift is not None:
        changed, changed_from_s = _drifted(usual, columns, drift), drift.from_share * span_s
    labels = table[columns.label].to_numpy()
    run = uuid.uuid5(uuid.NAMESPACE_URL, run_id)
    customers = [_Customer.draw(random, number) for number in range(max(1, events // EVENTS_PER_CUSTOMER))]
    for first in range(0, events, len(table)):
        rows = random.permutation(len(table))[: events - first]
        rows, shares = _in_time(rows, seconds[rows], columns.time)
        clock_s = (first + shares * len(rows)) / events * span_s
        sequence = np.arange(len(rows)) if order == "time" else random.permutation(len(rows))
        lap = f"/{first // len(table)}" if first else ""
        for now_s, row, offset_s in zip(
            clock_s.tolist(), rows[sequence].tolist(), clock_s[sequence].tolist(), strict=True
        ):
            transaction_id = str(uuid.uuid5(run, f"{row}{lap}"))
            clock = (start + timedelta(seconds=now_s)).astimezone(UTC)
            occurred_at = (start + timedelta(seconds=offset_s)).astimezone(UTC)
            metadata = {
                "transaction_id": transaction_id,
                "run_id": run_id,
                "timestamp": occurred_at.isoformat(timespec="milliseconds"),
                **customers[random.integers(len(customers))].transact(random),
            }
            inputs = changed if offset_s >= changed_from_s else usual
            data = ",".join(map(repr, inputs[row].tolist()))
            told = None
            if feedback is not None and later.random() < feedback.share:
                source, delay = _told_by(int(labels[row]), feedback.median_delay, later)
                labelled_at = occurred_at + delay
                body = {
                    "transaction_id": transaction_id,
                    "label": int(labels[row]),
                    "source": source,
                    "labelled_at": labelled_at.isoformat(timespec="milliseconds"),
                }
                told = SimulatedLabel(clock + delay, body, comes=labelled_at <= end)
            yield SimulatedEvent(transaction_id, {"metadata": metadata, "data": data}, row, clock, told)


def _drifted(inputs: np.ndarray, columns: TableColumns, drift: Drift) -> np.ndarray:
    """Return the inputs as they are after the drift; shape (rows, inputs)."""
    import numpy as np

    names = list(columns.inputs)
    moved: np.ndarray = inputs + drift.shift * np.nanstd(inputs, axis=0)
    amount = names.index(columns.amount)
    moved[:, amount] = inputs[:, amount] * (1 + drift.shift)
    if columns.time in names:
        time = names.index(columns.time)
        moved[:, time] = inputs[:, time]
    return moved


def _told_by(label: int, median: timedelta, random: np.random.Generator) -> tuple[str, timedelta]:
    """Draw who says what a transaction was, and how long after it."""
    tellers = _TELLERS[label]
    source, _, part = tellers[random.choice(len(tellers), p=[share for _, share, _ in tellers])]
    return source, median * part * float(random.lognormal(0.0, DELAY_SPREAD))


def _in_time(rows: np.ndarray, times: np.ndarray, name: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in time order, and how far each is through their time, 0 to 1; shapes (rows,)."""
    import numpy as np

    if not np.isfinite(times).all():
        raise SimulationError(f"column {name!r} lacks the time of some rows")
    order = np.lexsort((rows, times))
    times = times[order]
    return rows[order], (times - times[0]) / ((times[-1] - times[0]) or 1.0)


def _seconds(table: pd.DataFrame, time: str | None) -> np.ndarray:
    """The rows' times as seconds from any origin, shape (rows,)."""
    import numpy as np
    import pandas as pd

    if time is None:
        return np.arange(len(table), dtype=np.float64)
    column = table[time]
    if pd.api.types.is_numeric_dtype(column):
        numbers: np.ndarray = column.to_numpy(dtype=np.float64)
        return numbers
    try:
        moments = pd.to_datetime(column, utc=True)
    except (ValueError, TypeError) as error:
        raise SimulationError(f"column {time!r} holds neither seconds nor timestamps: {error}") from error
    seconds: np.ndarray = ((moments - moments.min()) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    return seconds


@dataclass(frozen=True, slots=True)
class _Customer:
    """Somebody with a home, a device and a usual way to pay."""

    user_id: str
    home: int
    source: int
    device: int
    app_version: str
    address: str

    @classmethod
    def draw(cls, random: np.random.Generator, number: int) -> _Customer:
        return cls(
            user_id=f"user-{number:06d}",
            home=int(random.integers(len(_PLACES))),
            source=int(random.integers(len(_SOURCES))),
            device=int(random.integers(len(_DEVICES))),
            app_version=_APP_VERSIONS[random.integers(len(_APP_VERSIONS))],
            address=str(ADDRESSES[int(random.integers(1, ADDRESSES.num_addresses - 1))]),
        )

    def transact(self, random: np.random.Generator) -> dict[str, Any]:
        """Metadata of one transaction, as the API takes it."""
        place, source = self.home, self.source
        if random.random() < P_AWAY:
            place = int(random.integers(len(_PLACES)))
        if random.random() < P_OTHER_SOURCE:
            source = int(random.integers(len(_SOURCES)))
        device_type, os_version = _DEVICES[self.device]
        return {
            "user_id": self.user_id,
            "source": _SOURCES[source],
            "device_info": {"device_type": device_type, "os_version": os_version, "app_version": self.app_version},
            "ip_address": self.address,
            "geo": dict(_PLACES[place]),
        }
