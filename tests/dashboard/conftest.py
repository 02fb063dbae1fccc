"""The dashboard as a visitor sees it, over a warehouse of its own for each test."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

from fraudit_dagster.manifest import MANIFEST_KEY, evaluation_key
from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import client
from tests.operate.conftest import REGION
from tests.warehouse.conftest import Place, migrated, new_place, place

__all__ = ["migrated", "new_place", "place"]

Visit = Callable[..., AppTest]
APP = PROJECT_DIR / "dashboard" / "app.py"
PATIENCE_S = 60
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture
def listens_on() -> Iterator[Callable[[str], None]]:
    """Has the dashboard listen on another address than this machine's own."""
    before = config.get_option("server.address")

    def listen(address: str) -> None:
        config.set_option("server.address", address)

    listen("127.0.0.1")
    yield listen
    config.set_option("server.address", before)


@pytest.fixture
def visit(place: Place, listens_on: Callable[[str], None]) -> Visit:  # noqa: ARG001 - both are what it stands on
    """Opens a page by the name of its module, with filters as in its URL. Nothing is kept from an earlier visit."""

    def open_page(
        page: str = "traffic",
        *,
        secrets: dict[str, Any] | None = None,
        user: dict[str, Any] | None = None,
        **filters: str,
    ) -> AppTest:
        st.cache_data.clear()
        st.cache_resource.clear()
        test = AppTest.from_file(str(APP), default_timeout=PATIENCE_S)
        test.secrets, test.user = secrets or {}, user or {}
        test.query_params.update(filters)
        test.run()
        return test if page == "traffic" else test.switch_page(f"views/{page}.py").run()

    return open_page


def metrics(page: AppTest) -> dict[str, str]:
    """The numbers of a page by their label."""
    return {metric.label: metric.value for metric in page.metric}


def told(page: AppTest) -> str:
    """What a page says beside its figures."""
    return "\n".join(element.value for kind in (page.error, page.info, page.warning, page.success) for element in kind)


def judge(place: Place) -> None:
    """Store a day's performance at two ages of the labels, and its drift."""
    for age, recall in ((0, 0.5), (1, 0.75)):
        place.run(
            """
            insert into fraud.daily_model_performance values
                (%s, 'creditcard', '7', %s, 100, 50, 0, 4, 3, 1, %s, %s, 0.8, 90, 10)
            """,
            (YESTERDAY, age, 0.75, recall),
        )
    for feature, psi, count in (("V1", 0.01, 900), ("V14", 0.31, 900), ("Amount", 0.9, 10)):
        place.run(
            "insert into fraud.daily_feature_drift values (%s, 'creditcard', 'v', %s, %s, 0, 1.0, %s, 0.01)",
            (YESTERDAY, feature, count, psi),
        )


def stream(place: Place) -> None:
    """Store three batches of the last minutes, and two events that were none."""
    place.run(
        """
        insert into fraud.stream_batches (query_id, batch_id, records, predictions, duplicates, labels, quarantined, max_lag_ms,
            last_sequences, started_at, stored_at)
        select gen_random_uuid(), n, 10, 6, 1, 2, 1, n * 1500, '{}', now(), now() - n * interval '1 minute'
        from generate_series(1, 3) as n
        """
    )
    place.run(
        """
        insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at)
        values ('s', '1', '', 'conflict', '', now()), ('s', '2', '', 'conflict', '', now() - interval '2 days')
        """
    )


def serve(bucket: str, *documents: dict[str, Any]) -> None:
    """Put manifests where they are read, the last of them as the one that serves."""
    s3 = client("s3", region=REGION)
    for document in documents:
        body = json.dumps(document)
        s3.put_object(Bucket=bucket, Key=f"serving/manifests/{document['manifest_version']}.json", Body=body)
        s3.put_object(Bucket=bucket, Key=MANIFEST_KEY, Body=body)


def evaluate(bucket: str, manifest: dict[str, Any]) -> None:
    """Put an evaluation of a manifest's models where it is read, with a cost curve and what a newer version may add."""
    versions = (manifest[role]["model_version"] for role in ("fraud_classifier", "anomaly_detector"))
    key = evaluation_key(**dict(zip(("classifier", "detector"), versions, strict=True)))
    curve = {
        "threshold": [0.001, 0.1, 1],
        "review": [0.5, 0.1, 0.3],
        "block": [0.9, 0.2, 0.3],
        "nothing": 0.3,
        "chosen": 0.1,
    }
    body = json.dumps({"cost_curve": curve, "newer": 1})
    client("s3", region=REGION).put_object(Bucket=bucket, Key=key, Body=body)


def make_bucket(bucket: str) -> str:
    """Make a bucket, and return its name."""
    client("s3", region=REGION).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return bucket
