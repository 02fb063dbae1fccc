"""A Kinesis stream as a source of Spark Structured Streaming, on the Python Data Source API (Spark 4.1 and later).

Belongs here: offsets, micro-batches, and reading again exactly what a batch was planned to hold. Does not: calls to Kinesis
(``kinesis_api``), fetching ahead (``kinesis_ahead``), what a record means. Records that the KPL aggregated are not taken apart.

Kinesis cannot say where a shard ends without reading it. So ``latestOffset``, on the driver, reads; the offset it returns is the last
sequence number that it took. What it read it hands to the executors inside the partitions of the batch, so that each record crosses the
limits of its shard once (2 MB and 5 reads a second). Only after a restart, for the one batch that was planned and not finished, do the
executors read the same range from Kinesis.

An offset is ``{"start": "TRIM_HORIZON" | "<seconds since 1970>", "shards": {<shard id>: {"sequence": "...", "closed": true}}}``:
per shard the last sequence number taken (absent where none was) and whether nothing can follow. A shard without a sequence number is
read from ``start``. Children of a split or merge join once their parents are closed, so that order per key holds across a reshard.
``LATEST`` is turned into the time of the first start, or a replay of the first batch would miss what arrived in between.
"""

import logging
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

from fraudit_stream.kinesis_ahead import ReadAhead
from fraudit_stream.kinesis_api import TRIM_HORIZON, ExpiredError, KinesisSourceError, KinesisStream, Page, patiently

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_kinesis.type_defs import ShardTypeDef
    from pyspark.sql.types import StructType

SHORT_NAME = "fraudit-kinesis"
LATEST = "LATEST"
MAX_RECORDS_PER_BATCH = 40_000
MAX_FETCH_MS = 5_000

RESHARD_CHECK_S = 5.0
HANDED_BYTES = 3 * 2**20
"""Most of one partition, give or take a record. Each is a task, which costs 20 ms; compressed, events stay below the 1,000 KiB of a
task that Spark warns of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the source, by the names given to ``spark.readStream.option``.

    Attributes:
        stream: ``streamName``.
        region: ``region``.
        endpoint_url: ``endpointUrl``; empty leaves the address to boto3 and its environment.
        starting_position: ``startingPosition``: ``TRIM_HORIZON``, ``LATEST`` or seconds since 1970; where there is no checkpoint.
        max_records_per_batch: ``maxRecordsPerBatch``: most records of one micro-batch, of all shards together.
        max_fetch_ms: ``maxFetchMs``: longest time that a micro-batch waits for records once it may begin.
    """

    stream: str
    region: str
    endpoint_url: str = ""
    starting_position: str = TRIM_HORIZON
    max_records_per_batch: int = MAX_RECORDS_PER_BATCH
    max_fetch_ms: int = MAX_FETCH_MS

    @classmethod
    def read(cls, options: dict[str, str]) -> "Options":
        """Read Spark's options, whose names it has put in lower case.

        Raises:
            KinesisSourceError: ``streamName`` or ``region`` is missing.
        """
        given = {name.lower(): value for name, value in options.items()}
        for name in ("streamName", "region"):
            if not given.get(name.lower()):
                raise KinesisSourceError(f"the option {name} of the source {SHORT_NAME} is missing")
        return cls(
            stream=given["streamname"],
            region=given["region"],
            endpoint_url=given.get("endpointurl", ""),
            starting_position=given.get("startingposition", TRIM_HORIZON),
            max_records_per_batch=int(given.get("maxrecordsperbatch", MAX_RECORDS_PER_BATCH)),
            max_fetch_ms=int(given.get("maxfetchms", MAX_FETCH_MS)),
        )


class KinesisDataSource(DataSource):
    """``spark.readStream.format("fraudit-kinesis")``: one row per record, in order within a shard."""

    @classmethod
    def name(cls) -> str:
        """Return the name to give to ``format``."""
        return SHORT_NAME

    def schema(self) -> str:
        """Return the columns: those of the ``aws-kinesis`` connector, and the shard."""
        return (
            "data binary, streamName string, partitionKey string, shardId string, sequenceNumber string, "
            "approximateArrivalTimestamp timestamp"
        )

    def streamReader(self, schema: "StructType") -> "KinesisStreamReader":  # noqa: ARG002, N802 -- Spark's interface
        """Return the reader of the stream."""
        return KinesisStreamReader(Options.read(dict(self.options)))


@dataclass(frozen=True)
class HandedRecords(InputPartition):
    """Records that the driver has read, as a compressed Arrow stream."""

    stream: bytes


@dataclass(frozen=True)
class ShardRange(InputPartition):
    """Records to be read from Kinesis: those of one shard after ``after`` (None: from ``start``) up to and with ``last``."""

    shard_id: str
    start: str
    after: str | None
    last: str


