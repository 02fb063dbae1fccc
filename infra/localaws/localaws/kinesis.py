"""Kinesis Data Streams: shards that take and give records in order, and keep them.

Belongs here: the actions on streams and their limits. Does not: how streams and records are kept (``kinesis_store``), the wire
(``wire``), or what a record means.

A put costs the same whatever the backlog, and a read costs what it returns: each shard is a list in the order of its sequence
numbers, and a record is kept as the piece of JSON that GetRecords answers with. A put is answered when its records are in the log.
"""

import argparse
import base64
import binascii
import hashlib
import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from localaws.kinesis_store import Record, Shard, Store, StoreError, Stream, reply_of
from localaws.wire import ACCOUNT_ID, Action, AsgiApp, AwsError, json_app, serve

HASH_KEYS = 1 << 128
MAX_RECORD_BYTES = 1 << 20
MAX_PARTITION_KEY_CHARS = 256
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 << 20
MAX_GET_RECORDS = 10_000
MAX_LISTED_SHARDS = 1_000
MIN_RETENTION_HOURS = 24
MAX_RETENTION_HOURS = 8_760
MAX_SHARDS = 10_000
MAX_TAGS = 50
TOKEN_LIFE_MS = 300_000
SWEEP_EVERY_MS = 60_000
HOUR_MS = 3_600_000
THROTTLE_VARIABLE = "LOCALAWS_KINESIS_THROTTLE"

