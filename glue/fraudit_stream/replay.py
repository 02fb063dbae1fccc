"""Quarantined events through the rules again: what is an event by now becomes a row.

Belongs here: which events, and where each of them stands afterwards. Does not: the rules (``events.py``), rows (``sink.py``).

An event is judged as of its arrival, by the rules of this code: one that was outside the window of accepted times is let in by a wider
window and never by waiting. Conflicts are left alone: they are valid, and which of two answers is true is for a person to say.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fraudit_stream.database import Database
from fraudit_stream.events import Kind, Reason
from fraudit_stream.sink import store_rows
from fraudit_stream.transform import Record, classify_record

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

REPLAYABLE = frozenset(Reason) - {Reason.CONFLICT}
EVENTS_AT_ONCE = 100
"""Events of up to 1 MB in memory, and in one transaction."""

Place = tuple[str, str]
"""Shard and sequence number of a quarantined event."""

_WAITING = "select count(*) from fraud.quarantined_events where replayed_at is null and reason = any(%(reasons)s)"

_SOME = """
select shard_id, sequence_number, arrived_at, raw from fraud.quarantined_events
where
    replayed_at is null
    and reason = any(%(reasons)s)
    and (shard_id, sequence_number) > (%(shard_id)s, %(sequence_number)s)
order by shard_id, sequence_number
limit %(at_most)s
for update
"""

_OUTCOME = """
update fraud.quarantined_events as event
set
    replayed_at = case when new.reason is null then clock_timestamp() end,
    reason = coalesce(new.reason, event.reason),
    detail = coalesce(new.detail, event.detail)
from
    unnest(%(shard_ids)s::text[], %(sequence_numbers)s::text[], %(reasons)s::text[], %(details)s::text[])
        as new (shard_id, sequence_number, reason, detail)
where
    event.shard_id = new.shard_id
    and event.sequence_number = new.sequence_number
    and (new.reason is null or (event.reason, event.detail) is distinct from (new.reason, new.detail))
"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of some quarantined events.

    Attributes:
        rows: Events that are new rows now, or labels.
        duplicates: Predictions that were stored already, with the same content.
        kept: Events that stay in quarantine, by their reason of now.
    """

    rows: int
    duplicates: int
    kept: Counter[str]

    @property
    def events(self) -> int:
        """All of them."""
        return self.rows + self.duplicates + self.kept.total()

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(self.rows + other.rows, self.duplicates + other.duplicates, self.kept + other.kept)


def waiting(database: Database, *, reasons: Collection[Reason]) -> int:
    """Return how many events of these reasons are in quarantine.

    Raises:
        SinkError: PostgreSQL stayed away, or refused to say.
    """

    def count(cursor: "Cursor") -> int:
        cursor.execute(_WAITING, {"reasons": list(reasons)})
        (number,) = cursor.fetchone() or (0,)
        return int(number)

    return database.transact(count, task="a look at the quarantine")


def replay(database: Database, *, reasons: Collection[Reason], dry_run: bool) -> Iterator[Replayed]:
    """Store what is an event by now, some events in each transaction, and yield what became of those.

    Safe to interrupt and to repeat. A row, and the word in quarantine that it was replayed, are of one transaction; two replays at
    once wait for each other, and take each event once.

    Args:
        database: The warehouse, as the stream's role.
        reasons: Of the events to look at; of ``REPLAYABLE``.
        dry_run: Do it all and undo it.

    Raises:
        SinkError: PostgreSQL stayed away for longer than the retries last, or refused an event.
    """
    place: Place | None = ("", "")
    while place is not None:
        work = partial(_replay_some, after=place, reasons=reasons, dry_run=dry_run)
        replayed, place = database.transact(work, task="a replay")
        if replayed.events:
            yield replayed


def _replay_some(
    cursor: "Cursor", *, after: Place, reasons: Collection[Reason], dry_run: bool
) -> tuple[Replayed, Place | None]:
    """Replay the next events after a place; return what became of them and where to go on, None at the end."""
    shard_id, sequence_number = after
    cursor.execute(
        _SOME,
        {
            "reasons": list(reasons),
            "shard_id": shard_id,
            "sequence_number": sequence_number,
            "at_most": EVENTS_AT_ONCE,
        },
    )
    records = [
        classify_record(shard_id, sequence_number, arrived_at, bytes(raw))
        for shard_id, sequence_number, arrived_at, raw in cursor.fetchall()
    ]
    if not records:
        return Replayed(rows=0, duplicates=0, kept=Counter()), None
    predictions, conflicts = store_rows(cursor, records)
    kept = {_place(record): record for record in records if record.kind is Kind.QUARANTINE}
    kept |= {_place(record): record for record in conflicts}
    now = [kept.get(_place(record), record) for record in records]
    cursor.execute(
        _OUTCOME,
        {
            "shard_ids": [record.shard_id for record in now],
            "sequence_numbers": [record.sequence_number for record in now],
            "reasons": [record.reason for record in now],
            "details": [record.detail for record in now],
        },
    )
    if dry_run:
        cursor.connection.rollback()
    labels = sum(record.kind is Kind.LABEL for record in records)
    replayed = Replayed(
        rows=predictions + labels,
        duplicates=len(records) - predictions - labels - len(kept),
        kept=Counter(str(record.reason) for record in kept.values()),
    )
    return replayed, _place(records[-1])


def _place(record: Record) -> Place:
    return record.shard_id, record.sequence_number
