"""Every action of Kinesis and Glue, once rightly and once wrongly; an action without its cases here fails.

Replies are held against botocore's own model of the service: no member it does not know, none missing that it requires.
"""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from localaws.glue.service import Glue
from localaws.kinesis import Kinesis
from localaws.kinesis_store import Store

from tests.aws_shapes import problems

from .glue_cloud import ENDLESS, await_state, put_script, s3_at

Seen = dict[str, Any]
Case = tuple[str, str, Callable[[Seen], dict[str, Any]]]

ARN = "arn:aws:glue:eu-west-1:123456789012:job"
SHARD = "shardId-00000000000"
MIDDLE = str(1 << 126)
RECORD = {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}

RIGHT: list[Case] = [
    ("kinesis", "CreateStream", lambda _: {"StreamName": "walk", "ShardCount": 2, "Tags": {"team": "fraud"}}),
    ("kinesis", "AddTagsToStream", lambda _: {"StreamName": "walk", "Tags": {"stage": "dev"}}),
    ("kinesis", "RemoveTagsFromStream", lambda _: {"StreamName": "walk", "TagKeys": ["team"]}),
    ("kinesis", "ListTagsForStream", lambda _: {"StreamName": "walk"}),
    ("kinesis", "PutRecord", lambda _: {"StreamName": "walk", **RECORD}),
    ("kinesis", "PutRecords", lambda _: {"StreamName": "walk", "Records": [RECORD, RECORD]}),
    (
        "kinesis",
        "GetShardIterator",
        lambda _: {"StreamName": "walk", "ShardId": f"{SHARD}0", "ShardIteratorType": "TRIM_HORIZON"},
    ),
    ("kinesis", "GetRecords", lambda seen: {"ShardIterator": seen["GetShardIterator"]["ShardIterator"]}),
    (
        "kinesis",
        "SplitShard",
        lambda _: {"StreamName": "walk", "ShardToSplit": f"{SHARD}0", "NewStartingHashKey": MIDDLE},
    ),
    ("kinesis", "GetRecords", lambda seen: {"ShardIterator": seen["GetRecords"]["NextShardIterator"]}),
    (
        "kinesis",
        "MergeShards",
        lambda _: {"StreamName": "walk", "ShardToMerge": f"{SHARD}2", "AdjacentShardToMerge": f"{SHARD}3"},
    ),
    (
        "kinesis",
        "UpdateShardCount",
        lambda _: {"StreamName": "walk", "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"},
    ),
    ("kinesis", "IncreaseStreamRetentionPeriod", lambda _: {"StreamName": "walk", "RetentionPeriodHours": 48}),
    ("kinesis", "DecreaseStreamRetentionPeriod", lambda _: {"StreamName": "walk", "RetentionPeriodHours": 24}),
    ("kinesis", "DescribeStream", lambda _: {"StreamName": "walk"}),
    ("kinesis", "DescribeStreamSummary", lambda _: {"StreamName": "walk"}),
    ("kinesis", "ListShards", lambda _: {"StreamName": "walk", "MaxResults": 1}),
    ("kinesis", "ListStreams", lambda _: {}),
    ("kinesis", "DeleteStream", lambda _: {"StreamName": "walk"}),
    (
        "glue",
        "CreateJob",
        lambda seen: {
            "Name": "walk",
            "Role": "role",
            "Command": seen["command"],
            "DefaultArguments": {"--a": "b"},
            "Tags": {"team": "fraud"},
            "MaxRetries": 1,
            "MaintenanceWindow": "Sun:10",
            "NotificationProperty": {"NotifyDelayAfter": 1},
            "JobRunQueuingEnabled": True,
        },
    ),
    ("glue", "StartJobRun", lambda _: {"JobName": "walk", "Arguments": {"--a": "c"}}),
    ("glue", "StartJobRun", lambda _: {"JobName": "walk"}),
    ("glue", "GetJobRun", lambda seen: {"JobName": "walk", "RunId": seen["StartJobRun"]["JobRunId"]}),
    ("glue", "GetJobRuns", lambda _: {"JobName": "walk"}),
    (
        "glue",
        "BatchStopJobRun",
        lambda seen: {"JobName": "walk", "JobRunIds": [seen["StartJobRun"]["JobRunId"], "jr_none"]},
    ),
    ("glue", "TagResource", lambda _: {"ResourceArn": f"{ARN}/walk", "TagsToAdd": {"stage": "dev"}}),
    ("glue", "UntagResource", lambda _: {"ResourceArn": f"{ARN}/walk", "TagsToRemove": ["team"]}),
    ("glue", "GetTags", lambda _: {"ResourceArn": f"{ARN}/walk"}),
    ("glue", "GetJob", lambda _: {"JobName": "walk"}),
    ("glue", "GetJobs", lambda _: {"MaxResults": 1}),
    ("glue", "UpdateJob", lambda seen: {"JobName": "walk", "JobUpdate": {"Role": "r", "Command": seen["command"]}}),
    ("glue", "DeleteJob", lambda _: {"JobName": "walk"}),
]

