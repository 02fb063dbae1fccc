"""The sensor ``new_data`` on a real listing: what it requests, and when it requests nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dagster as dg
import pytest

from fraudit_dagster.arrivals import landing_uri
from fraudit_dagster.settings import Settings
from jobs.new_data import NEW_DATA
from resources.aws import client
from resources.deployment import build_resources
from resources.storage import Storage, StorageError
from tests.conftest import free_port, unique

REGION = "eu-west-1"


@pytest.fixture(scope="module", autouse=True)
def _environment(local_cloud: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in local_cloud.items():
            patch.setenv(name, value)
        yield


def with_bucket(bucket: str) -> Storage:
    return Storage(region=REGION, data_bucket=bucket, stream_bucket=bucket, model_bucket=bucket)


@pytest.fixture
def storage() -> Storage:
    bucket = unique("landing")
    client("s3", region=REGION).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return with_bucket(bucket)


def tick(storage: Storage, *, cursor: str | None = None, settle_s: float = 0.0) -> tuple[dg.RunRequest | None, str]:
    """One tick: the run it requests and the cursor it leaves; or no run, and why."""
    project = build_resources(Settings(FRAUDIT_LANDING_SETTLE_S=settle_s))["project"]
    result = NEW_DATA(dg.build_sensor_context(cursor=cursor, resources={"project": project, "storage": storage}))
    if isinstance(result, dg.SkipReason):
        assert result.skip_message is not None
        return None, result.skip_message
    assert isinstance(result, dg.SensorResult)
    assert result.cursor is not None
    (request,) = result.run_requests or []
    return request, result.cursor


def deliver(storage: Storage, name: str, body: bytes = b"rows") -> str:
    prefix = landing_uri(storage.data_bucket, "landing", "creditcard")
    storage.write(f"{prefix}{name}", body)
    return prefix


def test_first_content_requests_a_run_on_the_whole_prefix(storage: Storage) -> None:
    prefix = deliver(storage, "a.csv")
    request, cursor = tick(storage)
    assert request is not None
    assert request.run_config == {"ops": {"raw__transactions": {"config": {"dataset": prefix}}}}
    assert request.run_key == f"{prefix}@{cursor}"
    assert len(cursor) == 64


def test_an_empty_prefix_requests_nothing(storage: Storage) -> None:
    request, reason = tick(storage)
    assert request is None
    assert reason.startswith(f"no table below s3://{storage.data_bucket}/landing/creditcard/")


def test_the_same_content_again_requests_nothing(storage: Storage) -> None:
    deliver(storage, "a.csv")
    _, cursor = tick(storage)
    deliver(storage, "a.csv")
    assert tick(storage, cursor=cursor)[0] is None
    deliver(storage, "same-rows-other-name.csv")
    request, reason = tick(storage, cursor=cursor)
    assert request is None
    assert reason.startswith("nothing new")


def test_a_sensor_that_lost_its_cursor_asks_for_the_run_that_dagster_knows(storage: Storage) -> None:
    deliver(storage, "a.csv")
    first, _ = tick(storage)
    deliver(storage, "b.csv")
    again, _ = tick(storage, cursor=None)
    assert first is not None
    assert again is not None
    assert first.run_key == again.run_key


def test_changed_bytes_under_the_same_name_request_a_run(storage: Storage) -> None:
    deliver(storage, "a.csv")
    first, cursor = tick(storage)
    deliver(storage, "a.csv", b"ROWS")
    second, _ = tick(storage, cursor=cursor)
    assert first is not None
    assert second is not None
    assert first.run_key != second.run_key


def test_unfinished_and_empty_files_request_nothing(storage: Storage) -> None:
    for name in ("a.csv.part", "_SUCCESS", ".b.csv", "c.csv.tmp", "notes.txt"):
        deliver(storage, name)
    deliver(storage, "empty.csv", b"")
    request, reason = tick(storage)
    assert request is None
    for name in ("a.csv.part", "empty.csv", "notes.txt"):
        assert name in reason


def test_a_delivery_under_way_requests_nothing_yet(storage: Storage) -> None:
    deliver(storage, "a.csv")
    request, reason = tick(storage, settle_s=3600)
    assert request is None
    assert reason.startswith("still arriving")


def test_many_files_are_one_run_and_the_last_of_them_counts(storage: Storage) -> None:
    put = partial(client("s3", region=REGION).put_object, Bucket=storage.data_bucket)
    keys = [f"landing/creditcard/{number:04}.csv" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(Key=key, Body=key.encode()), keys))
    request, cursor = tick(storage)
    assert request is not None
    assert len(cursor) == 64
    put(Key=keys[-1], Body=b"changed, on the second page of the listing")
    assert tick(storage, cursor=cursor)[0] is not None


def test_the_table_of_another_contract_is_left_alone(storage: Storage) -> None:
    storage.write(f"s3://{storage.data_bucket}/landing/creditcard-2/a.csv", b"rows")
    assert tick(storage)[0] is None


def test_a_bucket_that_is_not_there_is_no_empty_prefix() -> None:
    with pytest.raises(StorageError, match=r"list s3://no-bucket-of-ours/landing/creditcard/.*NoSuchBucket"):
        tick(with_bucket("no-bucket-of-ours"))


def test_an_s3_that_does_not_answer_is_no_empty_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError, match="Could not connect") as caught:
        tick(with_bucket("bucket"))
    assert caught.value.code == "Unreachable"
