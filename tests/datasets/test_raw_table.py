"""The asset ``raw/transactions``: the table of a landing prefix that ``new_data`` asks for, and the public table of a site."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.raw import transactions
from fraudit_dagster.records import RawTable
from fraudit_dagster.settings import Settings
from jobs.new_data import NEW_DATA
from resources.aws import client
from resources.deployment import build_resources
from tests.conftest import unique
from tests.datasets.conftest import FRAUDS, ROWS, Site, kaggle_csv, made, rows

REGION = "eu-west-1"


@pytest.fixture
def resources(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Those of the graph, with a bucket of their own for everything, and no waiting for deliveries."""
    bucket = unique("raw")
    for variable, value in local_cloud.items():
        monkeypatch.setenv(variable, value)
    for variable in ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET"):
        monkeypatch.setenv(variable, bucket)
    client("s3", region=REGION).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return build_resources(Settings(aws_region=REGION, FRAUDIT_LANDING_SETTLE_S=0, FRAUDIT_WORK_DIR=tmp_path / "work"))


def raw_table(resources: dict[str, Any], run_config: Any) -> RawTable:
    """Materialize the asset and return its record."""
    done = dg.materialize([transactions], resources=resources, run_config=run_config)
    table: RawTable = done.output_for_node("raw__transactions")
    return table


@pytest.mark.usefixtures("spark")
def test_a_run_that_new_data_asks_for_takes_all_files_of_the_delivery_once(resources: dict[str, Any]) -> None:
    storage = resources["storage"]
    prefix = f"s3://{storage.data_bucket}/landing/creditcard/"
    first, second = kaggle_csv(rows()[:1000]), kaggle_csv(rows()[1000:])
    files = {"1/part.csv": first, "2/part.csv": second, "again.csv": first}
    passed_over = {"_SUCCESS": b"", "empty.csv": b"", "more.csv.part": b"half a fi", "notes.txt": b"from the bank"}
    for name, body in {**files, **passed_over}.items():
        storage.write(f"{prefix}{name}", body)
    context = dg.build_sensor_context(resources={name: resources[name] for name in ("project", "storage")})
    asked = NEW_DATA(context)
    assert isinstance(asked, dg.SensorResult)
    (request,) = asked.run_requests or []
    table = raw_table(resources, request.run_config)
    assert (table.rows, table.frauds, table.source) == (ROWS, FRAUDS, prefix)
    assert table.uris == (f"{prefix}1/part.csv", f"{prefix}2/part.csv")


@pytest.mark.usefixtures("spark")
def test_the_public_table_is_fetched_and_brought_to_s3(
    resources: dict[str, Any], site: Site, tmp_path: Path, target: Path
) -> None:
    project = resources["project"].model_dump() | {"user_file": str(target)}
    using = {
        **resources,
        "datasets": made(site, tmp_path),
        "project": type(resources["project"])(**project),
    }
    table = raw_table(using, {"ops": {"raw__transactions": {"config": {"dataset": "openml"}}}})
    assert (table.rows, table.frauds, table.synthetic, table.source) == (ROWS, FRAUDS, False, "openml")
    assert table.uris == (f"s3://{resources['storage'].data_bucket}/dataset/creditcard.csv",)
    assert resources["storage"].read(table.uris[0]) == target.read_bytes()


@pytest.mark.usefixtures("spark")
def test_a_table_that_cannot_be_fetched_fails_the_step_in_its_own_words(
    resources: dict[str, Any], site: Site, tmp_path: Path
) -> None:
    using = {**resources, "datasets": made(site, tmp_path)}
    with pytest.raises(dg.Failure, match=r"no Kaggle token: at https://www\.kaggle\.com/settings/api"):
        raw_table(using, {"ops": {"raw__transactions": {"config": {"dataset": "kaggle"}}}})
