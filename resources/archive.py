"""The archive: days of the warehouse as files in S3, and the table that says which there are.

Belongs here: from PostgreSQL to S3 and back, and the proof in between. Does not: what a file has in it
(``fraudit_dagster/archive.py``), deleting what is archived (``resources/warehouse.py``).

A day lies at ``s3://<data bucket>/archive/<day>/<checksum>/``. A version is named by its content and never changes: a reader that
follows ``fraud.archived_days`` sees a whole day, also while the day is archived anew.
"""

import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from fraudit_dagster.archive import (
    BATCH_ROWS,
    KINDS,
    ArchivedDay,
    ArchiveError,
    Content,
    Kind,
    end_of,
    read_file,
    start_of,
    write_file,
)
from resources.storage import Storage
from resources.warehouse import SQL, Warehouse

STATEMENTS: dict[Kind, str] = {
    "transactions": "archive_transactions.sql",
    "quarantined_events": "archive_quarantined.sql",
}
CHUNK_ROWS: dict[Kind, int] = {"transactions": BATCH_ROWS, "quarantined_events": 50}
"""Rows in memory at a time; a quarantined event may have 1 MB."""
STALL_S = 1.0
"""Longest that a row's ``stored_at`` may be older than the transaction id under which it is written."""
WRITERS_S, LOOK_S = 180.0, 0.2
"""How long to wait for transactions that were writing, and how often to look; the stream's statements end after 120 s."""


