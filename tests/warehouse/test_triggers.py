"""What the daily tables say asks for a retraining, once, and only where a deployment has switched that on."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.records import RawTable
from jobs.schedules import performance_by_label_age, weekly_retrain
from jobs.triggers import NOTHING_SERVES, TRIGGERS, retrain_on_drift, retrain_on_performance
from resources.manifests import Current, Manifests
from resources.records import RecordError, RecordIOManager
from resources.storage import Storage
from resources.warehouse import WarehouseError
from tests.warehouse.conftest import Place

DAY = datetime.now(UTC).date() - timedelta(days=2)


class OfDeployment(Storage):
    """A model bucket that holds one evaluation: of classifier 7 and detector 3, which flagged 4 frauds of 5."""

    def read(self, uri: str) -> bytes:
        assert uri == "s3://models/evaluation/7-3.json"
        return json.dumps({"fused": {"recall_of_flagged": 0.8}}).encode()


STORAGE = OfDeployment(region="eu-west-1", data_bucket="data", stream_bucket="stream", model_bucket="models")


class Serving(Manifests):
    """A deployment in which a manifest of that version serves, or none."""

    version: str | None = "m1"

    def current(self) -> Current | None:
        if self.version is None:
            return None
        document = {
            "manifest_version": self.version,
            "contract": {"name": "creditcard"},
            "fraud_classifier": {"model_version": "7"},
            "anomaly_detector": {"model_version": "3"},
        }
        return Current(document, b"", "tag")


class Taken(RecordIOManager):
    """A deployment whose raw table was taken from a file that the settings do not name."""

    def load(self, key: dg.AssetKey, record_type: type[Any]) -> Any:
        assert (key, record_type) == (dg.AssetKey(["raw", "transactions"]), RawTable)
        return RawTable(uris=(), sha256="", rows=1, frauds=1, synthetic=False, source="s3://data/ours.csv")


Tick = Callable[..., dg.SensorResult | dg.SkipReason]


@pytest.fixture
def tick(place: Place) -> Tick:
    """Evaluates a trigger."""

    def evaluate(
        sensor: dg.SensorDefinition, *, version: str | None = "m1", cursor: str | None = None, **resources: Any
    ) -> Any:
        known = {
            "warehouse": place.warehouse(),
            "manifests": Serving(storage=STORAGE, version=version),
            "storage": STORAGE,
            "io_manager": Taken(storage=STORAGE),
            **resources,
        }
        wanted = {name: known[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(cursor=cursor, resources=wanted) as context:
            return sensor(context)

    return evaluate


def compared(place: Place, day: date, psi: float, *, version: str = "m1", rows: int = 5000) -> None:
    """Store what a day's drift is said to be: of V14 and, always small, of Amount."""
    for feature, value in (("V14", psi), ("Amount", 0.01)):
        place.run(
            "insert into fraud.daily_feature_drift (day, contract, manifest_version, feature, rows, missing, psi, ks) "
            "values (%s, 'creditcard', %s, %s, %s, 0, %s, 0.01)",
            (day, version, feature, rows, value),
        )


def known(place: Place, day: date, *, frauds: int, caught: int, age: int = 7, version: str = "7") -> None:
    """Store what is known of a day at an age of its labels."""
    place.run(
        "insert into fraud.daily_model_performance (day, contract, classifier_version, label_age_days, transactions, labelled, frauds, "
        "true_positives, false_positives, amount_saved, amount_lost) values (%s, 'creditcard', %s, %s, 1000, 500, %s, %s, 0, 0, 0)",
        (day, version, age, frauds, caught),
    )


def requested(answer: Any) -> dg.RunRequest:
    assert isinstance(answer, dg.SensorResult)
    (request,) = answer.run_requests or []
    assert isinstance(request, dg.RunRequest)
    return request


def skipped(answer: Any) -> str:
    assert isinstance(answer, dg.SkipReason), answer
    return answer.skip_message or ""


def test_they_are_off_until_somebody_switches_them_on() -> None:
    assert {sensor.default_status for sensor in TRIGGERS} == {dg.DefaultSensorStatus.STOPPED}
    assert {sensor.job_name for sensor in TRIGGERS} == {"bootstrap"}


@pytest.mark.parametrize("sensor", TRIGGERS, ids=lambda sensor: sensor.name)
def test_where_nothing_serves_nothing_is_asked_for(tick: Tick, sensor: dg.SensorDefinition) -> None:
    assert skipped(tick(sensor, version=None)) == NOTHING_SERVES


def test_drift_of_the_newest_day_asks_for_a_retraining_and_says_of_what(place: Place, tick: Tick) -> None:
    assert "no day of m1" in skipped(tick(retrain_on_drift))
    compared(place, DAY - timedelta(days=1), 3.0)
    compared(place, DAY, 0.05)
    assert skipped(tick(retrain_on_drift)) == f"{DAY}: no feature has drifted"
    compared(place, DAY + timedelta(days=1), 0.9)
    request = requested(tick(retrain_on_drift))
    assert request.run_key == f"m1@{DAY + timedelta(days=1)}"
    assert request.run_config == {"ops": {"raw__transactions": {"config": {"dataset": "s3://data/ours.csv"}}}}
    assert "V14" in request.tags["fraudit/reason"]
    assert "Amount" not in request.tags["fraudit/reason"]


