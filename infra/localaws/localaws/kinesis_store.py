"""The streams of Kinesis and their shards, in memory and on disk.

Belongs here: what a stream and a shard are, the log of a shard, and the file that describes the streams. Does not: the actions on
them (``kinesis``).

``<folder>/streams.json`` describes the streams and is replaced as a whole. ``<folder>/<incarnation>/<shard id>/<sequence>.log`` are
the segments of a shard's log: frames of a header (length, CRC-32 of all that follows it, sequence number, arrival, size) and the
record as GetRecords answers it. A frame is written, not synced, before a put is answered: it is in the kernel's page cache then,
which outlives the process whatever ends it, and does not outlive the machine's loss of power.
"""

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from localaws.wire import ACCOUNT_ID, AwsError

SEGMENT_BYTES = 32 << 20
SEGMENT_AGE_MS = 3_600_000
MAX_GET_BYTES = 10 << 20
SHARD_RECORDS_PER_S = 1_000
SHARD_BYTES_PER_S = 1 << 20
SHARD_READS_PER_S = 5
SHARD_READ_BYTES_PER_S = 2 << 20
MAX_FRAME_BYTES = 4 << 20
YEAR_2500_MS = 1 << 44

_CHECK = struct.Struct("<II")  # length of the reply, CRC-32 of what follows
_FACTS = struct.Struct("<QQI")  # sequence, arrived_ms, size_bytes
_HEADER_BYTES = _CHECK.size + _FACTS.size

_SOMETHING = re.compile(rb"[^\0]")
_sequence_of = attrgetter("sequence")
_log = logging.getLogger(__name__)


class StoreError(RuntimeError):
    """The folder of the streams cannot be used; the message says why."""


class Record(NamedTuple):
    """One stored record; ``reply`` is its JSON as GetRecords answers it, the data still in base64."""

    sequence: int
    arrived_ms: int
    size_bytes: int
    reply: bytes


@dataclass(slots=True)
class _Segment:
    path: Path
    first_arrived_ms: int = 0
    last_arrived_ms: int = 0


class ShardLog:
    """A shard's records on disk: segments that are only appended to, the old ones deleted.

    Args:
        folder: Where the segments are; made at the first record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[_Segment] = []
        self._file: int | None = None
        self._size_bytes = 0

    def load(self) -> tuple[list[Record], int]:
        """Read all segments, cutting each behind its last whole record; what is damaged before that is passed over.

        Returns:
            The records, and a sequence number that none below the next one has passed.
        """
        records: list[Record] = []
        reached = 0
        for path in sorted(self._folder.glob("*.log")):
            found, whole_bytes, damaged_bytes = _read_segment(path.read_bytes())
            if damaged_bytes:
                _log.error(
                    "%s: %d bytes between whole records are damaged, their records are lost", path, damaged_bytes
                )
            cut_bytes = path.stat().st_size - whole_bytes
            if cut_bytes:
                _log.warning("%s: cut %d bytes behind the last whole record", path, cut_bytes)
                os.truncate(path, whole_bytes)
            segment = _Segment(path)
            if found:
                segment.first_arrived_ms, segment.last_arrived_ms = found[0].arrived_ms, found[-1].arrived_ms
            self._segments.append(segment)
            self._size_bytes = whole_bytes
            records += found
            reached = max(reached, int(path.stem))
        return records, max(reached, records[-1].sequence if records else 0)

    def append(self, records: Sequence[Record]) -> int:
        """Write records at once, whole or not at all.

        Returns:
            The size to give to ``cut`` to take them back.

        Raises:
            OSError: They could not be written.
        """
        arrived_ms = records[0].arrived_ms
        if (
            not self._segments
            or self._size_bytes > SEGMENT_BYTES
            or (self._size_bytes and arrived_ms - self._segments[-1].first_arrived_ms > SEGMENT_AGE_MS)
        ):
            self._roll(records[0].sequence)
        segment = self._segments[-1]
        if self._file is None:
            self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        before_bytes = self._size_bytes
        if os.fstat(self._file).st_size != before_bytes:  # what a failed write left and could not be cut then
            os.ftruncate(self._file, before_bytes)
        frames = b"".join(_frames(records))
        try:
            if os.write(self._file, frames) < len(frames):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(segment.path))  # noqa: TRY301 - as the rest of a write would
        except OSError:
            self.cut(before_bytes)
            raise
        if not before_bytes:
            segment.first_arrived_ms = arrived_ms
        segment.last_arrived_ms = records[-1].arrived_ms
        self._size_bytes += len(frames)
        return before_bytes

    def cut(self, size_bytes: int) -> None:
        """Take back what was appended last; where the file cannot be cut now, that is done before the next append."""
        self._size_bytes = size_bytes
        if self._file is not None:
            try:
                os.ftruncate(self._file, size_bytes)
            except OSError as error:
                _log.warning("%s: cannot be cut to %d bytes: %s", self._segments[-1].path, size_bytes, error)

    def forget(self, before_ms: int) -> None:
        """Delete the segments, but for the newest, whose records all arrived before a time."""
        while len(self._segments) > 1 and self._segments[0].last_arrived_ms < before_ms:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def delete(self) -> None:
        """Remove the log from disk."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _roll(self, sequence: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{sequence:020d}.log"
        path.touch(mode=0o600)
        self.close()
        self._segments.append(_Segment(path))
        self._size_bytes = 0