NOWHERE: dict[str, Any] = {"StreamName": "nowhere"}
WRONG: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("kinesis", "CreateStream"): ({"StreamName": "no name", "ShardCount": 1}, "ValidationException"),
    ("kinesis", "AddTagsToStream"): ({**NOWHERE, "Tags": {"": "b"}}, "ValidationException"),
    ("kinesis", "RemoveTagsFromStream"): ({**NOWHERE, "TagKeys": ["a"]}, "ResourceNotFoundException"),
    ("kinesis", "ListTagsForStream"): (NOWHERE, "ResourceNotFoundException"),
    ("kinesis", "PutRecord"): ({**NOWHERE, "Data": b"x", "PartitionKey": "k"}, "ResourceNotFoundException"),
    ("kinesis", "PutRecords"): ({"StreamName": ["nowhere"], "Records": [RECORD]}, "ValidationException"),
    ("kinesis", "GetShardIterator"): (
        {**NOWHERE, "ShardId": f"{SHARD}0", "ShardIteratorType": "OLDEST"},
        "ValidationException",
    ),
    ("kinesis", "GetRecords"): ({"ShardIterator": "WzEsMiwzLDQsNV0="}, "InvalidArgumentException"),
    ("kinesis", "SplitShard"): (
        {**NOWHERE, "ShardToSplit": f"{SHARD}0", "NewStartingHashKey": "-1"},
        "ValidationException",
    ),
    ("kinesis", "MergeShards"): ({**NOWHERE, "ShardToMerge": f"{SHARD}0"}, "ValidationException"),
    ("kinesis", "UpdateShardCount"): (
        {**NOWHERE, "TargetShardCount": 1, "ScalingType": "UNIFORM_SCALING"},
        "ResourceNotFoundException",
    ),
    ("kinesis", "IncreaseStreamRetentionPeriod"): (
        {**NOWHERE, "RetentionPeriodHours": "day"},
        "ValidationException",
    ),
    ("kinesis", "DecreaseStreamRetentionPeriod"): (
        {**NOWHERE, "RetentionPeriodHours": 24},
        "ResourceNotFoundException",
    ),
    ("kinesis", "DescribeStream"): ({}, "InvalidArgumentException"),
    ("kinesis", "DescribeStreamSummary"): (NOWHERE, "ResourceNotFoundException"),
    ("kinesis", "ListShards"): ({"NextToken": "?"}, "InvalidArgumentException"),
    ("kinesis", "ListStreams"): ({"Limit": 0}, "ValidationException"),
    ("kinesis", "DeleteStream"): (NOWHERE, "ResourceNotFoundException"),
    ("glue", "CreateJob"): ({"Name": "bare", "Role": "r", "Command": {}}, "InvalidInputException"),
    ("glue", "StartJobRun"): ({"JobName": "nowhere"}, "EntityNotFoundException"),
    ("glue", "GetJobRun"): ({"JobName": "nowhere", "RunId": "jr_none"}, "EntityNotFoundException"),
    ("glue", "GetJobRuns"): ({"JobName": "nowhere"}, "EntityNotFoundException"),
    ("glue", "BatchStopJobRun"): ({"JobName": "nowhere", "JobRunIds": []}, "ValidationException"),
    ("glue", "TagResource"): ({"ResourceArn": f"{ARN}/nowhere", "TagsToAdd": {}}, "EntityNotFoundException"),
    ("glue", "UntagResource"): ({"ResourceArn": f"{ARN}/nowhere", "TagsToRemove": []}, "EntityNotFoundException"),
    ("glue", "GetTags"): ({"ResourceArn": "walk"}, "ValidationException"),
    ("glue", "GetJob"): ({"JobName": "nowhere"}, "EntityNotFoundException"),
    ("glue", "GetJobs"): ({"NextToken": "?"}, "InvalidInputException"),
    ("glue", "UpdateJob"): ({"JobName": "nowhere", "JobUpdate": {}}, "EntityNotFoundException"),
    ("glue", "DeleteJob"): ({"JobName": 5}, "ValidationException"),
}


