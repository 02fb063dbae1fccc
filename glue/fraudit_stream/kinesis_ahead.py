"""Reading the shards of a stream ahead of Spark, on the driver: while one batch is stored the next one is fetched.

Belongs here: threads, the bounded buffer, pace and back-off of each shard. Does not: which shards (``kinesis_source``), the calls
(``kinesis_api``).

A shard is read from its place until it is caught up, so that an idle stream costs one call per shard and batch, and a backlog keeps the
buffer full. Of all shards together no more than ``BUFFER_BYTES`` wait, whatever the backlog and the size of its records. A shard that
Kinesis throttles is left alone for a while; the others go on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fraudit_stream.kinesis_api import (
    OUTAGE_S,
    ExpiredError,
    KinesisSourceError,
    KinesisStream,
    Page,
    PassingError,
    pause_s,
)

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER_BYTES = 64 * 2**20
ANSWER_BYTES = 10 * 2**20
"""Most that one GetRecords answers: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"""
PACE_S = 0.2
"""Time between two reads of a shard, which allows five a second."""
READ_BYTES_PER_S = 2 * 2**20
"""What a shard gives on average: after 10 MB at once it may refuse for five seconds."""
THREADS = 128
"""At most. Those of shards that are left alone sleep."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a batch gets of one shard.

    Attributes:
        batches: In order; none where the shard only ended.
        last: Sequence number of the last record that was ever taken, or None.
        is_closed: Nothing can follow.
    """

    shard_id: str
    batches: "list[pa.RecordBatch]"
    last: str | None
    is_closed: bool


@dataclass(slots=True, eq=False)
class _Shard:
    """What was fetched of a shard and not taken, and where to read on.

    Attributes:
        waiting: Pages; of the first one, ``skip`` rows are taken already.
        failures: How often in a row Kinesis wanted to be left alone.
        due_s: No call before this moment of the monotonic clock.
        paid_s: When the shard has made up for what it gave last.
    """

    shard_id: str
    taken_to: str | None
    read_to: str | None
    iterator: str = ""
    waiting: "deque[pa.RecordBatch]" = field(default_factory=deque)
    skip: int = 0
    is_running: bool = False
    is_behind: bool = True
    is_closed: bool = False
    failures: int = 0
    due_s: float = 0.0
    paid_s: float = 0.0

    @property
    def rows(self) -> int:
        rows: int = sum(page.num_rows for page in self.waiting)
        return rows - self.skip

    def take(self, rows: int) -> "list[pa.RecordBatch]":
        taken: list[pa.RecordBatch] = []
        while self.waiting and rows > 0:
            batch = self.waiting[0].slice(self.skip, rows)
            taken.append(batch)
            rows -= batch.num_rows
            self.skip += batch.num_rows
            if self.skip == self.waiting[0].num_rows:
                self.waiting.popleft()
                self.skip = 0
            self.taken_to = batch.column("sequenceNumber")[-1].as_py()
        return taken


class ReadAhead:
    """The shards that are being read.

    Args:
        stream: Where they are.
        start: Where a shard begins of which nothing was taken: ``TRIM_HORIZON`` or seconds since 1970.
    """

    def __init__(self, stream: KinesisStream, *, start: str) -> None:
        self._stream = stream
        self._start = start
        self._shards: dict[str, _Shard] = {}
        self._calls = 0
        self._error: Exception | None = None
        self._is_stopped = False
        self._changed = threading.Condition()  # guards all of the above
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="kinesis")

    def follow(self, positions: Mapping[str, str | None]) -> None:
        """Read these shards, each after a sequence number or from the start, and no others."""
        with self._changed:
            self._shards = {
                shard_id: self._shards.get(shard_id) or _Shard(shard_id, taken_to=after, read_to=after)
                for shard_id, after in positions.items()
            }

    def gather(self, *, rows: int, timeout_s: float) -> None:
        """Read all shards, until so many rows wait, or there is nothing more to read, or the time is over.

        While nothing waits because Kinesis throttles or is away, this does not return: the stream would be taken for an idle one.

        Raises:
            KinesisSourceError: Kinesis refused a call, or throttled or stayed away for ``OUTAGE_S``.
        """
        given_up_s = time.monotonic() + OUTAGE_S
        with self._changed:
            while True:
                self._read_on(self._shards.values())
                self._changed.wait_for(lambda: self._error or self._rows() >= rows or not self._is_reading(), timeout_s)
                if self._error is not None:
                    raise self._error
                failing = [shard.shard_id for shard in self._shards.values() if shard.failures]
                if self._rows() or not failing or self._is_stopped:
                    return
                if time.monotonic() > given_up_s:
                    raise KinesisSourceError(f"Kinesis gave nothing of {', '.join(failing)} for {OUTAGE_S:.0f} s")
                self._changed.wait(PACE_S)

    def take(self, rows: int) -> list[Taken]:
        """Return up to so many rows, fairly shared among the shards, and read on where there is more."""
        with self._changed:
            taken = []
            shards = sorted(self._shards.values(), key=lambda shard: shard.rows)
            for number, shard in enumerate(shards):
                batches = shard.take(rows // (len(shards) - number))
                rows -= sum(batch.num_rows for batch in batches)
                taken.append(Taken(shard.shard_id, batches, shard.taken_to, shard.is_closed and not shard.waiting))
            self._read_on(shard for shard in shards if shard.is_behind)
            self._changed.notify_all()
        return taken

    def stop(self) -> None:
        """End all reading; calls under way are waited for."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._pool.shutdown(cancel_futures=True)

    def _rows(self) -> int:
        return sum(shard.rows for shard in self._shards.values())

    def _room_bytes(self) -> int:
        waiting_bytes: int = sum(page.nbytes for shard in self._shards.values() for page in shard.waiting)
        return BUFFER_BYTES - waiting_bytes - self._calls * ANSWER_BYTES

    def _is_reading(self) -> bool:
        return any(shard.is_running and not shard.failures for shard in self._shards.values())

    def _read_on(self, shards: Iterable[_Shard]) -> None:
        """Give shards a thread, that first which waits the longest."""
        ready = [shard for shard in shards if not (shard.is_running or shard.is_closed)]
        for shard in sorted(ready, key=lambda shard: shard.due_s):
            shard.is_running = True
            self._pool.submit(self._fill, shard)

    def _fill(self, shard: _Shard) -> None:
        try:
            while self._may_read(shard):
                self._keep(shard, self._read(shard))
                if not (shard.failures or shard.is_behind):
                    break
        except Exception as error:  # noqa: BLE001 -- raised where Spark asks for records
            self._error = error
        with self._changed:
            shard.is_running = False
            self._changed.notify_all()

    def _may_read(self, shard: _Shard) -> bool:
        """Wait for the shard's pace and for answers under way, then say whether there is room for one more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped, shard.due_s - time.monotonic())
            self._changed.wait_for(lambda: self._is_stopped or self._room_bytes() >= ANSWER_BYTES or not self._calls)
            if self._is_stopped or self._room_bytes() < ANSWER_BYTES:
                return False
            self._calls += 1
            return True

    def _read(self, shard: _Shard) -> Page | None:
        """Return the next page, or None where Kinesis wants to be left alone."""
        try:
            iterator = shard.iterator or self._stream.iterator(shard.shard_id, after=shard.read_to, start=self._start)
            return self._stream.page(shard.shard_id, iterator)
        except ExpiredError:
            shard.iterator = ""
            return None
        except PassingError as error:
            _log.warning("shard %s is read again in a moment: %s", shard.shard_id, error)
            return None

    def _keep(self, shard: _Shard, page: Page | None) -> None:
        with self._changed:
            self._calls -= 1
            now_s = time.monotonic()
            if page is None:
                shard.failures += 1
                shard.due_s = max(now_s + pause_s(shard.failures), shard.paid_s)
            else:
                shard.failures = 0
                shard.due_s = now_s + PACE_S
                shard.iterator = page.following
                shard.is_closed = not page.following
                shard.is_behind = not (page.is_caught_up or shard.is_closed)
                if page.records is not None:
                    shard.read_to = page.last
                    shard.waiting.append(page.records)
                    shard.paid_s = now_s + page.records.nbytes / READ_BYTES_PER_S
            self._changed.notify_all()
