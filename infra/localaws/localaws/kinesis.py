"""Kinesis Data Streams: shards that take and give records in order, in memory.

Belongs here: the streams, their records, and the actions on them. Does not: the wire (``wire``), or what a record means.

A put costs the same whatever the backlog, and a read costs what it returns: each shard is a list in the order of its sequence
numbers, and a record is kept as the piece of JSON that GetRecords answers with.
"""

import argparse
import base64
import binascii
import hashlib
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from localaws.wire import ACCOUNT_ID, Action, AsgiApp, AwsError, json_app, serve

HASH_KEYS = 1 << 128
MAX_RECORD_BYTES = 1 << 20
MAX_PARTITION_KEY_CHARS = 256
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 << 20
MAX_GET_RECORDS = 10_000
MAX_GET_BYTES = 10 << 20
MAX_LISTED_SHARDS = 1_000
RETENTION_HOURS = 24

_sequence_of = attrgetter("sequence")
_arrival_of = attrgetter("arrived_ms")


class Record(NamedTuple):
    """One stored record; ``reply`` is its JSON as GetRecords answers it, the data still in base64."""

    sequence: int
    arrived_ms: int
    size_bytes: int
    reply: orjson.Fragment


class Entry(NamedTuple):
    """A record that was checked and is not stored yet; ``data`` is base64."""

    partition_key: str
    hash_key: int
    data: str
    size_bytes: int


@dataclass(slots=True)
class Shard:
    """A range of hash keys and the records that fell into it, in the order of their sequence numbers."""

    shard_id: str
    first_hash_key: int
    last_hash_key: int
    starting_sequence: int
    records: list[Record] = field(default_factory=list)

    @property
    def last_sequence(self) -> int:
        """The newest record's sequence number, or the shard's own where it holds none."""
        return self.records[-1].sequence if self.records else self.starting_sequence

    def append(self, entry: Entry, sequence: int, arrived_ms: int) -> None:
        """Store a record under a sequence number that is higher than all before it."""
        reply = orjson.dumps(
            {
                "SequenceNumber": str(sequence),
                "ApproximateArrivalTimestamp": arrived_ms / 1000,
                "Data": entry.data,
                "PartitionKey": entry.partition_key,
            }
        )
        self.records.append(Record(sequence, arrived_ms, entry.size_bytes, orjson.Fragment(reply)))

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
        return {
            "ShardId": self.shard_id,
            "HashKeyRange": {"StartingHashKey": str(self.first_hash_key), "EndingHashKey": str(self.last_hash_key)},
            "SequenceNumberRange": {"StartingSequenceNumber": str(self.starting_sequence)},
        }


@dataclass(slots=True)
class Stream:
    """A named stream and its shards, in the order of their hash keys."""

    name: str
    arn: str
    mode: str
    created_at: datetime
    incarnation: int
    shards: list[Shard]

    def shard_of(self, hash_key: int) -> Shard:
        """Return the shard whose range holds a hash key."""
        return self.shards[bisect_left(self.shards, hash_key, key=attrgetter("last_hash_key"))]

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