class KinesisStreamReader(DataSourceStreamReader):
    """Plans micro-batches on the driver; on the executors, gives out what it was handed or reads it again."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stream = KinesisStream(options.stream, region=options.region, endpoint_url=options.endpoint_url)
        self._cursor: dict[str, Any] | None = None
        self._planned: tuple[dict[str, Any], dict[str, Any], list[pa.RecordBatch]] | None = None
        self._listed: dict[str, ShardTypeDef] = {}
        self._listed_at_s = float("-inf")

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 -- Spark's interface
        """Return the offset before the first record that a new query reads."""
        start = self._options.starting_position
        if start == LATEST:
            start = str(int(time.time()) - 1)  # Kinesis refuses a time to come, by its own clock
        return {"start": start, "shards": {}}

    def latestOffset(  # noqa: N802 -- Spark's interface
        self,
        start: dict[str, Any] | None = None,
        limit: object = None,  # noqa: ARG002 -- the options limit a batch
    ) -> dict[str, Any]:
        """Take what was fetched since the last call, up to the limits of a batch, and return the new end.

        Args:
            start: Where the query stands, as Spark 4.2 and later say; Spark 4.1 shows it to ``partitions``.
            limit: How much Spark would like to have; not regarded.

        Raises:
            KinesisSourceError: Kinesis refused a call, or stayed away for longer than the retries last.
        """
        if self._cursor is None:
            self._cursor = start or self.initialOffset()
        begin = self._cursor
        shards = self._admitted(begin["shards"])
        self._ahead.follow(
            {shard_id: position.get("sequence") for shard_id, position in shards.items() if not position.get("closed")}
        )
        self._ahead.gather(rows=self._options.max_records_per_batch, timeout_s=self._options.max_fetch_ms / 1000)
        batches: list[pa.RecordBatch] = []
        for taken in self._ahead.take(self._options.max_records_per_batch):
            batches += taken.batches
            shards[taken.shard_id] = {} if taken.last is None else {"sequence": taken.last}
            if taken.is_closed:
                shards[taken.shard_id]["closed"] = True
                self._listed_at_s = float("-inf")  # its children may be newer than the list
        self._cursor = {"start": begin["start"], "shards": shards}
        self._planned = (begin, self._cursor, batches)
        return self._cursor

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        """Return the records of the batch that was planned last; of any other, the range of each shard."""
        if self._cursor is None:  # a restart: Spark shows where the query stands before it asks for more
            self._cursor = end
        planned, self._planned = self._planned, None
        if planned is not None and planned[:2] == (start, end):
            return list(_handed(planned[2]))
        ranges: list[InputPartition] = []
        for shard_id, position in end["shards"].items():
            after = start["shards"].get(shard_id, {}).get("sequence")
            last = position.get("sequence")
            if last is not None and last != after:
                ranges.append(ShardRange(shard_id=shard_id, start=end["start"], after=after, last=last))
        return ranges

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """Yield the records of one partition, on an executor.

        Raises:
            KinesisSourceError: Records of the range are no longer in the stream.
        """
        import pyarrow as pa

        match partition:
            case HandedRecords(stream):
                return iter(pa.ipc.open_stream(stream))
            case ShardRange():
                return self._read_again(partition)
        raise TypeError(f"not a partition of this source: {partition!r}")

    def stop(self) -> None:
        """End the reading ahead."""
        if "_ahead" in self.__dict__:
            self._ahead.stop()

    @cached_property
    def _ahead(self) -> ReadAhead:
        return ReadAhead(self._stream, start=(self._cursor or self.initialOffset())["start"])

    def _admitted(self, known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the positions with shards added whose turn has come, and without those that are gone."""
        if time.monotonic() - self._listed_at_s > RESHARD_CHECK_S:
            self._listed = patiently(self._stream.shards)
            self._listed_at_s = time.monotonic()
        shards = {}
        for shard_id, position in known.items():
            if shard_id in self._listed:
                shards[shard_id] = position
            elif not position.get("closed"):
                _log.warning("shard %s of %s expired before it was read to its end", shard_id, self._options.stream)
        for shard_id, shard in self._listed.items():
            parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} & self._listed.keys()
            if shard_id not in shards and all(shards.get(parent or "", {}).get("closed") for parent in parents):
                shards[shard_id] = {}
        return shards

    def _read_again(self, wanted: ShardRange) -> Iterator["pa.RecordBatch"]:
        """Yield a range from Kinesis itself."""
        after, iterator = wanted.after, ""

        def read() -> Page:
            following = iterator or self._stream.iterator(wanted.shard_id, after=after, start=wanted.start)
            return self._stream.page(wanted.shard_id, following)

        while after is None or int(after) < int(wanted.last):
            try:
                page = patiently(read)
            except ExpiredError:
                iterator = ""
                continue
            if page.records is not None:
                sequences = page.records.column("sequenceNumber").to_pylist()
                yield page.records.slice(0, bisect_right(sequences, int(wanted.last), key=int))
                after = page.last
            elif page.is_caught_up or not page.following:
                raise KinesisSourceError(
                    f"shard {wanted.shard_id} of {self._options.stream!r} ends before record {wanted.last}, which the checkpoint "
                    "names: the stream was made anew under an old checkpoint, or its retention was outrun"
                )
            iterator = page.following


def _handed(batches: "Iterable[pa.RecordBatch]") -> Iterator[HandedRecords]:
    """Put records into partitions, in order, and into as few as their size allows: each costs a task."""
    together: list[pa.RecordBatch] = []
    for piece in _pieces(batches):
        if together and sum(batch.nbytes for batch in together) + piece.nbytes > HANDED_BYTES:
            yield HandedRecords(_arrow_stream(together))
            together = []
        together.append(piece)
    if together:
        yield HandedRecords(_arrow_stream(together))


def _pieces(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    for batch in batches:
        rows = max(1, HANDED_BYTES * batch.num_rows // batch.nbytes)
        for first in range(0, batch.num_rows, rows):
            yield batch.slice(first, rows)


def _arrow_stream(batches: "list[pa.RecordBatch]") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as stream:
        for batch in batches:
            stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written