def _frames(records: Iterable[Record]) -> Iterable[bytes]:
    for sequence, arrived_ms, size_bytes, reply in records:
        facts = _FACTS.pack(sequence, arrived_ms, size_bytes)
        yield _CHECK.pack(len(reply), zlib.crc32(reply, zlib.crc32(facts)))
        yield facts
        yield reply


def _read_segment(content: bytes) -> tuple[list[Record], int, int]:
    """Find the whole records of a segment.

    Returns:
        The records, where the last of them ends, and how many bytes before that belong to none.
    """
    records: list[Record] = []
    start = whole_bytes = damaged_bytes = 0
    while start + _HEADER_BYTES <= len(content):
        record = _record_at(content, start)
        if record is None or (records and record.sequence <= records[-1].sequence):
            # A frame begins with its length, which is not 0: a hole of zeros is passed over at once.
            something = _SOMETHING.search(content, start)
            start = len(content) if something is None else max(start + 1, something.start() - _CHECK.size)
            continue
        damaged_bytes += start - whole_bytes
        whole_bytes = start = start + _HEADER_BYTES + len(record.reply)
        records.append(record)
    return records, whole_bytes, damaged_bytes


def _record_at(content: bytes, start: int) -> Record | None:
    """Return the record whose frame begins at a place, if one does: then its checksum is right."""
    length, checksum = _CHECK.unpack_from(content, start)
    end = start + _HEADER_BYTES + length
    if length > MAX_FRAME_BYTES or end > len(content):
        return None
    sequence, arrived_ms, size_bytes = _FACTS.unpack_from(content, start + _CHECK.size)
    if arrived_ms >= YEAR_2500_MS or zlib.crc32(memoryview(content)[start + _CHECK.size : end]) != checksum:
        return None
    return Record(sequence, arrived_ms, size_bytes, content[start + _HEADER_BYTES : end])


@dataclass(slots=True)
class Allowance:
    """What a shard takes in now: up to one second's worth, filled again as time goes by."""

    records: float = SHARD_RECORDS_PER_S
    size_bytes: float = SHARD_BYTES_PER_S
    filled_ms: int = 0

    def take(self, size_bytes: int, now_ms: int) -> bool:
        """Take in one record, or say that the shard is over its limit."""
        seconds = max(0, now_ms - self.filled_ms) / 1000
        self.filled_ms = now_ms
        self.records = min(SHARD_RECORDS_PER_S, self.records + seconds * SHARD_RECORDS_PER_S)
        self.size_bytes = min(SHARD_BYTES_PER_S, self.size_bytes + seconds * SHARD_BYTES_PER_S)
        if self.records < 1 or self.size_bytes < size_bytes:
            return False
        self.records -= 1
        self.size_bytes -= size_bytes
        return True


