"""The trail: which permissions each caller needed, by what the services were asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from localaws.trail import Trail

from tests.conftest import unique

START = "arn:aws:{service}:eu-west-1:123456789012:"


def permissions(folder: Path, caller: str) -> set[tuple[str, str]]:
    """Return the actions and resources that a caller needed."""
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len({tuple(line.items()) for line in lines}) == len(lines)
    return {(line["action"], line["resource"]) for line in lines if line["caller"] == caller}


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trail")


@pytest.fixture(scope="module")
def boto(
    serve_module: Callable[..., str], trail: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Any]:
    """Make a client of a service for a caller."""
    state = str(tmp_path_factory.mktemp("state"))
    urls = {
        "kinesis": serve_module("localaws.kinesis", "--state", state, LOCALAWS_TRAIL=str(trail)),
        "sagemaker-runtime": serve_module("localaws.sagemaker", "--state", state, LOCALAWS_TRAIL=str(trail)),
    }
    small = serve_module("localaws.small_services", "--state", state, health="/moto-api/", LOCALAWS_TRAIL=str(trail))

    def make(service: str, caller: str) -> Any:
        url = urls.get(service, small)
        return boto3.client(service, endpoint_url=url, aws_access_key_id=caller, aws_secret_access_key="x")  # type: ignore[call-overload]

    return make


def test_an_object_is_one_thing_and_its_bucket_another(boto: Callable[[str, str], Any], trail: Path) -> None:
    caller, bucket = unique("caller"), unique("bucket")
    boto("s3", "somebody").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3 = boto("s3", caller)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a/large")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="a/large", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="a/large", UploadId=upload)
    s3.put_object(Bucket=bucket, Key="b?c", Body=b"x")
    s3.head_object(Bucket=bucket, Key="b?c")
    s3.list_objects_v2(Bucket=bucket, Prefix="b")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b?c"}, {"Key": "d"}]})
    arn = f"arn:aws:s3:::{bucket}"
    assert permissions(trail, caller) == {
        ("s3:PutObject", f"{arn}/a/large"),
        ("s3:AbortMultipartUpload", f"{arn}/a/large"),
        ("s3:PutObject", f"{arn}/b?c"),
        ("s3:GetObject", f"{arn}/b?c"),
        ("s3:ListBucket", arn),
        ("s3:DeleteObject", f"{arn}/b?c"),
        ("s3:DeleteObject", f"{arn}/d"),
    }
    assert ("s3:CreateBucket", arn) in permissions(trail, "somebody")


def test_resources_are_named_as_policies_name_them(boto: Callable[[str, str], Any], trail: Path) -> None:
    caller, name = unique("caller"), unique("thing")
    topic = boto("sns", caller).create_topic(Name=name)["TopicArn"]
    boto("sns", caller).publish(TopicArn=topic, Message="m")
    secrets = boto("secretsmanager", caller)
    secrets.create_secret(Name=f"a/{name}", SecretString="s")
    secrets.get_secret_value(SecretId=f"a/{name}")
    kinesis = boto("kinesis", caller)
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.put_records(StreamName=name, Records=[{"Data": b"x", "PartitionKey": "k"}])
    shard = kinesis.get_shard_iterator(StreamName=name, ShardId="shardId-000000000000", ShardIteratorType="LATEST")
    kinesis.get_records(ShardIterator=shard["ShardIterator"])
    with pytest.raises(ClientError, match="ValidationError"):
        boto("sagemaker-runtime", caller).invoke_endpoint(EndpointName=name, Body=b"1", ContentType="text/csv")
    secret = f"{START.format(service='secretsmanager')}secret:a/{name}-??????"
    stream = f"{START.format(service='kinesis')}stream/{name}"
    assert permissions(trail, caller) == {
        ("sns:CreateTopic", topic),
        ("sns:Publish", topic),
        ("secretsmanager:CreateSecret", secret),
        ("secretsmanager:GetSecretValue", secret),
        ("kinesis:CreateStream", stream),
        ("kinesis:PutRecords", stream),
        ("kinesis:GetShardIterator", stream),
        ("kinesis:GetRecords", "*"),
        ("sagemaker:InvokeEndpoint", f"{START.format(service='sagemaker')}endpoint/{name}"),
    }


def test_actions_have_the_names_that_iam_knows(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "several.jsonl", account_id="123456789012")
    signed = "AWS4-HMAC-SHA256 Credential=me/20261125/eu-west-1/service/aws4_request"
    trail.call(signed, "sns", "PublishBatch", {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:t"})
    group = {"ModelPackageGroupName": "g"}
    trail.call(signed, "sagemaker", "CreateModelPackage", group)
    trail.call(signed, "sagemaker", "CreateModelPackageGroup", {**group, "Tags": [{"Key": "k", "Value": "v"}]})
    sagemaker = START.format(service="sagemaker")
    assert permissions(tmp_path, "me") == {
        ("sns:Publish", "arn:aws:sns:eu-west-1:123456789012:t"),
        ("sagemaker:CreateModelPackage", f"{sagemaker}model-package/g/*"),
        ("sagemaker:CreateModelPackageGroup", f"{sagemaker}model-package-group/g"),
        ("sagemaker:AddTags", f"{sagemaker}model-package-group/g"),
    }


def test_who_makes_a_thing_that_works_in_a_role_passes_the_role_on(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "sagemaker.jsonl", account_id="123456789012")
    params = {"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r", "Containers": [{}]}
    trail.call(
        "AWS4-HMAC-SHA256 Credential=me/20261125/eu-west-1/sagemaker/aws4_request", "sagemaker", "CreateModel", params
    )
    trail.call("", "sagemaker", "DeleteModel", {"ModelName": "m"})
    assert permissions(tmp_path, "me") == {
        ("sagemaker:CreateModel", "arn:aws:sagemaker:eu-west-1:123456789012:model/m"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/r"),
    }


def test_a_restart_adds_to_the_trail(tmp_path: Path) -> None:
    path = tmp_path / "s3.jsonl"
    signed = "AWS4-HMAC-SHA256 Credential=me/20261125/eu-west-1/s3/aws4_request"
    for method in ("GET", "GET", "DELETE"):
        trail = Trail(path, account_id="123456789012")
        trail.s3(signed, method=method, bucket="b", keys=["k"], query=frozenset())
    assert permissions(tmp_path, "me") == {
        ("s3:GetObject", "arn:aws:s3:::b/k"),
        ("s3:DeleteObject", "arn:aws:s3:::b/k"),
    }