class Archive(dg.ConfigurableResource):
    """Days of the warehouse in S3."""

    storage: dg.ResourceDependency[Storage]
    warehouse: dg.ResourceDependency[Warehouse]

    def days(self) -> list[ArchivedDay]:
        """Return the archived days, the oldest first.

        Raises:
            WarehouseError: PostgreSQL could not be reached.
        """
        return [ArchivedDay(**row) for row in self.warehouse.query("SELECT * FROM fraud.archived_days ORDER BY day")]

    def settled(self) -> datetime:
        """Return a moment before which everything that was stored can be read by now.

        A row says when it was stored, but is seen only once its transaction has ended. So: take the time, and wait for the
        transactions that were under way.

        Raises:
            ArchiveError: One of them did not end in time.
            WarehouseError: PostgreSQL could not be reached.
        """
        (now,) = self.warehouse.query("SELECT clock_timestamp() AS moment")
        time.sleep(STALL_S)
        (border,) = self.warehouse.query(
            "SELECT pg_current_xact_id()::text::bigint AS id"
        )  # above that of any that has begun to write
        ended = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > %(id)s AS yes"
        deadline = time.monotonic() + WRITERS_S
        while not self.warehouse.query(ended, border)[0]["yes"]:
            if time.monotonic() > deadline:
                raise ArchiveError(
                    f"a transaction has been writing to the database for more than {WRITERS_S:.0f} s, so what was stored before "
                    f"{now['moment']} cannot be told yet: end it (pg_stat_activity), and archive again"
                )
            time.sleep(LOOK_S)
        moment: datetime = now["moment"]
        return moment

    def check(self, days: list[date], *, archived_at: datetime) -> None:
        """Refuse days that cannot be archived as of a moment.

        Raises:
            ArchiveError: Some are not over, or are no longer whole in the warehouse; the message names them.
            WarehouseError: PostgreSQL could not be reached.
        """
        if early := [day for day in days if end_of(day) > archived_at]:
            raise ArchiveError(
                f"{_named(early)}: not over yet at {archived_at:%Y-%m-%d %H:%M} UTC; archive it after midnight"
            )
        dropped = {found.day: found for found in self.days() if found.dropped_at is not None}
        if gone := [day for day in days if day in dropped]:
            raise ArchiveError(
                f"{_named(gone)}: deleted from the warehouse since {dropped[gone[0]].dropped_at:%Y-%m-%d %H:%M} UTC, so what is left "
                f"there must not replace the archive at {dropped[gone[0]].uri}"
            )

    def write(self, day: date, *, archived_at: datetime, folder: Path) -> ArchivedDay:
        """Archive what the warehouse has of a day, in place of what was archived of it before.

        Safe to interrupt and to repeat: ``archived_days`` changes last, when the files have been read back and are right.

        Args:
            day: That ``check`` lets pass.
            archived_at: A moment that ``settled`` gave.
            folder: Empty, on this machine.

        Raises:
            ArchiveError: The files read back otherwise than they were written, or the day began to be deleted in between.
            WarehouseError: PostgreSQL could not be reached, or a statement took too long.
            StorageError: S3 could not be reached.
        """
        before = next((found for found in self.days() if found.day == day), None)
        written = {kind: self._read_rows(kind, day, archived_at, folder / f"{kind}.parquet") for kind in KINDS}
        checksum = "".join(written[kind].checksum for kind in KINDS)
        place = f"s3://{self.storage.data_bucket}/archive/{day}/"
        new = ArchivedDay(
            day=day,
            uri=f"{place}{checksum}/",
            rows=written["transactions"].rows,
            quarantined=written["quarantined_events"].rows,
            checksum=checksum,
            archived_at=archived_at,
        )
        for kind in KINDS:
            self.storage.upload(folder / f"{kind}.parquet", new.uri_of(kind))
        for kind in KINDS:
            self.fetch(new, kind, folder / "read back")
        self._note(new)
        # The version before stays, for whoever is reading it; those before that, and what an interrupted run left, go.
        kept = (new.uri, before.uri if before else new.uri)
        self.storage.delete([uri for uri in self.storage.uris(place) if not uri.startswith(kept)])
        return new

    def fetch(self, archived: ArchivedDay, kind: Kind, folder: Path) -> Path:
        """Download a file of an archived day, and return it once its rows are known to be those that were archived.

        Raises:
            ArchiveError: It is not what was archived.
            StorageError: It is not there, or S3 could not be reached.
        """
        uri = archived.uri_of(kind)
        path = self.storage.download(uri, folder / str(archived.day) / f"{kind}.parquet")
        try:
            found = read_file(kind, path)
        except ArchiveError as error:
            raise ArchiveError(f"{uri}: {error}; {_remedy(archived)}") from error
        rows, half = archived.rows, len(archived.checksum) // 2
        checksum = archived.checksum[:half]
        if kind == "quarantined_events":
            rows, checksum = archived.quarantined, archived.checksum[half:]
        if (found.rows, found.checksum) != (rows, checksum):
            raise ArchiveError(
                f"{uri}: {found.rows:,} rows with checksum {found.checksum}, where {rows:,} with {checksum} were archived; "
                f"{_remedy(archived)}"
            )
        return path

    def late(self, archived: ArchivedDay) -> dict[str, int]:
        """Count what the warehouse has of an archived day and the archive has not: stored at or after ``archived_at``."""
        span: dict[str, Any] = {
            "start": start_of(archived.day),
            "end": end_of(archived.day),
            "archived_at": archived.archived_at,
        }
        (row,) = self.warehouse.query((SQL / "archive_late.sql").read_text(), span)
        return row

    def _read_rows(self, kind: Kind, day: date, archived_at: datetime, path: Path) -> Content:
        span = {"start": start_of(day), "end": end_of(day), "archived_at": archived_at}
        statement = (SQL / STATEMENTS[kind]).read_text()
        return write_file(kind, self.warehouse.chunks(statement, span, rows_each=CHUNK_ROWS[kind]), path)

    def _note(self, new: ArchivedDay) -> None:
        """Let ``archived_days`` say that the day is archived, unless somebody has begun to delete it."""
        with self.warehouse.transaction() as rows:
            rows.execute(
                "INSERT INTO fraud.archived_days (day, uri, rows, quarantined, checksum, archived_at) "
                "VALUES (%(day)s, %(uri)s, %(rows)s, %(quarantined)s, %(checksum)s, %(archived_at)s) "
                "ON CONFLICT (day) DO UPDATE SET uri = excluded.uri, rows = excluded.rows, quarantined = excluded.quarantined, "
                "checksum = excluded.checksum, archived_at = excluded.archived_at WHERE archived_days.dropped_at IS NULL",
                {
                    "day": new.day,
                    "uri": new.uri,
                    "rows": new.rows,
                    "quarantined": new.quarantined,
                    "checksum": new.checksum,
                    "archived_at": new.archived_at,
                },
            )
            if rows.rowcount != 1:
                raise ArchiveError(
                    f"{new.day}: its deletion from the warehouse began meanwhile; the archive of before holds"
                )


def _remedy(archived: ArchivedDay) -> str:
    if archived.dropped_at is None:
        return f"archive the day anew: fraudit graph daily --first {archived.day} --last {archived.day}"
    return "the warehouse has dropped the day, so restore the object from a backup or an earlier version"


def _named(days: list[date]) -> str:
    return ", ".join(map(str, days))
