"""A list of AWS calls that may be made twice."""

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from localaws.apply import ApplyError, apply, read_calls

SEED = """
- service: s3
  action: create_bucket
  params: {Bucket: "data-${REGION:-eu-west-1}", CreateBucketConfiguration: {LocationConstraint: "${AWS_REGION}"}}
- {service: kinesis, action: create_stream, params: {StreamName: s, ShardCount: 2}}
- {service: secretsmanager, action: create_secret, params: {Name: k, SecretString: "{}"}}
- {service: sns, action: create_topic, params: {Name: alerts}}
- {service: iam, action: create_role, params: {RoleName: r, AssumeRolePolicyDocument: "{}"}}
- {service: sts, action: get_caller_identity}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "seed.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def cloud(serve_module: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = serve_module("moto.server", "-H", "127.0.0.1", port_option="-p", health="/moto-api/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", serve_module("localaws.kinesis", "--state", str(tmp_path)))
    return url


def test_a_second_time_changes_nothing(cloud: str, tmp_path: Path) -> None:
    path = write(tmp_path, SEED)
    assert [result for _, result in apply(path)] == ["made"] * 6
    assert [result for _, result in apply(path)] == ["is there"] * 3 + ["made"] + ["is there", "made"]
    assert boto3.client("kinesis").list_streams()["StreamNames"] == ["s"]
    assert boto3.client("s3", endpoint_url=cloud).list_buckets()["Buckets"][0]["Name"] == "data-eu-west-1"

    failing = write(tmp_path, "- {service: kinesis, action: delete_stream, params: {StreamName: nowhere}}")
    with pytest.raises(ApplyError, match=r"entry 1: .*nowhere"):
        apply(failing)
    for wrong in (
        "{service: s3, action: create_bukket}",
        "{service: s4, action: x}",
        "{service: s3, action: create_bucket}",
    ):
        with pytest.raises(ApplyError, match="entry 1: "):
            apply(write(tmp_path, f"- {wrong}"))


def test_without_an_endpoint_nothing_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(ApplyError, match="AWS_ENDPOINT_URL is not set"):
        apply(write(tmp_path, SEED))


def test_variables_are_filled_in_everywhere(tmp_path: Path) -> None:
    path = write(tmp_path, '- {service: s, action: a, params: {A: ["${X}-${Y:-}", 1], B: {C: "${Z:-z}"}}}')
    (call,) = read_calls(path, {"X": "x"})
    assert call.params == {"A": ["x-", 1], "B": {"C": "z"}}
    with pytest.raises(ApplyError, match=r"entry 1: \$\{X\} is not set"):
        read_calls(path, {})


@pytest.mark.parametrize("text", ["{}", "- 1", "- {service: s3}", "- {service: s3, action: a, parms: {}}", "- ["])
def test_a_list_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ApplyError, match=r"seed\.yaml"):
        read_calls(write(tmp_path, text), {})
    with pytest.raises(ApplyError, match="cannot read"):
        read_calls(tmp_path / "nowhere.yaml", {})