@dataclass(slots=True)
class ReadAllowance:
    """What a shard gives now: five reads a second, and 2 MB a second on average.

    One read may give up to 10 MB. What it gives beyond 2 MB is borrowed: nothing more is given until time has paid all of it back,
    five seconds for 10 MB.
    """

    reads: float = SHARD_READS_PER_S
    debt_bytes: float = 0
    is_paying: bool = False
    filled_ms: int = 0

    def take(self, now_ms: int) -> bool:
        """Begin a read, or say that the shard is over its limit."""
        seconds = max(0, now_ms - self.filled_ms) / 1000
        self.filled_ms = now_ms
        self.reads = min(SHARD_READS_PER_S, self.reads + seconds * SHARD_READS_PER_S)
        self.debt_bytes = max(0, self.debt_bytes - seconds * SHARD_READ_BYTES_PER_S)
        self.is_paying = self.is_paying and self.debt_bytes > 0
        if self.reads < 1 or self.is_paying:
            return False
        self.reads -= 1
        return True

    def spend(self, size_bytes: int) -> None:
        """Note what a read gave."""
        self.debt_bytes += size_bytes
        self.is_paying = self.debt_bytes >= SHARD_READ_BYTES_PER_S


@dataclass(slots=True, eq=False)
class Shard:
    """A range of hash keys and the records that fell into it, in the order of their sequence numbers.

    ``ending_sequence`` and ``closed_ms`` are set once it was split or merged.
    """

    shard_id: str
    first_hash_key: int
    last_hash_key: int
    starting_sequence: int
    created_ms: int
    log: ShardLog
    parent_id: str | None = None
    adjacent_parent_id: str | None = None
    ending_sequence: int | None = None
    closed_ms: int | None = None
    records: list[Record] = field(default_factory=list)
    last_sequence: int = 0
    allowance: Allowance = field(default_factory=Allowance)
    reads: ReadAllowance = field(default_factory=ReadAllowance)

    def __post_init__(self) -> None:
        """Start behind the shard's own number."""
        self.last_sequence = max(self.last_sequence, self.starting_sequence)

    def load(self) -> None:
        """Read the records from disk."""
        self.records, reached = self.log.load()
        self.last_sequence = max(self.starting_sequence, reached)

    def keep(self, records: list[Record]) -> None:
        """Show records that are in the log."""
        self.records += records
        self.last_sequence = records[-1].sequence

    def forget(self, before_ms: int) -> None:
        """Drop the records that arrived before a time."""
        del self.records[: bisect_left(self.records, before_ms, key=attrgetter("arrived_ms"))]
        self.log.forget(before_ms)

    def read(self, after: int, limit: int) -> tuple[list[Record], int]:
        """Return the records that follow a sequence number, and how many more there are behind them."""
        start = bisect_right(self.records, after, key=_sequence_of)
        found = self.records[start : start + limit]
        size_bytes = 0
        for count, record in enumerate(found):
            size_bytes += record.size_bytes
            if size_bytes > MAX_GET_BYTES and count:
                del found[count:]
                break
        return found, len(self.records) - start - len(found)

    def describe(self) -> dict[str, Any]:
        """Return the shard as the API shows it."""
        sequences = {"StartingSequenceNumber": str(self.starting_sequence)}
        if self.ending_sequence is not None:
            sequences["EndingSequenceNumber"] = str(self.ending_sequence)
        return {
            "ShardId": self.shard_id,
            "ParentShardId": self.parent_id,
            "AdjacentParentShardId": self.adjacent_parent_id,
            "HashKeyRange": self.describe_range(),
            "SequenceNumberRange": sequences,
        }

    def describe_range(self) -> dict[str, str]:
        """Return the range of hash keys as the API shows it."""
        return {"StartingHashKey": str(self.first_hash_key), "EndingHashKey": str(self.last_hash_key)}


@dataclass(slots=True, eq=False)
class Stream:
    """A named stream and its shards, in the order of their ids; to change the shards make another by ``replace``."""

    name: str
    arn: str
    mode: str
    created_at: datetime
    incarnation: int
    retention_hours: int
    shards: list[Shard]
    tags: dict[str, str] = field(default_factory=dict)
    open_shards: list[Shard] = field(init=False)

    def __post_init__(self) -> None:
        """Put the open shards in the order of their hash keys."""
        last_hash_key = attrgetter("last_hash_key")
        self.open_shards = sorted((shard for shard in self.shards if shard.closed_ms is None), key=last_hash_key)

    def shard_of(self, hash_key: int) -> Shard:
        """Return the open shard whose range holds a hash key."""
        return self.open_shards[bisect_left(self.open_shards, hash_key, key=attrgetter("last_hash_key"))]

    def shard(self, shard_id: str) -> Shard:
        """Return a shard by its id.

        Raises:
            AwsError: There is none.
        """
        for shard in self.shards:
            if shard.shard_id == shard_id:
                return shard
        raise AwsError(
            "ResourceNotFoundException",
            f"Could not find shard {shard_id} in stream {self.name} under account {ACCOUNT_ID}.",
        )

    def children(self, shard_id: str) -> list[Shard]:
        """Return the shards that a closed one was split or merged into."""
        return [shard for shard in self.shards if shard_id in {shard.parent_id, shard.adjacent_parent_id}]


