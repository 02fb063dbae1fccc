"""Kinesis under faults: killed, full, corrupt, overrun. Real processes and files."""

import http.client
import json
import logging
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from localaws.kinesis import Kinesis
from localaws.kinesis_store import Store

from .kinesis_cloud import SHARD, all_by_key, client, make, put, served, values

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

CLIENTS = 32


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def count(url: str) -> int:
    kinesis = client(url)
    at = kinesis.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    return len(kinesis.get_records(ShardIterator=at["ShardIterator"])["Records"])


def put_error(kinesis: "KinesisClient", records: list[Any]) -> Any:
    """Put records, and return what was wrong, if something was."""
    try:
        kinesis.put_records(StreamName="s", Records=records)
    except ClientError as error:
        return {**error.response["Error"], "Status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
    return None


def test_on_a_disk_that_is_full_puts_fail_cleanly_and_nothing_acknowledged_is_lost(small_disk: Path) -> None:
    records: list[Any] = [{"Data": b"%d" % number + bytes(900), "PartitionKey": "k"} for number in range(100)]
    with served(small_disk) as (url, process):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        errors = [put_error(kinesis, records) for _ in range(20)]
        stored = len(records) * errors.count(None)
        assert errors[0] is None
        assert errors == sorted(errors, key=bool)
        assert "No space left" in errors[-1]["Message"]
        assert (errors[-1]["Code"], errors[-1]["Status"]) == ("InternalFailure", 500)
        kinesis.get_waiter("stream_exists").wait(StreamName="s")
        os.kill(process.pid, signal.SIGKILL)
    with served(small_disk) as (url, _):
        assert count(url) == stored


def test_many_clients_at_once_get_all_their_records_back_in_order(tmp_path: Path) -> None:
    session = boto3.session.Session()
    with served(tmp_path) as (url, _):
        client(url).create_stream(StreamName="s", ShardCount=4)
        clients = [
            session.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}))
            for _ in range(CLIENTS)
        ]
        given: dict[str, list[tuple[int, str]]] = defaultdict(list)

        def write(number: int) -> None:
            key = f"client-{number}"
            for first in range(0, 50, 10):
                records: list[Any] = [
                    {"Data": b"%d" % place, "PartitionKey": key} for place in range(first, first + 10)
                ]
                answer = clients[number].put_records(StreamName="s", Records=records)
                given[key] += [(int(record["SequenceNumber"]), record["ShardId"]) for record in answer["Records"]]

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(write, range(CLIENTS)))
        stored = all_by_key(client(url), "s")
    assert stored == {f"client-{number}": list(range(50)) for number in range(CLIENTS)}
    numbers = [number for of_client in given.values() for number, _ in of_client]
    assert len(set(numbers)) == CLIENTS * 50
    for of_client in given.values():
        assert of_client == sorted(of_client)
        assert len({shard for _, shard in of_client}) == 1


def post(connection: http.client.HTTPConnection, action: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection.request("POST", "/", json.dumps(body), {"X-Amz-Target": f"Kinesis_20131202.{action}"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_body_of_7_mb_is_an_error_of_aws_and_the_connection_stays_usable(tmp_path: Path) -> None:
    with served(tmp_path) as (url, _):
        client(url).create_stream(StreamName="s", ShardCount=1)
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.connect()
        socket = connection.sock
        megabyte = {"PartitionKey": "k", "Data": "A" * (1_000_000 // 3 * 4)}
        seven = {"PartitionKey": "k", "Data": "A" * (7_000_000 // 4 * 4)}
        small = {"PartitionKey": "k", "Data": "AAAA"}
        for action, body, error in (
            ("PutRecords", {"StreamName": "s", "Records": [megabyte] * 7}, "InvalidArgumentException"),
            ("PutRecords", {"StreamName": "s", "Records": [small, seven]}, "ValidationException"),
            ("PutRecord", {"StreamName": "s", **seven}, "ValidationException"),
        ):
            status, answer = post(connection, action, body)
            assert (status, answer["__type"]) == (400, error)
            assert len(answer["message"]) < 500
            assert post(connection, "PutRecord", {"StreamName": "s", **small})[0] == 200
        assert connection.sock is socket
        connection.close()
        assert count(url) == 3


@pytest.mark.parametrize("place", ["header", "facts", "reply"])
def test_what_is_behind_a_damaged_record_is_kept(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    kinesis = Kinesis(region="eu-west-1", store=store)
    make(kinesis)
    ends = []
    for value in ("first", "second", "third"):
        put(kinesis, value)
        (segment,) = tmp_path.glob("*/*/*.log")
        ends.append(segment.stat().st_size)
    store.close()
    content = bytearray(segment.read_bytes())
    if place == "all":
        content[ends[0] : ends[1]] = bytes(ends[1] - ends[0])
    else:
        content[ends[0] + {"header": 2, "facts": 10, "reply": 40}[place]] ^= 0xFF
    segment.write_bytes(content)

    for more in ("fourth", "fifth"):
        store = Store(tmp_path)
        with caplog.at_level(logging.ERROR):
            kinesis = Kinesis(region="eu-west-1", store=store)
        assert f"{ends[1] - ends[0]} bytes between whole records are damaged" in caplog.text
        put(kinesis, more)
        store.close()
    store = Store(tmp_path)
    assert values(Kinesis(region="eu-west-1", store=store)) == ["first", "third", "fourth", "fifth"]
    store.close()


def test_a_lock_that_a_dead_process_left_holds_nobody_up(tmp_path: Path) -> None:
    with served(tmp_path) as (url, process):
        client(url).create_stream(StreamName="s", ShardCount=1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert (tmp_path / "kinesis" / "lock").exists()
        (tmp_path / "kinesis" / "streams.json.new").write_text("{half")
        with served(tmp_path) as (url_again, _):
            assert client(url_again).list_streams()["StreamNames"] == ["s"]


def test_a_deleted_stream_is_gone_for_the_waiter(tmp_path: Path) -> None:
    with served(tmp_path) as (url, _):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName="s", WaiterConfig={"MaxAttempts": 1})
        kinesis.delete_stream(StreamName="s")
        kinesis.get_waiter("stream_not_exists").wait(StreamName="s", WaiterConfig={"MaxAttempts": 1})
    assert list((tmp_path / "kinesis").glob("*/*")) == []