@pytest.fixture(scope="module")
def moto_url(serve_module: Callable[..., str]) -> str:
    return serve_module("moto.server", "-H", "127.0.0.1", port_option="-p", health="/moto-api/")


@pytest.fixture(scope="module")
def clients(
    serve_module: Callable[..., str], moto_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return clients that send what they are given, and only once."""
    state = str(tmp_path_factory.mktemp("state"))
    config = Config(retries={"max_attempts": 0}, parameter_validation=False)
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    return {
        service: session.client(
            service,
            endpoint_url=serve_module(f"localaws.{service}", "--state", state, AWS_ENDPOINT_URL=moto_url),
            config=config,
        )
        for service in ("kinesis", "glue")
    }


def call(clients: dict[str, Any], service: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = getattr(clients[service], xform_name(action))(**params)
    return reply


def test_every_action_has_its_cases(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "kinesis")) as store:
        kinesis = Kinesis(region="eu-west-1", store=store)
    glue = Glue(tmp_path / "glue", region="eu-west-1")
    implemented = {("kinesis", action) for action in {**kinesis.actions(), **kinesis.fast_actions()}}
    implemented |= {("glue", action) for action in glue.actions()}
    assert {(service, action) for service, action, _ in RIGHT} == implemented
    assert set(WRONG) == implemented


def test_every_reply_is_of_its_shape(clients: dict[str, Any], moto_url: str) -> None:
    bodies: list[Any] = []

    def keep(http_response: Any, model: Any, **_: Any) -> None:
        bodies.append((model, json.loads(http_response.content)))

    for service, client in clients.items():
        client.meta.events.register(f"after-call.{service}", keep)
    seen: Seen = {"command": put_script(s3_at(moto_url), "walk", ENDLESS)}
    for service, action, params in RIGHT:
        seen[action] = call(clients, service, action, params(seen))
    assert [model.name for model, _ in bodies] == [action for _, action, _ in RIGHT]
    for model, body in bodies:
        if model.output_shape is None:
            assert body == {}
        else:
            assert list(problems(model.output_shape, body, model.name)) == []
    for service, client in clients.items():
        client.meta.events.unregister(f"after-call.{service}", keep)
    first_run = seen["GetJobRuns"]["JobRuns"][-1]["Id"]
    clients["glue"].batch_stop_job_run(JobName="walk", JobRunIds=[first_run])
    await_state(clients["glue"], "walk", first_run, {"STOPPED"})


@pytest.mark.parametrize(("service", "action"), WRONG)
def test_every_wrong_call_is_an_error_of_the_caller(clients: dict[str, Any], service: str, action: str) -> None:
    params, code = WRONG[service, action]
    with pytest.raises(ClientError) as caught:
        call(clients, service, action, params)
    response = caught.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (400, code)
    assert response["Error"]["Message"]
