"""What every service of the embedded AWS answers on the wire."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import botocore.loaders
import httpx
import pytest
from botocore.model import ServiceModel
from localaws import wire


@pytest.fixture(scope="module")
def url(serve_module: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return serve_module("localaws.kinesis", "--state", str(tmp_path_factory.mktemp("kinesis")))


def call(url: str, target: str, content: str = "{}") -> tuple[int, dict[str, str]]:
    answer = httpx.post(url, content=content, headers={"x-amz-target": target})
    return answer.status_code, answer.json()


def test_an_unknown_action_is_a_clean_400_that_botocore_does_not_retry(url: str) -> None:
    for target in ("Kinesis_20131202.RegisterStreamConsumer", "Other.ListStreams", ""):
        status, error = call(url, target)
        assert (status, error["__type"]) == (400, "UnknownOperationException")


def test_a_request_without_a_target_is_a_clean_400(url: str) -> None:
    for answer in (httpx.post(url, content="{}"), httpx.get(url)):
        assert (answer.status_code, answer.json()["__type"]) == (400, "UnknownOperationException")
        assert answer.headers["content-type"] == "application/x-amz-json-1.1"
        assert answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    "body",
    [
        *("{", "[]", "\xff", "5", "null", '"text"', '{"Limit": NaN}', '{"StreamName": "\\ud800"}'),
        '{"a":' * 100_000 + "1" + "}" * 100_000,
    ],
    ids=["half", "list", "no text", "number", "null", "string", "not a number", "half a character", "deep"],
)
@pytest.mark.parametrize("action", ["ListStreams", "PutRecords"])
def test_a_body_that_is_no_json_object_is_refused(url: str, action: str, body: str) -> None:
    status, error = call(url, f"Kinesis_20131202.{action}", body)
    assert (status, error["__type"]) == (400, "SerializationException")
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("ListStreams", {"Limit": "ten"}),
        ("ListStreams", {"Limit": 1.5}),
        ("DescribeStream", {"StreamName": {"name": "s"}}),
        ("CreateStream", {"StreamName": "s", "ShardCount": 1, "Tags": [1]}),
        ("ListShards", {"StreamName": "s", "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": "now"}}),
        ("PutRecord", {"StreamName": {"name": "s"}, "PartitionKey": "k", "Data": "eA=="}),
        ("PutRecord", {"StreamName": "s", "PartitionKey": 5, "Data": "eA=="}),
        ("PutRecords", {"StreamName": "s", "Records": {"PartitionKey": "k"}}),
        ("PutRecords", {"StreamName": "s", "Records": ["k"]}),
        ("GetRecords", {"ShardIterator": {}}),
        ("GetRecords", {"ShardIterator": "iterator", "Limit": "ten"}),
    ],
)
def test_a_parameter_of_a_wrong_type_is_the_callers_mistake(url: str, action: str, params: dict[str, Any]) -> None:
    call(url, "Kinesis_20131202.CreateStream", '{"StreamName": "s", "ShardCount": 1}')
    status, error = call(url, f"Kinesis_20131202.{action}", json.dumps(params))
    assert (status, error["__type"]) in {(400, "ValidationException"), (400, "InvalidArgumentException")}


def test_a_wrong_value_is_shown_in_part_and_many_are_shown_in_part(url: str) -> None:
    for params in ({"StreamName": "?" * 1_000_000}, {"ShardFilter": {str(number): 1 for number in range(100_000)}}):
        status, error = call(url, "Kinesis_20131202.ListShards", json.dumps(params))
        assert (status, error["__type"]) == (400, "ValidationException")
        assert len(error["message"]) < 10_000


def test_a_recursive_shape_is_followed_as_far_as_it_can_be() -> None:
    mapping: dict[str, Any] = {}
    for _ in range(500):
        mapping = {"Children": [mapping]}
    node = {"ApplyMapping": {"Name": "n", "Inputs": ["a"], "Mapping": [mapping]}}
    request = {"Name": "j", "Role": "r", "Command": {}, "CodeGenConfigurationNodes": {"n": node}}
    with pytest.raises(wire.AwsError, match="SerializationException: the body is nested too deeply"):
        wire.decode(shape("glue", "CreateJobRequest"), request)


def test_every_wrong_parameter_is_named_at_once(url: str) -> None:
    status, error = call(url, "Kinesis_20131202.CreateStream", '{"StreamName": "a b", "ShardCount": 0, "Shards": 1}')
    assert (status, error["__type"]) == (400, "ValidationException")
    assert error["message"].startswith("3 validation errors detected")
    for name in ("'StreamName'", "ShardCount", '"Shards"'):
        assert name in error["message"]


def test_a_body_over_the_limit_is_a_413(url: str) -> None:
    answer = httpx.post(
        url, content=bytes(wire.MAX_BODY_BYTES + 1), headers={"x-amz-target": "Kinesis_20131202.ListStreams"}
    )
    assert answer.status_code == 413


def test_an_action_that_the_service_model_lacks_is_found_at_start() -> None:
    with pytest.raises(ValueError, match="kinesis has no action PutRecrods"):
        wire.json_app("kinesis", {"PutRecrods": lambda _: {}})


def shape(service: str, name: str) -> Any:
    return ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service).shape_for(name)


def test_requests_are_decoded_by_the_service_model() -> None:
    decoded = wire.decode(
        shape("kinesis", "GetShardIteratorInput"),
        {"StreamName": "s", "ShardId": "x", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 0.5, "StreamARN": None},
    )
    assert decoded["Timestamp"] == datetime(1970, 1, 1, microsecond=500_000, tzinfo=UTC)
    assert "StreamARN" not in decoded
    assert wire.decode(shape("kinesis", "PutRecordInput"), {"Data": "AAE=", "PartitionKey": "k"})["Data"] == b"\x00\x01"


def test_a_time_beyond_the_calendar_and_bad_base64_are_named() -> None:
    with pytest.raises(wire.AwsError, match="Timestamp"):
        wire.decode(
            shape("kinesis", "GetShardIteratorInput"),
            {"ShardId": "x", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1e30},
        )
    with pytest.raises(wire.AwsError, match="Data"):
        wire.decode(shape("kinesis", "PutRecordInput"), {"Data": "?", "PartitionKey": "k"})


def test_answers_are_shaped_by_the_service_model() -> None:
    output = shape("glue", "GetJobRunResponse")
    run = {
        "Id": "jr",
        "StartedOn": datetime(1970, 1, 1, microsecond=1500, tzinfo=UTC),
        "ErrorMessage": None,
        "ExecutionTime": 3,
    }
    assert wire.encode(output, {"JobRun": run}) == {"JobRun": {"Id": "jr", "StartedOn": 0.002, "ExecutionTime": 3}}
    with pytest.raises(KeyError):
        wire.encode(output, {"JobRun": {"Identity": "jr"}})
    with pytest.raises(ValueError, match="time zone"):
        wire.encode(output, {"JobRun": {"StartedOn": datetime(1970, 1, 1)}})  # noqa: DTZ001 - the mistake in question