_arrival_of = attrgetter("arrived_ms")
_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A record that was checked and is not stored yet; ``data`` is base64, ``size_bytes`` that of the data and the key."""

    partition_key: str
    hash_key: int
    data: str
    size_bytes: int


class Kinesis:
    """All streams of one account and region.

    Args:
        region: The region in the streams' ARNs.
        store: Where the streams are kept.
        throttle: Whether a shard takes in 1,000 records and 1 MB a second at most, and gives 2 MB a second in 5 reads, as on AWS.
        clock_ns: Returns the time since the epoch.

    Raises:
        StoreError: What is kept cannot be read.
    """

    def __init__(
        self, *, region: str, store: Store, throttle: bool = False, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._region = region
        self._store = store
        self._throttle = throttle
        self._clock_ns = clock_ns
        self._streams, self._last_sequence = store.load()
        self._last_moment_ms = max(
            (
                max(shard.created_ms, shard.closed_ms or 0, *(record.arrived_ms for record in shard.records[-1:]))
                for stream in self._streams.values()
                for shard in stream.shards
            ),
            default=0,
        )
        self._swept_ms = 0

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
            "SplitShard": self.split_shard,
            "MergeShards": self.merge_shards,
            "UpdateShardCount": self.update_shard_count,
            "IncreaseStreamRetentionPeriod": self.increase_retention,
            "DecreaseStreamRetentionPeriod": self.decrease_retention,
            "AddTagsToStream": self.add_tags,
            "RemoveTagsFromStream": self.remove_tags,
            "ListTagsForStream": self.list_tags,
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
        if count > MAX_SHARDS:
            raise AwsError("LimitExceededException", f"ShardCount {count} is more than {MAX_SHARDS}.")
        sequence, now_ms = self._next_sequence(), self._moment_ms()
        stream = Stream(
            name=name,
            arn=f"arn:aws:kinesis:{self._region}:{ACCOUNT_ID}:stream/{name}",
            mode=mode,
            created_at=datetime.fromtimestamp(now_ms / 1000, UTC),
            incarnation=sequence,
            retention_hours=MIN_RETENTION_HOURS,
            shards=[
                self._new_shard(sequence, index, hash_keys, sequence, now_ms)
                for index, hash_keys in enumerate(_uniform_ranges(count))
            ],
            tags=_tags(name, params.get("Tags", {})),
        )
        self._commit({**self._streams, name: stream})
        return {}

    def delete_stream(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Drop a stream and its records."""
        stream = self._stream(params)
        self._commit({name: other for name, other in self._streams.items() if name != stream.name})
        self._store.delete(stream)
        return {}

    def split_shard(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Close a shard and share its hash keys among two new ones."""
        stream = self._provisioned(params)
        parent = self._open_shard(stream, params["ShardToSplit"])
        middle = int(params["NewStartingHashKey"])
        if not parent.first_hash_key + 1 < middle < parent.last_hash_key:
            raise AwsError(
                "InvalidArgumentException",
                f"NewStartingHashKey {middle} used in SplitShard() on shard {parent.shard_id} in stream {stream.name} under "
                f"account {ACCOUNT_ID} is not both greater than one plus the shard's StartingHashKey {parent.first_hash_key} "
                f"and less than the shard's EndingHashKey {parent.last_hash_key}.",
            )
        self._replace(stream, self._split(stream, parent, middle))
        return {}

    def merge_shards(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Close two shards that are neighbours and give their hash keys to a new one."""
        stream = self._provisioned(params)
        parents = [self._open_shard(stream, params[name]) for name in ("ShardToMerge", "AdjacentShardToMerge")]
        low, high = sorted(parents, key=attrgetter("first_hash_key"))
        if low.last_hash_key + 1 != high.first_hash_key:
            raise AwsError(
                "InvalidArgumentException",
                f"Shards {parents[0].shard_id} and {parents[1].shard_id} in stream {stream.name} under account {ACCOUNT_ID} "
                "are not an adjacent pair of shards eligible for merging",
            )
        self._replace(stream, self._merged(stream, parents))
        return {}

    def update_shard_count(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Share the hash keys evenly among another number of shards, by splits and then merges."""
        before = stream = self._provisioned(params)
        count, target = len(stream.open_shards), params["TargetShardCount"]
        if not count <= 2 * target <= 4 * count or target > MAX_SHARDS:
            raise AwsError(
                "InvalidArgumentException",
                f"TargetShardCount {target} is not from half of the {count} open shards of stream {stream.name} to their double, "
                f"and {MAX_SHARDS} at most.",
            )
        ranges = _uniform_ranges(target)
        for first, _ in ranges:
            shard = stream.shard_of(first)
            if shard.first_hash_key != first:
                stream = self._split(stream, shard, first)
        for first, last in ranges:
            while (shard := stream.shard_of(first)).last_hash_key != last:
                stream = self._merged(stream, [shard, stream.shard_of(shard.last_hash_key + 1)])
        self._replace(before, stream)
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardCount": count,
            "TargetShardCount": target,
        }

    def add_tags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Add tags, or give those that are there another value."""
        stream = self._stream(params)
        tags = _tags(stream.name, {**stream.tags, **params["Tags"]})
        self._commit({**self._streams, stream.name: replace(stream, tags=tags)})
        return {}

    def remove_tags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Remove tags; a key that is not there is no error."""
        stream = self._stream(params)
        tags = {key: value for key, value in stream.tags.items() if key not in params["TagKeys"]}
        self._commit({**self._streams, stream.name: replace(stream, tags=tags)})
        return {}

    def list_tags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """List a stream's tags by their key, page by page."""
        after = params.get("ExclusiveStartTagKey", "")
        tags = sorted((key, value) for key, value in self._stream(params).tags.items() if key > after)
        limit = params.get("Limit", MAX_TAGS)
        return {
            "Tags": [{"Key": key, "Value": value} for key, value in tags[:limit]],
            "HasMoreTags": len(tags) > limit,
        }

    def increase_retention(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Keep records longer."""
        stream = self._stream(params)
        hours = params["RetentionPeriodHours"]
        if hours < stream.retention_hours:
            raise _retention_error(stream, hours, "shorter", "DecreaseStreamRetentionPeriod")
        return self._set_retention(stream, hours)

    def decrease_retention(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Keep records for a shorter time; what is older then is dropped."""
        stream = self._stream(params)
        hours = params["RetentionPeriodHours"]
        if hours > stream.retention_hours:
            raise _retention_error(stream, hours, "longer", "IncreaseStreamRetentionPeriod")
        return self._set_retention(stream, hours)

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
            "StreamDescriptionSummary": {
                **_summary(stream),
                "OpenShardCount": len(stream.open_shards),
                "ConsumerCount": 0,
            }
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
        """List a stream's shards, page by page: all that are kept, or those that a filter wants."""
        now_ms = self._now_ms()
        if token := params.get("NextToken"):
            if others := sorted({"StreamName", "StreamARN", "ExclusiveStartShardId", "ShardFilter"} & set(params)):
                raise AwsError(
                    "InvalidArgumentException", f"NextToken and {', '.join(others)} cannot be given together."
                )
            name, after, kind, moment_ms, made_ms = _read_token(token, _PAGE_TOKEN, "NextToken")
            if now_ms - made_ms > TOKEN_LIFE_MS:
                raise AwsError("ExpiredNextTokenException", f"NextToken expired: it was made at {made_ms} ms.")
            stream = self._stream({"StreamName": name})
        else:
            stream = self._stream(params)
            chosen = params.get("ShardFilter", {})
            kind = chosen.get("Type")
            moment_ms = _filter_moment_ms(stream, chosen, now_ms)
            after = chosen.get("ShardId", "") if kind == "AFTER_SHARD_ID" else params.get("ExclusiveStartShardId", "")
        found = [shard for shard in stream.shards if _is_wanted(shard, kind, moment_ms)]
        shards, more = _page(found, after, params.get("MaxResults", MAX_LISTED_SHARDS))
        next_token = _token(stream.name, shards[-1].shard_id, kind, moment_ms, now_ms) if more else None
        return {"Shards": [shard.describe() for shard in shards], "NextToken": next_token}

    def put_record(self, params: dict[str, Any]) -> dict[str, Any]:
        """Store one record."""
        stream = self._stream(params)
        (answer,) = self._append(stream, [_entry(params, "")])
        if "ErrorCode" in answer:
            raise AwsError(answer["ErrorCode"], answer["ErrorMessage"])
        return answer

    def put_records(self, params: dict[str, Any]) -> dict[str, Any]:
        """Store up to 500 records of 5 MB together; none where one is not valid, else all but those of a throttled shard."""
        stream = self._stream(params)
        records = params.get("Records")
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_PUT_RECORDS:
            raise _invalid("Records", f"Member must be a list of 1 to {MAX_PUT_RECORDS} records")
        entries = [_entry(record, f"Records[{index}].") for index, record in enumerate(records)]
        size_bytes = sum(entry.size_bytes for entry in entries)
        if size_bytes > MAX_PUT_BYTES:
            raise AwsError("InvalidArgumentException", f"Records size exceeds 5 MB limit: {size_bytes} bytes")
        answers = self._append(stream, entries)
        return {"FailedRecordCount": sum("ErrorCode" in answer for answer in answers), "Records": answers}

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
                after = _before_timestamp(shard, params.get("Timestamp"), self._moment_ms())
            case "AT_SEQUENCE_NUMBER":
                after = _known_sequence(shard, params) - 1
            case "AFTER_SEQUENCE_NUMBER":
                after = _known_sequence(shard, params)
        return {"ShardIterator": _token(stream.name, stream.incarnation, shard.shard_id, after, self._now_ms())}

    def get_records(self, params: dict[str, Any]) -> dict[str, Any]:
        """Read what follows an iterator: up to ``Limit`` records and 10 MB."""
        name, incarnation, shard_id, after, made_ms = _read_token(
            params.get("ShardIterator"), _ITERATOR, "ShardIterator"
        )
        limit = params.get("Limit", MAX_GET_RECORDS)
        if not isinstance(limit, int) or not 1 <= limit <= MAX_GET_RECORDS:
            raise _invalid("Limit", f"Member must be an integer of 1 to {MAX_GET_RECORDS}")
        stream, now_ms = self._stream({"StreamName": name}), self._now_ms()
        if stream.incarnation != incarnation:
            raise AwsError(
                "InvalidArgumentException", f"Invalid ShardIterator: stream {name} was deleted and made anew"
            )
        if now_ms - made_ms > TOKEN_LIFE_MS:
            raise AwsError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created at time {made_ms} while right now it is {now_ms} which is further "
                f"in the future than the tolerated delay of {TOKEN_LIFE_MS} milliseconds.",
            )
        shard = stream.shard(shard_id)
        if self._throttle and not shard.reads.take(now_ms):
            error = _throttled(stream, shard)
            raise AwsError(error["ErrorCode"], error["ErrorMessage"])
        records, left = shard.read(after, limit)
        if self._throttle:
            shard.reads.spend(sum(record.size_bytes for record in records))
        answer = {
            "Records": [orjson.Fragment(record.reply) for record in records],
            "MillisBehindLatest": max(1, now_ms - records[-1].arrived_ms) if left else 0,
        }
        if shard.closed_ms is None or left:
            answer["NextShardIterator"] = _token(
                name, incarnation, shard_id, records[-1].sequence if records else after, now_ms
            )
        else:
            answer["ChildShards"] = [
                {
                    "ShardId": child.shard_id,
                    "ParentShards": [parent for parent in (child.parent_id, child.adjacent_parent_id) if parent],
                    "HashKeyRange": child.describe_range(),
                }
                for child in stream.children(shard_id)
            ]
        return answer

    def _stream(self, params: Mapping[str, Any]) -> Stream:
        name = params.get("StreamName") or str(params.get("StreamARN") or "").rpartition("/")[2]
        if not name:
            raise AwsError("InvalidArgumentException", "Either StreamName or StreamARN must be given.")
        if not isinstance(name, str):
            raise _invalid("StreamName", "Member must be a string")
        self._sweep()
        stream = self._streams.get(name)
        if stream is None:
            raise AwsError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT_ID} not found.")
        return stream

    def _provisioned(self, params: Mapping[str, Any]) -> Stream:
        """Return a stream whose shards its owner may change."""
        stream = self._stream(params)
        if stream.mode != "PROVISIONED":
            raise AwsError(
                "ValidationException", f"Stream {stream.name} is in {stream.mode} mode: its shards cannot be changed."
            )
        return stream

    def _next_sequence(self) -> int:
        """Return a number above all before it, also after a restart and when the clock goes back."""
        self._last_sequence = max(self._last_sequence + 1, self._clock_ns())
        return self._last_sequence

    def _now_ms(self) -> int:
        return self._clock_ns() // 1_000_000

    def _moment_ms(self) -> int:
        """Return the time for what is kept: it never goes back, so that records stay in the order of their arrival."""
        self._last_moment_ms = max(self._last_moment_ms, self._now_ms())
        return self._last_moment_ms

    def _append(self, stream: Stream, entries: list[Entry]) -> list[dict[str, Any]]:
        """Write records to the logs of their shards, with one write for each shard, and show them then."""
        now_ms, clock_ms = self._moment_ms(), self._now_ms()
        answers: list[dict[str, Any]] = []
        fresh: dict[str, tuple[Shard, list[Record]]] = {}
        for entry in entries:
            shard = stream.shard_of(entry.hash_key)
            if self._throttle and not shard.allowance.take(entry.size_bytes, clock_ms):
                answers.append(_throttled(stream, shard))
                continue
            sequence = self._next_sequence()
            reply = reply_of(sequence, now_ms, entry.data, entry.partition_key)
            record = Record(sequence, now_ms, entry.size_bytes, reply)
            fresh.setdefault(shard.shard_id, (shard, []))[1].append(record)
            answers.append({"ShardId": shard.shard_id, "SequenceNumber": str(sequence)})
        written: list[tuple[Shard, int]] = []
        try:
            for shard, records in fresh.values():
                written.append((shard, shard.log.append(records)))
        except OSError as error:
            for shard, before_bytes in written:
                shard.log.cut(before_bytes)
            raise _cannot_write(error) from error
        for shard, records in fresh.values():
            shard.keep(records)
        return answers

    def _commit(self, streams: dict[str, Stream]) -> None:
        """Keep a new description of all streams, or leave the old one where it cannot be written."""
        try:
            self._store.save(streams, self._last_sequence)
        except OSError as error:
            raise _cannot_write(error) from error
        self._streams = streams

    def _sweep(self) -> None:
        """Once a minute, drop the records that are older than the retention, and the closed shards that held only such."""
        now_ms = self._now_ms()
        if abs(now_ms - self._swept_ms) < SWEEP_EVERY_MS:
            return
        self._swept_ms = now_ms
        gone: list[Shard] = []
        streams: dict[str, Stream] = {}
        for stream in self._streams.values():
            horizon_ms = now_ms - stream.retention_hours * HOUR_MS
            for shard in stream.shards:
                shard.forget(horizon_ms)
            old = [shard for shard in stream.shards if shard.closed_ms is not None and shard.closed_ms < horizon_ms]
            streams[stream.name] = replace(stream, shards=[shard for shard in stream.shards if shard not in old])
            gone += old
        if gone:
            self._commit(streams)
            for shard in gone:
                shard.log.delete()

    def _new_shard(
        self,
        incarnation: int,
        index: int,
        hash_keys: tuple[int, int],
        sequence: int,
        now_ms: int,
        parents: tuple[str | None, str | None] = (None, None),
    ) -> Shard:
        shard_id = f"shardId-{index:012d}"
        return Shard(shard_id, *hash_keys, sequence, now_ms, self._store.log(incarnation, shard_id), *parents)

    def _open_shard(self, stream: Stream, shard_id: str) -> Shard:
        shard = stream.shard(shard_id)
        if shard.closed_ms is not None:
            raise AwsError(
                "InvalidArgumentException",
                f"Shard {shard_id} in stream {stream.name} under account {ACCOUNT_ID} has already been merged or split, and "
                "thus is not eligible for merging or splitting.",
            )
        return shard

    def _split(self, stream: Stream, parent: Shard, middle: int) -> Stream:
        return self._resharded(stream, [parent], [(parent.first_hash_key, middle - 1), (middle, parent.last_hash_key)])

    def _merged(self, stream: Stream, parents: list[Shard]) -> Stream:
        first = min(shard.first_hash_key for shard in parents)
        return self._resharded(stream, parents, [(first, max(shard.last_hash_key for shard in parents))])

    def _resharded(self, stream: Stream, parents: list[Shard], ranges: list[tuple[int, int]]) -> Stream:
        """Return a stream in which some shards are closed, and others are open for ranges of hash keys."""
        now_ms, ending, starting = self._moment_ms(), self._next_sequence(), self._next_sequence()
        index = 1 + int(stream.shards[-1].shard_id.rpartition("-")[2])
        first, second = parents[0].shard_id, parents[1].shard_id if len(parents) > 1 else None
        closed = [
            replace(shard, ending_sequence=ending, closed_ms=now_ms) if shard in parents else shard
            for shard in stream.shards
        ]
        opened = [
            self._new_shard(stream.incarnation, index + place, hash_keys, starting, now_ms, (first, second))
            for place, hash_keys in enumerate(ranges)
        ]
        return replace(stream, shards=closed + opened)

    def _replace(self, before: Stream, after: Stream) -> None:
        """Keep a stream with other shards, and close the logs of those that were open."""
        self._commit({**self._streams, after.name: after})
        for shard in before.open_shards:
            if after.shard(shard.shard_id).closed_ms is not None:
                shard.log.close()

    def _set_retention(self, stream: Stream, hours: int) -> dict[str, Any]:
        if not MIN_RETENTION_HOURS <= hours <= MAX_RETENTION_HOURS:
            raise AwsError(
                "InvalidArgumentException",
                f"Requested retention period ({hours} hours) is not from {MIN_RETENTION_HOURS} to {MAX_RETENTION_HOURS} hours.",
            )
        self._commit({**self._streams, stream.name: replace(stream, retention_hours=hours)})
        self._swept_ms = 0
        return {}


def _cannot_write(error: OSError) -> AwsError:
    _log.error("cannot write: %s", error)
    return AwsError(
        "InternalFailure", f"the streams' folder cannot be written, nothing was stored: {error}", status=500
    )


def _throttled(stream: Stream, shard: Shard) -> dict[str, Any]:
    return {
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": f"Rate exceeded for shard {shard.shard_id} in stream {stream.name} under account {ACCOUNT_ID}.",
    }


def _retention_error(stream: Stream, hours: int, how: str, instead: str) -> AwsError:
    return AwsError(
        "InvalidArgumentException",
        f"Requested retention period ({hours} hours) for stream {stream.name} can not be {how} than existing retention period "
        f"({stream.retention_hours} hours). Use {instead}.",
    )


def _filter_moment_ms(stream: Stream, chosen: Mapping[str, Any], now_ms: int) -> int:
    """Return the time that a filter of shards speaks of; the stream's own where that is later."""
    created_ms = round(stream.created_at.timestamp() * 1000)
    kind = str(chosen.get("Type", ""))
    if kind == "AFTER_SHARD_ID" and "ShardId" not in chosen:
        raise AwsError("InvalidArgumentException", "ShardId must be given for a ShardFilter of type AFTER_SHARD_ID.")
    if not kind.endswith("_TIMESTAMP"):
        return max(created_ms, now_ms - stream.retention_hours * HOUR_MS)
    if "Timestamp" not in chosen:
        raise AwsError("InvalidArgumentException", f"Timestamp must be given for a ShardFilter of type {kind}.")
    moment: datetime = chosen["Timestamp"]
    return max(created_ms, round(moment.timestamp() * 1000))


def _is_wanted(shard: Shard, kind: str | None, moment_ms: int) -> bool:
    """Say whether a filter of shards wants one: ``AT`` those open at a time, ``FROM`` those open then or later."""
    match kind:
        case "AT_LATEST":
            return shard.closed_ms is None
        case "AT_TRIM_HORIZON" | "AT_TIMESTAMP":
            return shard.created_ms <= moment_ms and (shard.closed_ms is None or shard.closed_ms > moment_ms)
        case "FROM_TRIM_HORIZON" | "FROM_TIMESTAMP":
            return shard.closed_ms is None or shard.closed_ms >= moment_ms
    return True


def _invalid(name: str, wanted: str) -> AwsError:
    return AwsError(
        "ValidationException", f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {wanted}"
    )


def _uniform_ranges(count: int) -> list[tuple[int, int]]:
    """Return the first and last hash key of each of ``count`` shards that share all evenly."""
    bounds = [index * HASH_KEYS // count for index in range(count + 1)]
    return [(first, following - 1) for first, following in pairwise(bounds)]


def _tags(stream_name: str, tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise AwsError(
            "InvalidArgumentException", f"Stream {stream_name} would have {len(tags)} tags, at most {MAX_TAGS}."
        )
    return dict(tags)


def _entry(record: Any, path: str) -> Entry:
    """Check a record of a put and find its hash key."""
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
    key_utf8 = key.encode()
    size_bytes += len(key_utf8)
    if size_bytes > MAX_RECORD_BYTES:
        raise _invalid(
            f"{path}Data", f"Member must have, with PartitionKey, length less than or equal to {MAX_RECORD_BYTES}"
        )
    explicit = record.get("ExplicitHashKey")
    if explicit is None:
        hash_key = int.from_bytes(hashlib.md5(key_utf8, usedforsecurity=False).digest())
    elif isinstance(explicit, str) and explicit.isascii() and explicit.isdigit() and int(explicit) < HASH_KEYS:
        hash_key = int(explicit)
    else:
        raise _invalid(f"{path}ExplicitHashKey", "Member must be a decimal number from 0 to 2^128-1")
    return Entry(key, hash_key, data, size_bytes)


def _before_timestamp(shard: Shard, moment: datetime | None, now_ms: int) -> int:
    """Return the sequence number behind which everything came at ``moment`` or later."""
    if moment is None:
        raise AwsError("InvalidArgumentException", "Timestamp must be given for ShardIteratorType AT_TIMESTAMP.")
    moment_ms = round(moment.timestamp() * 1000)
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
    last = shard.ending_sequence or shard.last_sequence
    if text.isascii() and text.isdigit() and shard.starting_sequence <= int(text) <= last:
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
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": stream.created_at,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _token(*parts: str | int | None) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


_ITERATOR = (str, int, str, int, int)  # stream, its incarnation, shard, sequence number before, made at
_PAGE_TOKEN = (str, str, str | None, int, int)  # stream, shard before, filter, the filter's moment, made at


def _read_token(token: Any, kinds: tuple[Any, ...], name: str) -> list[Any]:
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(token))
    except (TypeError, ValueError) as error:
        raise AwsError("InvalidArgumentException", f"Invalid {name}.") from error
    if not isinstance(parts, list) or len(parts) != len(kinds) or not all(map(isinstance, parts, kinds)):
        raise AwsError("InvalidArgumentException", f"Invalid {name}.")
    return parts


def make_app(*, region: str, folder: Path, throttle: bool = False) -> AsgiApp:
    """Return Kinesis as an ASGI app.

    Args:
        region: The region in the streams' ARNs.
        folder: Where the streams are kept.
        throttle: As of ``Kinesis``.

    Raises:
        StoreError: The folder is in use, or what it holds cannot be read.
    """
    kinesis = Kinesis(region=region, store=Store(folder), throttle=throttle)
    return json_app("kinesis", kinesis.actions(), fast_actions=kinesis.fast_actions())


def main() -> None:
    """Serve Kinesis on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.kinesis", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of all state; the streams are in kinesis/ below"
    )
    parser.add_argument(
        "--throttle",
        action="store_true",
        default=os.environ.get(THROTTLE_VARIABLE) == "1",
        help=f"the limits of AWS for each shard: 1,000 records and 1 MB a second to put, 5 reads and 2 MB a second to get; also by {THROTTLE_VARIABLE}=1",
    )
    args = parser.parse_args()
    try:
        app = make_app(region=os.environ["AWS_REGION"], folder=args.state / "kinesis", throttle=args.throttle)
    except StoreError as error:
        raise SystemExit(f"kinesis: {error}") from error
    serve(app, args.port)


if __name__ == "__main__":
    main()
