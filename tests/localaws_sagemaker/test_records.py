"""Records outlive the service, whole or not at all: what is broken is set aside, what cannot be written changes nothing."""

import errno
import logging
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from localaws.sagemaker.records import Kind, Records, utc_now
from localaws.wire import AwsError

from tests.localaws_sagemaker.cloud import Cloud


def records_in(folder: Path) -> Records:
    return Records(folder, region="eu-west-1")


def model(name: str) -> dict[str, Any]:
    return {"ModelName": name, "CreationTime": utc_now(), "PrimaryContainer": {"Image": "any"}}


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    record = model("a/b")
    records_in(tmp_path).put(Kind.MODEL, "a/b", record)
    assert records_in(tmp_path).find(Kind.MODEL, "a/b") == record


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"name": "broken", "record": {"ModelName": "bro', id="half"),
        pytest.param(b"\x00\xff\xfe" * 100, id="noise"),
        pytest.param(b"[1, 2]", id="another kind"),
        pytest.param(b'{"name": "broken", "record": {"ModelName": "broken"}}', id="members missing"),
        pytest.param(b'{"name": "broken", "record": {"CreationTime": {"$datetime": "late"}}}', id="no time"),
    ],
)
def test_a_broken_file_is_set_aside_and_named(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    before = records_in(tmp_path)
    before.put(Kind.MODEL, "whole", model("whole"))
    path = tmp_path / "model" / "broken.json"
    path.write_bytes(content)
    (tmp_path / "model" / "stale.draft").write_bytes(b"{")
    with caplog.at_level(logging.ERROR):
        after = records_in(tmp_path)
    assert [record["ModelName"] for record in after.all(Kind.MODEL)] == ["whole"]
    assert str(path) in caplog.text
    assert sorted(item.name for item in path.parent.iterdir()) == ["broken.broken", "whole.json"]
    after.put(Kind.MODEL, "broken", model("broken"))
    assert len(records_in(tmp_path).all(Kind.MODEL)) == 2


def test_a_record_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = records_in(tmp_path)
    record = model("a")
    records.put(Kind.MODEL, "a", record)

    def full(path: Path, *_: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(AwsError, match=r"record of model a cannot be written.*No space left") as error:
        records.update(Kind.MODEL, "a", ModelName="other")
    assert error.value.status == 500
    records.note(Kind.MODEL, "a", Seen=True)
    monkeypatch.undo()
    assert records.find(Kind.MODEL, "a") == {**record, "Seen": True}
    assert records_in(tmp_path).find(Kind.MODEL, "a") == record
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["a.json"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prlimit is Linux's")
def test_the_service_lives_on_when_nothing_can_be_written(cloud: Cloud) -> None:
    assert cloud.service.popen is not None
    pid = cloud.service.popen.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ClientError, match="cannot be written") as error:
            cloud.sagemaker.create_model_package_group(ModelPackageGroupName="full-disk")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.response["Error"]["Code"] == "InternalFailure"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="full-disk")
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="full-disk")
