"""A Kinesis stream as a source of Spark Structured Streaming, on the Python Data Source API (Spark 4.1).

Belongs here: shards, positions, iterators, and re-reading exactly what a batch was planned to hold. Does not: what a record means.

Kinesis cannot say where a shard ends without reading it. So ``latestOffset``, on the driver, reads; the offset it returns is the last
sequence number that it saw. The executors then read the same range again: from the spool (Arrow files in a folder that driver and
executors share) where there is one, else, and whenever the file is gone, from Kinesis.

An offset is ``{"start": "TRIM_HORIZON" | "<seconds since 1970>", "shards": {<shard id>: {"sequence": "...", "closed": true}}}``:
per shard the last sequence number read (absent where none was) and whether nothing can follow. A shard without a sequence number is
read from ``start``. Children of a split or merge join once their parents are closed, so that order per key holds across a reshard.
``LATEST`` is turned into the time of the first start, or a replay of the first batch would miss what arrived in between.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import RecordTypeDef, ShardTypeDef
    from pyspark.sql.types import StructType

SHORT_NAME = "fraudit-kinesis"
TRIM_HORIZON = "TRIM_HORIZON"
LATEST = "LATEST"

RECORDS_PER_CALL = 10_000  # GetRecords' own limit
MAX_POLL_S = 5.0
RESHARD_CHECK_S = 5.0
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
MAX_ATTEMPTS = 8
POLL_THREADS = 16

_log = logging.getLogger(__name__)

Shards = dict[str, dict[str, Any]]


class KinesisSourceError(RuntimeError):
    """The stream could not be read; the message names the stream and says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the source, by the names given to ``spark.readStream.option``.

    Attributes:
        stream: ``streamName``.
        region: ``region``.
        endpoint_url: ``endpointUrl``; empty leaves the address to boto3 and its environment.
        starting_position: ``startingPosition``: ``TRIM_HORIZON``, ``LATEST`` or seconds since 1970; where there is no checkpoint.
        max_records_per_shard: ``maxRecordsPerShard``: most records of one shard in one micro-batch, give or take one GetRecords.
        spool_dir: ``spoolDir``, or empty.
    """

    stream: str
    region: str
    endpoint_url: str
    starting_position: str
    max_records_per_shard: int
    spool_dir: str

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
            max_records_per_shard=int(given.get("maxrecordspershard", RECORDS_PER_CALL)),
            spool_dir=given.get("spooldir", ""),
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
class ShardRange(InputPartition):
    """The records of one shard after ``after`` (None: from ``start``) up to and with ``last``."""

    shard_id: str
    start: str
    after: str | None
    last: str


class KinesisStreamReader(DataSourceStreamReader):
    """Plans micro-batches on the driver and reads their ranges on the executors."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cursor: dict[str, Any] | None = None
        self._iterators: dict[str, tuple[str | None, str]] = {}
        self._listed: dict[str, ShardTypeDef] = {}
        self._listed_at_s = float("-inf")

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 -- Spark's interface
        """Return the offset before the first record that a new query reads."""
        start = self._options.starting_position
        if start == LATEST:
            start = str(int(time.time()) - 1)  # Kinesis refuses a time to come, by its own clock
        return {"start": start, "shards": {}}

    def latestOffset(self) -> dict[str, Any]:  # noqa: N802 -- Spark's interface
        """Read on from where the last call ended and return the new end.

        Raises:
            KinesisSourceError: Kinesis refused a call, or stayed away for longer than the retries last.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if self._cursor is None:
            self._cursor = self.initialOffset()
        start: str = self._cursor["start"]
        try:
            shards = self._current_shards(self._cursor["shards"])
            waiting = [shard_id for shard_id, position in shards.items() if not position.get("closed")]
            ends = self._pool.map(lambda shard_id: self._advance(shard_id, shards[shard_id], start=start), waiting)
            shards.update(zip(waiting, ends, strict=True))
        except (BotoCoreError, ClientError) as error:
            raise KinesisSourceError(f"cannot read Kinesis stream {self._options.stream!r}: {error}") from error
        self._cursor = {"start": start, "shards": shards}
        return self._cursor

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        """Return the range of each shard in which ``end`` is beyond ``start``."""
        if self._cursor is None:  # a restart: Spark plans the last batch of the checkpoint before it asks for a new one
            self._cursor = end
        ranges: list[InputPartition] = []
        for shard_id, position in end["shards"].items():
            after = start["shards"].get(shard_id, {}).get("sequence")
            last = position.get("sequence")
            if last is not None and last != after:
                ranges.append(ShardRange(shard_id=shard_id, start=end["start"], after=after, last=last))
        return ranges

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """Yield the records of one range, on an executor.

        Raises:
            KinesisSourceError: Records of the range are no longer in the stream.
        """
        if not isinstance(partition, ShardRange):
            raise TypeError(f"not a range of this source: {partition!r}")
        spooled = self._read_spool(partition)
        return iter(spooled) if spooled is not None else self._read_again(partition)

    def commit(self, end: dict[str, Any]) -> None:
        """Forget the spooled records of batches that are done."""
        if not self._options.spool_dir:
            return
        for path in Path(self._options.spool_dir).glob("*.arrow"):
            shard_id, _, last = path.stem.split("_")
            sequence = end["shards"].get(shard_id, {}).get("sequence")
            if sequence is None or int(last) <= int(sequence):
                path.unlink(missing_ok=True)

    @cached_property
    def _client(self) -> "KinesisClient":
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS},
            max_pool_connections=POLL_THREADS,
        )
        return boto3.client(
            "kinesis", region_name=self._options.region, endpoint_url=self._options.endpoint_url or None, config=config
        )

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(POLL_THREADS, thread_name_prefix="kinesis-poll")

    def _current_shards(self, known: Shards) -> Shards:
        """Return the positions with shards added whose turn has come, and without those that are gone."""
        if time.monotonic() - self._listed_at_s > RESHARD_CHECK_S:
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self._options.stream)
            self._listed = {shard["ShardId"]: shard for page in pages for shard in page["Shards"]}
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

    def _advance(self, shard_id: str, position: dict[str, Any], *, start: str) -> dict[str, Any]:
        """Read one shard until it is caught up, the batch is full or the time is over; return the new position."""
        after: str | None = position.get("sequence")
        known_after, iterator = self._iterators.pop(shard_id, (None, ""))
        if not iterator or known_after != after:
            iterator = self._open(shard_id, after=after, start=start)
        last, count, closed = after, 0, False
        pages: list[pa.RecordBatch] = []
        deadline_s = time.monotonic() + MAX_POLL_S
        while True:
            try:
                answer = self._client.get_records(ShardIterator=iterator, Limit=RECORDS_PER_CALL)
            except self._client.exceptions.ExpiredIteratorException:
                iterator = self._open(shard_id, after=last, start=start)
                continue
            if answer["Records"]:
                last, count = answer["Records"][-1]["SequenceNumber"], count + len(answer["Records"])
                if self._options.spool_dir:
                    pages.append(self._to_arrow(shard_id, answer["Records"]))
            iterator = answer.get("NextShardIterator", "")
            closed = not iterator
            full = count >= self._options.max_records_per_shard or time.monotonic() >= deadline_s
            if closed or full or answer.get("MillisBehindLatest", 0) == 0:
                break
        if last is not None and pages:
            self._write_spool(ShardRange(shard_id=shard_id, start=start, after=after, last=last), pages)
        if not closed:
            self._iterators[shard_id] = (last, iterator)
        new: dict[str, Any] = {} if last is None else {"sequence": last}
        return new | {"closed": True} if closed else new

    def _open(self, shard_id: str, *, after: str | None, start: str) -> str:
        where: dict[str, Any]
        if after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        elif start == TRIM_HORIZON:
            where = {"ShardIteratorType": TRIM_HORIZON}
        else:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": float(start)}
        try:
            answer = self._client.get_shard_iterator(StreamName=self._options.stream, ShardId=shard_id, **where)
        except self._client.exceptions.InvalidArgumentException as error:
            raise KinesisSourceError(
                f"shard {shard_id} of {self._options.stream!r} does not know the place in the checkpoint: {error}. "
                "A stream that was made anew needs a new checkpoint; the warehouse still takes no transaction twice"
            ) from error
        return answer["ShardIterator"]

    def _read_again(self, wanted: ShardRange) -> Iterator["pa.RecordBatch"]:
        """Yield a range from Kinesis itself."""
        last = int(wanted.last)
        iterator = self._open(wanted.shard_id, after=wanted.after, start=wanted.start)
        reached = False
        while not reached:
            answer = self._client.get_records(ShardIterator=iterator, Limit=RECORDS_PER_CALL)
            records = [record for record in answer["Records"] if int(record["SequenceNumber"]) <= last]
            if records:
                yield self._to_arrow(wanted.shard_id, records)
            reached = bool(answer["Records"]) and int(answer["Records"][-1]["SequenceNumber"]) >= last
            iterator = answer.get("NextShardIterator", "")
            at_tip = not answer["Records"] and answer.get("MillisBehindLatest", 0) == 0
            if not reached and (at_tip or not iterator):
                raise KinesisSourceError(
                    f"shard {wanted.shard_id} of {self._options.stream!r} ends before record {wanted.last}, which the checkpoint "
                    "names: the stream was made anew under an old checkpoint, or its retention was outrun"
                )

    def _to_arrow(self, shard_id: str, records: "list[RecordTypeDef]") -> "pa.RecordBatch":
        import pyarrow as pa

        columns = {
            "data": pa.array([record["Data"] for record in records], pa.binary()),
            "streamName": pa.array([self._options.stream] * len(records), pa.string()),
            "partitionKey": pa.array([record["PartitionKey"] for record in records], pa.string()),
            "shardId": pa.array([shard_id] * len(records), pa.string()),
            "sequenceNumber": pa.array([record["SequenceNumber"] for record in records], pa.string()),
            "approximateArrivalTimestamp": pa.array(
                [record["ApproximateArrivalTimestamp"] for record in records], pa.timestamp("us", tz="UTC")
            ),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _spool_path(self, wanted: ShardRange) -> Path:
        return Path(self._options.spool_dir) / f"{wanted.shard_id}_{wanted.after or 'start'}_{wanted.last}.arrow"

    def _write_spool(self, wanted: ShardRange, pages: "list[pa.RecordBatch]") -> None:
        import pyarrow as pa

        path = self._spool_path(wanted)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, pages[0].schema) as file:
            for page in pages:
                file.write_batch(page)
        unfinished.replace(path)

    def _read_spool(self, wanted: ShardRange) -> "list[pa.RecordBatch] | None":
        """Return a range from the spool, or None where it must come from Kinesis: no spool, file gone or torn."""
        import pyarrow as pa

        if not self._options.spool_dir:
            return None
        try:
            with pa.memory_map(str(self._spool_path(wanted))) as source:
                file = pa.ipc.open_file(source)
                return [file.get_batch(number) for number in range(file.num_record_batches)]
        except (OSError, pa.ArrowInvalid):
            return None
