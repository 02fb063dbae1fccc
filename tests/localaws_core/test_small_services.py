"""What S3 and the small services keep: over an end, kill -9, torn files and a full disk."""

import hashlib
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from localaws import processes
from localaws.services import HttpHealth
from localaws.small_services import compaction
from localaws.small_services.journal import Entry, Journal

from tests.conftest import free_port

from .conftest import AWS_ENV

if TYPE_CHECKING:
    import subprocess

BUCKET = "bucket-1"
POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
MB = 1 << 20
CLIENTS = 32


@cache
def session() -> boto3.session.Session:
    return boto3.session.Session("test", "test", region_name="eu-west-1")


@cache
def client_at(url: str, name: str) -> Any:
    config = Config(retries={"max_attempts": 0}, max_pool_connections=CLIENTS)
    return session().client(name, endpoint_url=url, config=config)  # type: ignore[call-overload]


class Served:
    """The small services on a state folder, and clients of them."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, state: Path) -> None:
        self.process, self.port, self.state = process, port, state

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.state / "service.log").read_text()

    def client(self, name: str) -> Any:
        return client_at(self.url, name)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def served(state: Path, *, port: int | None = None) -> Iterator[Served]:
    port = port or free_port()
    command = [sys.executable, "-m", "localaws.small_services", "--port", str(port), "--state", str(state)]
    process = processes.spawn(command, env={**os.environ, **AWS_ENV}, log_path=state / "service.log")
    here = Served(process, port, state)
    try:
        deadline = time.monotonic() + 60
        while not HttpHealth("/moto-api/").check(port):
            assert process.poll() is None, here.log
            assert time.monotonic() < deadline, here.log
            time.sleep(0.05)
        yield here
    finally:
        processes.end(process, grace_s=5)


def make_bucket(here: Served, name: str = BUCKET) -> Any:
    s3 = here.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return s3


def body_of(s3: Any, key: str, bucket: str = BUCKET) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def keys_of(s3: Any, bucket: str = BUCKET) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def files_of(state: Path, bucket: str = BUCKET) -> list[str]:
    return sorted(path.name for path in (state / "aws" / "s3" / bucket).glob("*"))


def file_of(state: Path, key: str, bucket: str = BUCKET) -> Path:
    return state / "aws" / "s3" / bucket / hashlib.sha256(key.encode()).hexdigest()


def without_times(answer: Any) -> Any:
    """Leave out of an answer what is about the request, and the times."""
    if isinstance(answer, dict):
        return {
            key: without_times(value)
            for key, value in answer.items()
            if key != "ResponseMetadata" and not isinstance(value, datetime) and not key.endswith(("Time", "Timestamp"))
        }
    return [without_times(value) for value in answer] if isinstance(answer, list) else answer


def upload_in_parts(s3: Any, key: str, parts: list[bytes], **how: Any) -> str:
    where = {"Bucket": BUCKET, "Key": key}
    where["UploadId"] = s3.create_multipart_upload(**where, **how)["UploadId"]
    done = [
        {"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    return str(s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})["ETag"])


def fill_s3(here: Served) -> None:
    s3 = make_bucket(here)
    make_bucket(here, "gone")
    s3.delete_bucket(Bucket="gone")
    make_bucket(here, "versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    for value in (b"1", b"2"):
        s3.put_object(Bucket="versioned", Key="v", Body=value)
        s3.put_object(Bucket="versioned", Key="deleted", Body=value)
    s3.delete_object(Bucket="versioned", Key="deleted")
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={
            "Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}]
        },
    )
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "team", "Value": "fraud"}]})
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    s3.put_object(
        Bucket=BUCKET,
        Key="a folder/ümlaut + 100%.csv",
        Body=b"a,b\n1,2\n",
        ContentType="text/csv",
        Metadata={"made_by": "me", "other": "you"},
        Tagging="stage=dev&owner=me",
        ACL="public-read",
        StorageClass="STANDARD_IA",
        ChecksumAlgorithm="SHA256",
    )
    s3.put_object(Bucket=BUCKET, Key="empty")
    host = {"Host": f"{BUCKET}.s3.eu-west-1.amazonaws.com"}
    httpx.put(f"{here.url}/bucket%20in/the%20host", content=b"x", headers=host).raise_for_status()
    s3.put_object(Bucket=BUCKET, Key="tagged later", Body=b"t")
    s3.put_object_tagging(Bucket=BUCKET, Key="tagged later", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
    upload_in_parts(s3, "in parts", [b"1" * 5 * MB, b"2" * 6 * MB, b"3"], Metadata={"parts": "three"})
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "a folder/ümlaut + 100%.csv"})
    for key in ("deleted", "deleted with others", "deleted as well"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="deleted")
    others = [{"Key": "deleted with others"}, {"Key": "deleted as well"}]
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": others, "Quiet": True})


def look_at_s3(here: Served) -> dict[str, Any]:
    s3 = here.client("s3")
    found: dict[str, Any] = {
        "buckets": [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
        "versioning": [s3.get_bucket_versioning(Bucket=name).get("Status") for name in (BUCKET, "versioned")],
        "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"],
        "tags": s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"],
        "block": s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"],
    }
    for bucket in (BUCKET, "versioned"):
        for key in keys_of(s3, bucket):
            where = {"Bucket": bucket, "Key": key}
            answer = s3.get_object(**where, ChecksumMode="ENABLED")
            answer["Body"] = answer["Body"].read()
            del answer["ResponseMetadata"]
            answer["Tags"] = s3.get_object_tagging(**where)["TagSet"]
            if key != "in parts":  # moto has none for those, and fails
                answer["Acl"] = s3.get_object_acl(**where)["Grants"]
            found[f"{bucket}/{key}"] = answer
    return found


def fill_others(here: Served) -> None:
    secrets, ssm, iam = here.client("secretsmanager"), here.client("ssm"), here.client("iam")
    for name in ("kept", "deleted"):
        secrets.create_secret(Name=name, SecretString="one", Tags=[{"Key": "t", "Value": "1"}])
    secrets.put_secret_value(SecretId="kept", SecretString="two")
    secrets.delete_secret(SecretId="deleted", ForceDeleteWithoutRecovery=True)
    for name in ("/kept", "/deleted"):
        ssm.put_parameter(Name=name, Value="one", Type="SecureString", Description="d")
    ssm.put_parameter(Name="/kept", Value="two", Overwrite=True)
    ssm.delete_parameters(Names=["/deleted"])
    iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=json.dumps(POLICY))
    iam.create_user(UserName="u")
    for _ in range(2):
        iam.create_access_key(UserName="u")
    logs = here.client("logs")
    logs.create_log_group(logGroupName="/kept")
    logs.put_retention_policy(logGroupName="/kept", retentionInDays=7)
    sns, sqs = here.client("sns"), here.client("sqs")
    queue = sqs.create_queue(QueueName="alerts", Attributes={"VisibilityTimeout": "7"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Alerts")
    subscribed = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscribed, AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    sns.unsubscribe(
        SubscriptionArn=sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="me@example.com")["SubscriptionArn"]
    )
    sns.delete_topic(TopicArn=sns.create_topic(Name="deleted")["TopicArn"])


def look_at_others(here: Served) -> dict[str, Any]:
    secrets, ssm, iam = here.client("secretsmanager"), here.client("ssm"), here.client("iam")
    sns, sqs = here.client("sns"), here.client("sqs")
    topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
    subscriptions = sns.list_subscriptions()["Subscriptions"]
    queues = sqs.list_queues()["QueueUrls"]
    found = {
        "secrets": secrets.list_secrets()["SecretList"],
        "secret": secrets.get_secret_value(SecretId="kept"),
        "secret before": secrets.get_secret_value(SecretId="kept", VersionStage="AWSPREVIOUS"),
        "parameters": ssm.describe_parameters()["Parameters"],
        "parameter": ssm.get_parameter_history(Name="/kept", WithDecryption=True)["Parameters"],
        "role": iam.get_role(RoleName="r"),
        "policy": iam.get_role_policy(RoleName="r", PolicyName="p"),
        "user": iam.get_user(UserName="u"),
        "access keys": iam.list_access_keys(UserName="u")["AccessKeyMetadata"],
        "log groups": here.client("logs").describe_log_groups()["logGroups"],
        "topics": {arn: sns.get_topic_attributes(TopicArn=arn)["Attributes"] for arn in topics},
        "subscriptions": {
            entry["SubscriptionArn"]: sns.get_subscription_attributes(SubscriptionArn=entry["SubscriptionArn"])
            for entry in subscriptions
        },
        "queues": {url: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]) for url in queues},
    }
    return dict(without_times(found))


def test_everything_that_was_acknowledged_comes_back(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        fill_s3(here)
        fill_others(here)
        s3, others = look_at_s3(here), look_at_others(here)
        assert here.end(signal.SIGTERM) == 0
    assert s3["versioning"] == [None, "Enabled"]
    assert s3[f"{BUCKET}/in parts"]["ETag"].endswith('-3"')
    assert len(others["access keys"]) == 2
    with served(tmp_path, port=here.port) as here:
        assert look_at_s3(here) == s3
        assert look_at_others(here) == others
        here.end(signal.SIGKILL)
    with served(tmp_path, port=here.port) as here:
        assert look_at_s3(here) == s3
        topic, queue = next(iter(others["topics"])), next(iter(others["queues"]))
        here.client("sns").publish(TopicArn=topic, Message="after the restart")
        received = here.client("sqs").receive_message(QueueUrl=queue)["Messages"]
        assert [message["Body"] for message in received] == ["after the restart"]
        assert "WARNING" not in here.log
        assert "ERROR" not in here.log


def test_what_comes_back_is_not_told_as_new(tmp_path: Path) -> None:
    def events(here: Served, queue: str) -> list[str]:
        sqs, found = here.client("sqs"), list[str]()
        while received := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                found += [record["eventName"] for record in json.loads(message["Body"]).get("Records", [])]
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    with served(tmp_path) as here:
        s3, sqs = make_bucket(here), here.client("sqs")
        queue = sqs.create_queue(QueueName="events")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        configured = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
        s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=configured)
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"x")
        assert events(here, queue) == ["ObjectCreated:Put"]
        here.end()
    with served(tmp_path, port=here.port) as here:
        assert events(here, queue) == []
        here.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"y")
        assert events(here, queue) == ["ObjectCreated:Put"]


class Writer(threading.Thread):
    """Writes, overwrites and deletes objects of its own until it is refused; knows what was acknowledged."""

    def __init__(self, here: Served, number: int) -> None:
        super().__init__()
        self._s3, self._number = here.client("s3"), number
        self.acknowledged: dict[str, bytes | None] = {}
        self.doubtful: dict[str, bytes | None] = {}
        self.count = 0

    def run(self) -> None:
        while True:
            key = f"{self._number}/{self.count * 7 % 20}"
            value = None if self.count % 5 == 4 else f"{self._number} {self.count} ".encode() * (1 + self.count % 2000)
            self.doubtful = {key: value}
            try:
                if value is None:
                    self._s3.delete_object(Bucket=BUCKET, Key=key)
                else:
                    self._s3.put_object(Bucket=BUCKET, Key=key, Body=value, Metadata={"count": str(self.count)})
            except BotoCoreError:
                return
            self.acknowledged[key] = value
            self.count += 1


def make_secrets(here: Served, arns: dict[str, str]) -> None:
    """Make one secret after the other, noting what was acknowledged, until it is refused."""
    secrets = here.client("secretsmanager")
    while True:
        name = f"secret-{len(arns)}"
        try:
            arns[name] = secrets.create_secret(Name=name, SecretString=f"of {name}")["ARN"]
        except BotoCoreError:
            return


def test_under_load_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    arns: dict[str, str] = {}
    with served(tmp_path) as here:
        make_bucket(here)
        writers: list[Any] = [Writer(here, number) for number in range(6)]
        threads = [*writers, threading.Thread(target=make_secrets, args=(here, arns))]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while min(len(arns), *(writer.count for writer in writers)) < 25:
            assert time.monotonic() < deadline, here.log
            time.sleep(0.01)
        here.end()
        for thread in threads:
            thread.join()
    with served(tmp_path) as here:
        s3, secrets = here.client("s3"), here.client("secretsmanager")
        for name, arn in arns.items():
            found = secrets.get_secret_value(SecretId=name)
            assert (found["ARN"], found["SecretString"]) == (arn, f"of {name}")
        there = {key: body_of(s3, key) for key in keys_of(s3)}
        for writer in writers:
            for key, value in writer.acknowledged.items():
                assert there.pop(key, None) in {value, writer.doubtful.get(key, value)}
            for key in writer.doubtful:
                there.pop(key, None)
        assert there == {}
        assert "ERROR" not in here.log


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the same in many threads that begin together, and return what each came to."""
    ready = threading.Barrier(count)

    def begin(number: int) -> Any:
        ready.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("shared")) as here:
        make_bucket(here)
        yield here