class Kinesis:
    """All streams of one account and region.

    Args:
        region: The region in the streams' ARNs.
    """

    def __init__(self, *, region: str) -> None:
        self._region = region
        self._streams: dict[str, Stream] = {}
        self._last_sequence = 0

    def actions(self) -> dict[str, Action]:
        """Return the handlers that get validated requests, by action."""
        return {
            "CreateStream": self.create_stream,
            "DeleteStream": self.delete_stream,
            "DescribeStream": self.describe_stream,
            "DescribeStreamSummary": self.describe_stream_summary,
            "ListStreams": self.list_streams,
            "ListShards": self.list_shards,
            "GetShardIterator": self.get_shard_iterator,
        }

    def fast_actions(self) -> dict[str, Action]:
        """Return the handlers that check their own requests, by action."""
        return {"PutRecord": self.put_record, "PutRecords": self.put_records, "GetRecords": self.get_records}

    def create_stream(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make a stream; it is active at once."""
        name = params["StreamName"]
        if name in self._streams:
            raise AwsError("ResourceInUseException", f"Stream {name} under account {ACCOUNT_ID} already exists.")
        mode = params.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
        count = params.get("ShardCount")
        if count is None:
            if mode == "PROVISIONED":
                raise AwsError("ValidationException", "ShardCount is required for a stream in PROVISIONED mode.")
            count = 4  # what AWS gives a new on-demand stream
        sequence = self._next_sequence()
        bounds = [index * HASH_KEYS // count for index in range(count + 1)]
        self._streams[name] = Stream(
            name=name,
            arn=f"arn:aws:kinesis:{self._region}:{ACCOUNT_ID}:stream/{name}",
            mode=mode,
            created_at=datetime.now(UTC),
            incarnation=sequence,
            shards=[
                Shard(f"shardId-{index:012d}", bounds[index], bounds[index + 1] - 1, sequence) for index in range(count)
            ],
        )
        return {}

    def delete_stream(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Drop a stream and its records."""
        del self._streams[self._stream(params).name]
        return {}

    def describe_stream(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Describe a stream and, page by page, its shards."""
        stream = self._stream(params)
        shards, more = _page(stream.shards, params.get("ExclusiveStartShardId", ""), params.get("Limit", 100))
        return {
            "StreamDescription": {
                **_summary(stream),
                "Shards": [shard.describe() for shard in shards],
                "HasMoreShards": more,
            }
        }

    def describe_stream_summary(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Describe a stream without its shards."""
        stream = self._stream(params)
        return {
            "StreamDescriptionSummary": {**_summary(stream), "OpenShardCount": len(stream.shards), "ConsumerCount": 0}
        }

    def list_streams(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """List the streams by name, page by page."""
        after = params.get("NextToken") or params.get("ExclusiveStartStreamName", "")
        names = sorted(name for name in self._streams if name > after)
        page = names[: params.get("Limit", 100)]
        more = len(page) < len(names)
        summaries = [
            {
                "StreamName": stream.name,
                "StreamARN": stream.arn,
                "StreamStatus": "ACTIVE",
                "StreamModeDetails": {"StreamMode": stream.mode},
                "StreamCreationTimestamp": stream.created_at,
            }
            for stream in map(self._streams.__getitem__, page)
        ]
        return {
            "StreamNames": page,
            "StreamSummaries": summaries,
            "HasMoreStreams": more,
            "NextToken": page[-1] if more else None,
        }

    def list_shards(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """List a stream's shards, page by page; every shard is open, so filters by time keep them all."""
        if token := params.get("NextToken"):
            name, after = _read_token(token, 2, "NextToken")
            stream = self._stream({"StreamName": name})
        else:
            stream = self._stream(params)
            after = params.get("ExclusiveStartShardId") or params.get("ShardFilter", {}).get("ShardId", "")
        shards, more = _page(stream.shards, after, params.get("MaxResults", MAX_LISTED_SHARDS))
        token = _token(stream.name, shards[-1].shard_id) if more else None
        return {"Shards": [shard.describe() for shard in shards], "NextToken": token}

    def put_record(self, params: dict[str, Any]) -> dict[str, Any]:
        """Store one record."""
        stream = self._stream(params)
        return self._append(stream, _entry(params, "")[0], _now_ms())

    def put_records(self, params: dict[str, Any]) -> dict[str, Any]:
        """Store up to 500 records of 5 MB together; all of them, or none where one is not valid."""
        stream = self._stream(params)
        records = params.get("Records")
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_PUT_RECORDS:
            raise _invalid("Records", f"Member must be a list of 1 to {MAX_PUT_RECORDS} records")
        size_bytes = 0
        entries = []
        for index, record in enumerate(records):
            entry, entry_bytes = _entry(record, f"Records[{index}].")
            size_bytes += entry_bytes
            entries.append(entry)
        if size_bytes > MAX_PUT_BYTES:
            raise AwsError("InvalidArgumentException", f"Records size exceeds 5 MB limit: {size_bytes} bytes")
        now_ms = _now_ms()
        return {"FailedRecordCount": 0, "Records": [self._append(stream, entry, now_ms) for entry in entries]}

    def get_shard_iterator(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a place in a shard: what GetRecords reads next."""
        stream = self._stream(params)
        shard = stream.shard(params["ShardId"])
        match params["ShardIteratorType"]:
            case "TRIM_HORIZON":
                after = shard.starting_sequence
            case "LATEST":
                after = shard.last_sequence
            case "AT_TIMESTAMP":
                after = _before_timestamp(shard, params.get("Timestamp"))
            case "AT_SEQUENCE_NUMBER":
                after = _known_sequence(shard, params) - 1
            case "AFTER_SEQUENCE_NUMBER":
                after = _known_sequence(shard, params)
        return {"ShardIterator": _token(stream.name, stream.incarnation, shard.shard_id, after)}

    def get_records(self, params: dict[str, Any]) -> dict[str, Any]:
        """Read what follows an iterator: up to ``Limit`` records and 10 MB."""
        name, incarnation, shard_id, after = _read_token(params.get("ShardIterator"), 4, "ShardIterator")
        limit = params.get("Limit", MAX_GET_RECORDS)
        if not isinstance(limit, int) or not 1 <= limit <= MAX_GET_RECORDS:
            raise _invalid("Limit", f"Member must be an integer of 1 to {MAX_GET_RECORDS}")
        stream = self._stream({"StreamName": name})
        if stream.incarnation != incarnation:
            raise AwsError(
                "InvalidArgumentException", f"Invalid ShardIterator: stream {name} was deleted and made anew"
            )
        shard = stream.shard(shard_id)
        records, left = shard.read(after, limit)
        if records:
            after = records[-1].sequence
        return {
            "Records": [record.reply for record in records],
            "NextShardIterator": _token(name, incarnation, shard_id, after),
            "MillisBehindLatest": max(1, _now_ms() - records[-1].arrived_ms) if left else 0,
        }

    def _stream(self, params: Mapping[str, Any]) -> Stream:
        name = params.get("StreamName") or str(params.get("StreamARN") or "").rpartition("/")[2]
        if not name:
            raise AwsError("InvalidArgumentException", "Either StreamName or StreamARN must be given.")
        stream = self._streams.get(name)
        if stream is None:
            raise AwsError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT_ID} not found.")
        return stream

    def _next_sequence(self) -> int:
        """Return a number above all before it, also after a restart and when the clock goes back."""
        self._last_sequence = max(self._last_sequence + 1, time.time_ns())
        return self._last_sequence

    def _append(self, stream: Stream, entry: Entry, now_ms: int) -> dict[str, Any]:
        shard = stream.shard_of(entry.hash_key)
        sequence = self._next_sequence()
        shard.append(entry, sequence, now_ms)
        return {"ShardId": shard.shard_id, "SequenceNumber": str(sequence)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _invalid(name: str, wanted: str) -> AwsError:
    return AwsError(
        "ValidationException", f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {wanted}"
    )


def _entry(record: Any, path: str) -> tuple[Entry, int]:
    """Check a record of a put and find its hash key.

    Returns:
        The record, and the bytes that it counts for in the limit of a request.
    """
    if not isinstance(record, dict):
        raise _invalid(path.rstrip("."), "Member must be a structure")
    key, data = record.get("PartitionKey"), record.get("Data")
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_PARTITION_KEY_CHARS:
        raise _invalid(f"{path}PartitionKey", f"Member must be a string of 1 to {MAX_PARTITION_KEY_CHARS} characters")
    if not isinstance(data, str):
        raise _invalid(f"{path}Data", "Member must be base64 text")
    try:
        size_bytes = len(binascii.a2b_base64(data, strict_mode=True))
    except ValueError as error:
        raise _invalid(f"{path}Data", f"Member must be base64: {error}") from error
    if size_bytes > MAX_RECORD_BYTES:
        raise _invalid(f"{path}Data", f"Member must have length less than or equal to {MAX_RECORD_BYTES}")
    key_utf8 = key.encode()
    explicit = record.get("ExplicitHashKey")
    if explicit is None:
        hash_key = int.from_bytes(hashlib.md5(key_utf8, usedforsecurity=False).digest())
    elif isinstance(explicit, str) and explicit.isascii() and explicit.isdigit() and int(explicit) < HASH_KEYS:
        hash_key = int(explicit)
    else:
        raise _invalid(f"{path}ExplicitHashKey", "Member must be a decimal number from 0 to 2^128-1")
    return Entry(key, hash_key, data, size_bytes), size_bytes + len(key_utf8)


def _before_timestamp(shard: Shard, moment: datetime | None) -> int:
    """Return the sequence number behind which everything came at ``moment`` or later."""
    if moment is None:
        raise AwsError("InvalidArgumentException", "Timestamp must be given for ShardIteratorType AT_TIMESTAMP.")
    moment_ms, now_ms = round(moment.timestamp() * 1000), _now_ms()
    if moment_ms > now_ms:
        raise AwsError(
            "InvalidArgumentException",
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {moment_ms}, currentTimestampInMillis: {now_ms}",
        )
    index = bisect_left(shard.records, moment_ms, key=_arrival_of)
    return shard.records[index].sequence - 1 if index < len(shard.records) else shard.last_sequence


def _known_sequence(shard: Shard, params: Mapping[str, Any]) -> int:
    """Return the StartingSequenceNumber of a request, which must be one that this shard gave out."""
    text = params.get("StartingSequenceNumber", "")
    if text.isascii() and text.isdigit() and shard.starting_sequence <= int(text) <= shard.last_sequence:
        return int(text)
    raise AwsError(
        "InvalidArgumentException",
        f"StartingSequenceNumber {text!r} used in GetShardIterator on shard {shard.shard_id} is invalid because it did not come from this stream.",
    )


def _page(shards: list[Shard], after: str, limit: int) -> tuple[list[Shard], bool]:
    following = [shard for shard in shards if shard.shard_id > after]
    return following[:limit], len(following) > limit


def _summary(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": stream.mode},
        "RetentionPeriodHours": RETENTION_HOURS,
        "StreamCreationTimestamp": stream.created_at,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _token(*parts: str | int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def _read_token(token: Any, length: int, name: str) -> list[Any]:
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(token))
    except (TypeError, ValueError) as error:
        raise AwsError("InvalidArgumentException", f"Invalid {name}.") from error
    if not isinstance(parts, list) or len(parts) != length:
        raise AwsError("InvalidArgumentException", f"Invalid {name}.")
    return parts


def make_app(*, region: str) -> AsgiApp:
    """Return Kinesis as an ASGI app."""
    kinesis = Kinesis(region=region)
    return json_app("kinesis", kinesis.actions(), fast_actions=kinesis.fast_actions())


def main() -> None:
    """Serve Kinesis on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.kinesis", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    serve(make_app(region=os.environ["AWS_REGION"]), parser.parse_args().port)


if __name__ == "__main__":
    main()