def test_drift_under_another_manifest_is_not_the_champions(place: Place, tick: Tick) -> None:
    compared(place, DAY, 3.0, version="m0")
    assert "no day of m1" in skipped(tick(retrain_on_drift))


def test_one_champion_is_retrained_for_drift_once_a_week(place: Place, tick: Tick) -> None:
    compared(place, DAY, 3.0)
    answer = tick(retrain_on_drift)
    assert isinstance(answer, dg.SensorResult)
    compared(place, DAY + timedelta(days=1), 3.0)
    assert "was asked for" in skipped(tick(retrain_on_drift, cursor=answer.cursor))
    compared(place, DAY + timedelta(days=7), 3.0)
    assert requested(tick(retrain_on_drift, cursor=answer.cursor)).run_key == f"m1@{DAY + timedelta(days=7)}"


def test_a_new_champion_that_drifts_is_retrained_at_once(place: Place, tick: Tick) -> None:
    compared(place, DAY, 3.0)
    answer = tick(retrain_on_drift)
    assert isinstance(answer, dg.SensorResult)
    compared(place, DAY, 3.0, version="m2")
    assert requested(tick(retrain_on_drift, version="m2", cursor=answer.cursor)).run_key == f"m2@{DAY}"


def test_missed_frauds_ask_for_a_retraining(place: Place, tick: Tick) -> None:
    assert "no fraud" in skipped(tick(retrain_on_performance))
    known(place, DAY, frauds=50, caught=40)
    assert skipped(tick(retrain_on_performance)) == "40 of 50 known frauds were flagged, 80% on the test part"
    known(place, DAY + timedelta(days=1), frauds=50, caught=5)
    request = requested(tick(retrain_on_performance))
    assert request.tags["fraudit/reason"].startswith("45 of 100 known frauds were flagged")


def test_of_a_day_the_oldest_labels_count_and_of_other_models_and_months_nothing_does(place: Place, tick: Tick) -> None:
    known(place, DAY, frauds=50, caught=0, age=1)
    known(place, DAY, frauds=60, caught=50, age=14)
    known(place, DAY, frauds=500, caught=0, version="6")
    known(place, DAY - timedelta(days=60), frauds=500, caught=0)
    assert skipped(tick(retrain_on_performance)).startswith("50 of 60 known frauds")


def test_a_warehouse_that_cannot_be_asked_is_no_quiet_day(place: Place, tick: Tick) -> None:
    place.run("drop table fraud.daily_feature_drift")
    with pytest.raises(WarehouseError, match="daily_feature_drift"):
        tick(retrain_on_drift)


def test_every_week_the_table_that_was_taken_last_is_learnt_from_again() -> None:
    with dg.build_schedule_context(resources={"io_manager": Taken(storage=STORAGE)}) as context:
        request = weekly_retrain(context)
    assert isinstance(request, dg.RunRequest)
    assert request.run_config == {"ops": {"raw__transactions": {"config": {"dataset": "s3://data/ours.csv"}}}}


class NothingTaken(RecordIOManager):
    """A deployment that is new."""

    def load(self, key: dg.AssetKey, record_type: type[Any]) -> Any:
        del record_type
        raise RecordError(f"{key.to_user_string()} has no record")


def test_a_week_without_a_table_passes() -> None:
    with dg.build_schedule_context(resources={"io_manager": NothingTaken(storage=STORAGE)}) as context:
        assert skipped(weekly_retrain(context)) == "raw/transactions has no record"


def performance(place: Place) -> Any:
    """Evaluate the schedule on 1 February."""
    at = datetime(2026, 2, 1, 1, 45, tzinfo=UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=at, resources={"warehouse": place.warehouse("analyst")}
    ) as context:
        return performance_by_label_age(context)


def test_performance_is_told_anew_at_each_age_of_the_labels(place: Place) -> None:
    asked = performance(place)
    # 1, 7, 14 and 30 days before yesterday; 60 and 90 are before the first day
    assert [request.partition_key for request in asked] == ["2026-01-30", "2026-01-24", "2026-01-17", "2026-01-01"]
    assert len({request.run_key for request in asked}) == 4


def test_days_whose_rows_were_dropped_are_left_alone(place: Place) -> None:
    for day in ("2026-01-30", "2026-01-24", "2026-01-17"):
        place.run("insert into fraud.archived_days values (%s, 's3://bucket/archive/', 0, 0, '', now(), now())", (day,))
    assert [request.partition_key for request in performance(place)] == ["2026-01-01"]
    place.run("insert into fraud.archived_days values ('2026-01-01', 's3://bucket/archive/', 0, 0, '', now(), now())")
    assert skipped(performance(place)) == "no day of these ages is in the warehouse"