def test_of_many_conditional_writes_one_wins_and_is_kept(shared: Served) -> None:
    s3 = shared.client("s3")

    def race(**condition: str) -> None:
        def write(number: int) -> str:
            try:
                s3.put_object(Bucket=BUCKET, Key="raced", Body=f"{condition} {number}".encode(), **condition)
            except ClientError as error:
                return str(error.response["Error"]["Code"])
            return "won"

        came_to = at_once(16, write)
        assert sorted(came_to) == ["PreconditionFailed"] * 15 + ["won"]
        body = body_of(s3, "raced")
        assert body == f"{condition} {came_to.index('won')}".encode()
        assert body in file_of(shared.state, "raced").read_bytes()

    race(IfNoneMatch="*")
    race(IfMatch=s3.head_object(Bucket=BUCKET, Key="raced")["ETag"])


def test_many_clients_at_once_are_served_and_see_whole_objects(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        s3 = make_bucket(here)
        s3.put_object(Bucket=BUCKET, Key="shared", Body=b"0" * 100_000)
        sns = here.client("sns")

        def use(number: int) -> None:
            s3.put_object(Bucket=BUCKET, Key=f"own/{number}", Body=b"%d" % number)
            assert body_of(s3, f"own/{number}") == b"%d" % number
            if number < 10:
                sns.create_topic(Name=f"t{number}")
            if number % 4 == 0:
                s3.put_object(Bucket=BUCKET, Key="shared", Body=b"%d" % (number % 10) * 100_000)
            answer = s3.get_object(Bucket=BUCKET, Key="shared")
            assert answer["ETag"] == f'"{hashlib.md5(answer["Body"].read()).hexdigest()}"'  # noqa: S324 - S3's

        at_once(CLIENTS, use)
        last = body_of(s3, "shared")
        here.end()
    with served(tmp_path) as here:
        s3 = here.client("s3")
        assert body_of(s3, "shared") == last
        assert {key: body_of(s3, key) for key in keys_of(s3) if key != "shared"} == {
            f"own/{number}": b"%d" % number for number in range(CLIENTS)
        }
        assert len(here.client("sns").list_topics()["Topics"]) == 10


def test_what_is_whole_comes_back_and_the_rest_is_set_aside_and_named(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        s3, sns = make_bucket(here), here.client("sns")
        make_bucket(here, "lost")
        for key in ("whole", "cut", "changed", "emptied"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 100)
        s3.put_object(Bucket="lost", Key="k", Body=b"x")
        for name in ("one", "two", "three"):
            sns.create_topic(Name=name)
        here.end()
    cut, changed = file_of(tmp_path, "cut"), file_of(tmp_path, "changed")
    cut.write_bytes(cut.read_bytes()[:-50])
    changed.write_bytes(changed.read_bytes().replace(b"changed", b"CHANGED"))
    file_of(tmp_path, "emptied").write_bytes(b"")
    file_of(tmp_path, "half").with_suffix(".new").write_bytes(b"half of it")
    journal = tmp_path / "aws" / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    lines[1] = lines[1].replace(b"/lost", b"/list")  # its bucket is not made any more
    lines[3] = b"\n"
    journal.write_bytes(b"".join(lines) + lines[4][:-20])
    with served(tmp_path) as here:
        s3, sns = here.client("s3"), here.client("sns")
        assert keys_of(s3) == ["whole"]
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
        assert sorted(topic["TopicArn"].rpartition(":")[2] for topic in sns.list_topics()["Topics"]) == ["one", "three"]
        for key, why in {"cut": "its checksum", "changed": "its checksum", "emptied": "it ends after 0 bytes"}.items():
            path = file_of(tmp_path, key)
            assert f"{path}: set aside: {why}" in here.log
            assert path.with_suffix(".broken").exists()
            assert not path.exists()
        assert f"{file_of(tmp_path, 'k', 'lost')}: set aside: there is no bucket 'lost'" in here.log
        assert f"{file_of(tmp_path, 'half').with_suffix('.new')}: removed" in here.log
        assert f"{journal}: cut {len(lines[4]) - 20} bytes behind the last whole line" in here.log
        assert f"{journal}: not whole, and left out: line 2, 4;" in here.log
        make_bucket(here, "lost")
        sns.create_topic(Name="four")
        here.end()
    with served(tmp_path) as here:
        assert keys_of(here.client("s3"), "lost") == []
        assert len(here.client("sns").list_topics()["Topics"]) == 3
        assert here.log.count("not whole") == 1


def test_on_a_full_disk_a_write_fails_as_a_whole_and_what_was_before_stays(tmp_path: Path) -> None:
    def limit(size_bytes: int) -> None:
        resource.prlimit(here.process.pid, resource.RLIMIT_FSIZE, (size_bytes, -1))

    def is_refused(call: Callable[..., Any], code: str, **params: Any) -> None:
        with pytest.raises(ClientError, match="cannot be kept on disk: File too large") as caught:
            call(**params)
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500

    with served(tmp_path) as here:
        s3, sns, ssm = make_bucket(here), here.client("sns"), here.client("ssm")
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"before", Tagging="t=1")
        etag = s3.head_object(Bucket=BUCKET, Key="k")["ETag"]
        limit(100_000)
        is_refused(s3.put_object, "InternalError", Bucket=BUCKET, Key="k", Body=bytes(200_000), IfMatch=etag)
        is_refused(s3.put_object, "InternalError", Bucket=BUCKET, Key="new", Body=bytes(200_000), IfNoneMatch="*")
        limit(100)
        new_tags = {"TagSet": [{"Key": "t", "Value": "2"}, {"Key": "u", "Value": "3"}]}
        is_refused(s3.put_object_tagging, "InternalError", Bucket=BUCKET, Key="k", Tagging=new_tags)
        assert keys_of(s3) == ["k"]
        assert body_of(s3, "k") == b"before"
        assert s3.get_object_tagging(Bucket=BUCKET, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]
        limit(100_000)
        s3.put_object(Bucket=BUCKET, Key="small", Body=b"fits", IfNoneMatch="*")
        limit((tmp_path / "aws" / "journal").stat().st_size + 100)
        is_refused(sns.create_topic, "InternalFailure", Name="t")
        is_refused(ssm.put_parameter, "InternalFailure", Name="/p", Value="1", Type="String")
        is_refused(s3.delete_bucket, "InternalError", Bucket="empty")
        assert sns.list_topics()["Topics"] == []
        limit(-1)
        sns.create_topic(Name="later")
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"after", IfMatch=etag)
        here.end()
    assert len(files_of(tmp_path)) == 2
    with served(tmp_path) as here:
        s3 = here.client("s3")
        assert {key: body_of(s3, key) for key in keys_of(s3)} == {"k": b"after", "small": b"fits"}
        assert len(here.client("sns").list_topics()["Topics"]) == 1
        assert here.client("ssm").describe_parameters()["Parameters"] == []
        assert "cut" not in here.log