class Store:
    """The folder of all streams, held by one process.

    Args:
        folder: Made where it is not there.

    Raises:
        StoreError: Another process holds it, or its description of the streams cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "streams.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise StoreError(f"{folder} is in use by another Kinesis: stop that one, or give another folder") from error

    def close(self) -> None:
        """Let another process hold the folder."""
        self._lock.close()

    def log(self, incarnation: int, shard_id: str) -> ShardLog:
        """Return the log of a shard."""
        return ShardLog(self._folder / str(incarnation) / shard_id)

    def load(self) -> tuple[dict[str, Stream], int]:
        """Read all streams with their records, and remove logs that belong to none.

        Returns:
            The streams by name, and the highest sequence number that was given out.
        """
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            streams = {entry["name"]: self._stream(entry) for entry in document["streams"]}
            last_sequence = int(document["last_sequence"])
        except FileNotFoundError:
            streams, last_sequence = {}, 0
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._path} does not describe streams: {error!r}; restore it, or remove {self._folder} to start empty"
            ) from error
        for stream in streams.values():
            for shard in stream.shards:
                shard.load()
                last_sequence = max(last_sequence, shard.last_sequence, shard.ending_sequence or 0)
        known = {f"{stream.incarnation}/{shard.shard_id}" for stream in streams.values() for shard in stream.shards}
        for folder in self._folder.glob("*/*"):
            if str(folder.relative_to(self._folder)) not in known:
                shutil.rmtree(folder)
        return streams, last_sequence

    def save(self, streams: Mapping[str, Stream], last_sequence: int) -> None:
        """Replace the description of the streams.

        Raises:
            OSError: It could not be written; the old one stays.
        """
        document = {"last_sequence": last_sequence, "streams": [_stream_entry(stream) for stream in streams.values()]}
        fresh = self._path.with_suffix(".json.new")
        try:
            fresh.write_text(json.dumps(document, indent=1), encoding="utf-8")
            fresh.replace(self._path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def delete(self, stream: Stream) -> None:
        """Remove all logs of a stream."""
        for shard in stream.shards:
            shard.log.delete()
        shutil.rmtree(self._folder / str(stream.incarnation), ignore_errors=True)

    def _stream(self, entry: Mapping[str, Any]) -> Stream:
        incarnation = entry["incarnation"]
        return Stream(
            **{
                **entry,
                "created_at": datetime.fromtimestamp(entry["created_at"], UTC),
                "shards": [Shard(**shard, log=self.log(incarnation, shard["shard_id"])) for shard in entry["shards"]],
            }
        )


_STREAM_FIELDS = ("name", "arn", "mode", "incarnation", "retention_hours", "tags")
_SHARD_FIELDS = (
    "shard_id",
    "first_hash_key",
    "last_hash_key",
    "starting_sequence",
    "created_ms",
    "parent_id",
    "adjacent_parent_id",
    "ending_sequence",
    "closed_ms",
)


def _stream_entry(stream: Stream) -> dict[str, Any]:
    return {
        **{name: getattr(stream, name) for name in _STREAM_FIELDS},
        "created_at": stream.created_at.timestamp(),
        "shards": [{name: getattr(shard, name) for name in _SHARD_FIELDS} for shard in stream.shards],
    }


def reply_of(sequence: int, arrived_ms: int, data: str, partition_key: str) -> bytes:
    """Return a record as GetRecords answers it; ``data`` is base64."""
    reply = orjson.dumps(
        {
            "SequenceNumber": str(sequence),
            "ApproximateArrivalTimestamp": arrived_ms / 1000,
            "Data": data,
            "PartitionKey": partition_key,
        }
    )
    return memoryview(reply).tobytes()  # orjson's own bytes keep the whole buffer that it began with