def test_a_value_that_is_put_often_keeps_its_number_and_its_last_hundred(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        ssm, secrets = here.client("ssm"), here.client("secretsmanager")
        ssm.put_parameter(Name="/p", Value="0", Type="String", Description="of the first")
        arn = secrets.create_secret(Name="s", SecretString="first")["ARN"]
        for number in range(1, 105):
            ssm.put_parameter(Name="/p", Value=str(number), Overwrite=True)
        version = [secrets.put_secret_value(SecretId="s", SecretString=str(number)) for number in range(105)][-1]
        here.end()
    entries = len((tmp_path / "aws" / "journal").read_bytes().splitlines())
    with served(tmp_path) as here:
        ssm, secrets = here.client("ssm"), here.client("secretsmanager")
        history = [
            (entry["Version"], entry["Value"])
            for page in ssm.get_paginator("get_parameter_history").paginate(Name="/p")
            for entry in page["Parameters"]
        ]
        assert history == [(number + 1, str(number)) for number in range(5, 105)]
        assert ssm.describe_parameters()["Parameters"][0]["Description"] == "of the first"
        found = secrets.get_secret_value(SecretId="s")
        assert (found["ARN"], found["VersionId"], found["SecretString"]) == (arn, version["VersionId"], "104")
        assert secrets.get_secret_value(SecretId="s", VersionStage="AWSPREVIOUS")["SecretString"] == "103"
        here.end()
    assert len((tmp_path / "aws" / "journal").read_bytes().splitlines()) == entries - 3 - 4


def entry(action: str, body: Any = "", *, service: str = "ssm", path: str = "/") -> Entry:
    environ = {"RAW_URI": path, "HTTP_AUTHORIZATION": "AWS4 Credential=test/20261124/eu-west-1/x/aws4_request, x"}
    if isinstance(body, str):  # the query protocol, else JSON
        return Entry(service, action, environ, body.encode(), seed=1)
    environ["HTTP_X_AMZ_TARGET"] = f"X.{action}"
    return Entry(service, action, environ, body if isinstance(body, bytes) else json.dumps(body).encode(), seed=1)


def test_a_journal_does_not_grow_with_what_is_set_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", compaction.compact)
    for number in range(3_000):
        journal.append(entry("PutParameter", {"Name": "/p", "Value": f"{number:0800}", "Overwrite": True}))
    assert (tmp_path / "journal").stat().st_size < 2 * MB
    entries = Journal(tmp_path / "journal", compaction.compact).load()
    assert len(entries) == 1 + compaction.VALUES_KEPT
    assert sum(entry.skipped for entry in entries) == 3_000 - len(entries)
    assert json.loads(entries[-1].body)["Value"] == f"{2_999:0800}"


UP = [
    entry("PUT", service="s3", path="/bucket-1"),
    entry("PUT", "<Enabled/>", service="s3", path="/bucket-1?versioning"),
    entry("CreateTopic", "Action=CreateTopic&Name=a", service="sns"),
    entry("CreateTopic", "Action=CreateTopic&Name=b", service="sns"),
    entry("Subscribe", "Action=Subscribe&TopicArn=a&Endpoint=e", service="sns"),
    entry("CreateQueue", {"QueueName": "q"}, service="sqs"),
    entry("TagResource", {"SecretId": "s", "Tags": [{"Key": "k"}]}, service="secretsmanager"),
]


def test_what_each_start_asks_for_again_is_kept_twice_at_most_and_in_order() -> None:
    kept = compaction.compact(UP * 50)
    assert [replace(entry, skipped=0) for entry in kept] == [*UP, *UP]
    assert len(compaction.compact(kept + UP)) == len(kept)


SET = entry("SetTopicAttributes", "TopicArn=a&AttributeValue=1", service="sns")


@pytest.mark.parametrize(
    "entries",
    [
        [UP[2], entry("DeleteTopic", "TopicArn=a", service="sns"), UP[2], UP[2]],
        [SET, entry("SetTopicAttributes", "TopicArn=a&AttributeValue=2", service="sns"), SET],
        [entry("CreateAccessKey", "UserName=u", service="iam")] * 3,
        [entry("PutParameter", {"Name": name, "Value": "1"}) for name in "abc"],
        [entry("UpdateSecretVersionStage", {"SecretId": "s"}, service="secretsmanager")] * 3,
        [entry("DELETE", service="s3", path="/bucket-1?policy")] * 3,
        [entry("PutParameter", body) for body in (["/p"], ["/q"], b"\x1f not JSON", b"\x1f neither")],
    ],
)
def test_an_entry_that_may_matter_is_never_left_out(entries: list[Entry]) -> None:
    assert compaction.compact(entries) == entries


def test_an_upload_that_stands_still_hinders_nobody_and_is_nothing_when_it_breaks_off(shared: Served) -> None:
    s3 = shared.client("s3")
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"before")
    with socket.create_connection(("127.0.0.1", shared.port)) as stuck:
        stuck.sendall(f"PUT /{BUCKET}/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf".encode())
        assert body_of(s3, "k") == b"before"
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"after")
        stuck.shutdown(socket.SHUT_WR)
        assert stuck.recv(100).startswith(b"HTTP/1.1 400 ")
    assert body_of(s3, "k") == b"after"


def test_moto_forgets_all_when_it_is_told_to(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        make_bucket(here).put_object(Bucket=BUCKET, Key="k", Body=b"x")
        httpx.post(f"{here.url}/moto-api/reset").raise_for_status()
        assert here.client("s3").list_buckets()["Buckets"] == []
        here.client("sns").create_topic(Name="t")
        assert files_of(tmp_path) == []
        assert len((tmp_path / "aws" / "journal").read_bytes().splitlines()) == 1


def test_an_upload_by_a_form_is_refused_and_not_lost(shared: Served) -> None:
    answer = httpx.post(f"{shared.url}/{BUCKET}", data={"key": "by form"}, files={"file": b"x"})
    assert answer.status_code == 501
    assert "<Code>NotImplemented</Code>" in answer.text
    assert "by form" not in keys_of(shared.client("s3"))


def test_a_state_folder_is_of_one_process(shared: Served, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "localaws.small_services",
        "--port",
        str(free_port()),
        "--state",
        str(shared.state),
    ]
    second = processes.spawn(command, env={**os.environ, **AWS_ENV}, log_path=tmp_path / "log")
    assert second.wait(60) == 1
    assert f"{shared.state / 'aws'} is in use by other small services" in (tmp_path / "log").read_text()
