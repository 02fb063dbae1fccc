"""The monitors on real parts: what a tick shows, tells and requests, with each part dead in turn."""

import json
import os
import socket
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import dagster as dg
import pytest

from assets import external
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.monitoring import Finding, Run
from fraudit_dagster.settings import load_settings
from jobs.monitors import MONITORS as SENSORS
from jobs.repair import repair_stream_job
from jobs.sensors import alert_on_failure
from resources.aws import client
from resources.deployment import build_resources
from resources.stream_job import StreamJob
from resources.watch import Watch
from tests.conftest import free_port
from tests.operate.conftest import REGION
from tests.warehouse.conftest import Place

from .conftest import MONITORS, Watched, be_patient

WELL_AGAIN_TICKS = 2


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def failing(result: dg.SensorResult) -> dict[str, str]:
    """The checks of a tick that did not pass, and what they say."""
    return {
        event.check_name: str(event.description)
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
    }


def beats(result: dg.SensorResult) -> list[str | None]:
    """The data versions of a tick's materializations."""
    return [
        (event.tags or {}).get("dagster/data_version")
        for event in result.asset_events
        if isinstance(event, dg.AssetMaterialization)
    ]


def subjects(watched: Watched) -> list[str]:
    return [message["Subject"] for message in watched.heard()]


def await_job(watched: Watched, state: str) -> str:
    """Wait until the newest run is in a state, and return its id."""
    deadline = time.monotonic() + 30
    while (run := watched.job.newest_run()) is None or run.state != state:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run.id


def ran_out_of_grace(watched: Watched) -> None:
    """Let the wish be one of a while ago."""
    job = watched.job
    wish = job.wish()
    assert wish is not None
    aged = wish.model_copy(update={"since": wish.since - timedelta(minutes=5)})
    job.storage.write(job.wish_uri, aged.model_dump_json().encode())


def dead_job(watched: Watched) -> str:
    """A job that is to run, whose run has ended behind everybody's back, as in the console; return the run's id."""
    run_id = watched.job.start()
    await_job(watched, "RUNNING")
    ran_out_of_grace(watched)
    client("glue", region=REGION).batch_stop_job_run(JobName=os.environ["GLUE_JOB_NAME"], JobRunIds=[run_id])
    await_job(watched, "STOPPED")
    return run_id


def test_all_is_well_each_has_a_heartbeat_and_nobody_is_told(watched: Watched) -> None:
    run_id = watched.job.start()
    await_job(watched, "RUNNING")
    versions = {}
    for monitor in MONITORS:
        result = watched.tick(monitor)
        assert failing(result) == {}
        assert not result.run_requests
        (versions[monitor],) = beats(result)
    assert versions["watch_api"] == "v7"
    assert versions["watch_job"] == run_id
    for component in ("api/predict", "stream/transactions", "stream/job", "warehouse/fraud_predictions"):
        assert watched.heartbeats(component) == 1
    assert watched.heartbeats("daemon") == len(MONITORS)
    assert watched.heard() == []
    watched.job.stop()


def test_what_has_not_changed_is_not_written_again_each_tick_but_beats(watched: Watched) -> None:
    assert watched.tick("watch_stream").asset_events
    assert not watched.tick("watch_stream").asset_events
    assert watched.heartbeats("stream/transactions") == 2


def test_every_signal_is_a_check_of_its_asset_with_its_limit(watched: Watched) -> None:
    graph = build_defs(load_settings(env_file=None)).resolve_asset_graph()
    for monitor in MONITORS:
        evaluations = [
            event for event in watched.tick(monitor).asset_events if isinstance(event, dg.AssetCheckEvaluation)
        ]
        assert {event.asset_check_key for event in evaluations} == graph.get_check_keys_for_assets(
            {evaluations[0].asset_key}
        )


def test_the_checks_can_be_asked_in_the_ui_too(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHALICE_API_URL", nowhere())
    del watched
    definitions = build_defs(load_settings(env_file=None))
    job = dg.define_asset_job("look", selection=dg.AssetSelection.checks_for_assets(["api", "predict"]))
    looked = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("look")
    result = looked.execute_in_process()
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "answers": False,
        "latency": False,
        "errors": True,
    }


def test_an_api_that_is_down_is_told_once_and_that_it_is_back(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("CHALICE_API_URL", nowhere())
        result = watched.tick("watch_api")
        assert "cannot reach the prediction API" in failing(result)["answers"]
        assert beats(result) == []
        assert watched.heard() == []
        watched.tick("watch_api", times=4)
        (message,) = watched.heard()
        assert message["Subject"] == "fraudit: api/predict is not well: answers"
        assert "cannot reach the prediction API" in message["Message"]
        assert "/assets/api/predict" in message["Message"]
        assert watched.heartbeats("api/predict") == 0
    watched.tick("watch_api", times=WELL_AGAIN_TICKS)
    assert subjects(watched) == ["fraudit: api/predict is well again: answers"]
    assert watched.heartbeats("api/predict") == WELL_AGAIN_TICKS


def test_slow_predictions_and_failed_requests_are_found_where_there_is_traffic(watched: Watched) -> None:
    watched.measured("PredictLatency", 1500, count=30)
    watched.measured("Decisions", 60, decision="approve")
    watched.measured("Errors", 2, code="models_unavailable")
    assert failing(watched.tick("watch_api")) == {"latency": "of 100 predictions 95 took at most 1500 ms"}
    watched.measured("Errors", 9, code="models_unavailable")
    assert "11 of 71 requests failed" in failing(watched.tick("watch_api"))["errors"]
    watched.measured("PredictLatency", 20, count=30, ago_s=120)
    watched.measured("Errors", 50, code="missing_field")  # the client's fault
    assert set(failing(watched.tick("watch_api"))) == {"errors"}


def test_a_kinesis_that_is_down_is_a_finding(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", nowhere())
    assert "cannot be told: cannot describe stream" in failing(watched.tick("watch_stream"))["active"]
    watched.tick("watch_stream")
    assert subjects(watched) == ["fraudit: stream/transactions is not well: active"]


def test_a_kinesis_that_takes_calls_and_answers_none_is_a_finding(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Read timeout" in failing(watched.tick("watch_stream"))["active"]


def test_a_reader_that_is_behind_and_events_that_kinesis_did_not_take_are_found(watched: Watched) -> None:
    watched.measured("IteratorAgeMs", 300_000)
    watched.measured("DeadLetters", 2, ago_s=300)
    assert set(failing(watched.tick("watch_stream"))) == {"iterator_age", "dead_letters"}
    watched.measured("IteratorAgeMs", 0)
    assert set(failing(watched.tick("watch_stream"))) == {"dead_letters"}


def test_a_dead_job_is_told_and_repaired_at_the_first_tick(watched: Watched) -> None:
    dead = dead_job(watched)
    result = watched.tick("watch_job")
    assert "the job is to run, and is STOPPED" in failing(result)["running"]
    (request,) = result.run_requests or []
    wish = watched.job.wish()
    assert wish is not None
    assert request.run_key == f"{wish.since.isoformat()}|{dead}|1"
    (message,) = watched.heard()
    assert message["Subject"] == "fraudit: stream/job is not well: running"
    assert "tried: start requested at" in message["Message"]

    repaired = repair_stream_job.execute_in_process(resources={"stream_job": watched.job})
    assert repaired.success
    assert await_job(watched, "RUNNING") != dead
    result = watched.tick("watch_job", times=WELL_AGAIN_TICKS)
    assert not result.run_requests
    (message,) = watched.heard()
    assert message["Subject"] == "fraudit: stream/job is well again: running"
    assert "tried: start requested at" in message["Message"]
    watched.job.stop()


def test_a_failed_run_is_repaired_after_longer_and_longer_pauses_then_given_up_once(watched: Watched) -> None:
    dead = dead_job(watched)
    keys = []
    for _ in range(5):
        (request,) = watched.tick("watch_job").run_requests or []
        keys.append(request.run_key)
        five_minutes_later(watched)
    assert len(set(keys)) == 5
    assert all(dead in str(key) for key in keys)
    subjects(watched)
    assert not watched.tick("watch_job", times=2).run_requests
    (message,) = watched.heard()
    assert message["Subject"] == "fraudit: stream/job: repair gave up"
    assert "5 of at most 5" in message["Message"]
    watched.job.start()
    ran_out_of_grace(watched)
    await_job(watched, "RUNNING")
    watched.tick("watch_job", times=WELL_AGAIN_TICKS)
    assert subjects(watched) == ["fraudit: stream/job is well again: running"]
    watched.job.stop()


def five_minutes_later(watched: Watched) -> None:
    """Let what was tried be five minutes older."""
    document = json.loads(watched.cursors["watch_job"] or "")
    older = [datetime.fromisoformat(at) - timedelta(minutes=5) for at in document["repairs"]["attempts"]]
    document["repairs"]["attempts"] = [at.isoformat() for at in older]
    watched.cursors["watch_job"] = json.dumps(document)


def test_a_repair_that_fails_is_told_by_the_monitor_alone(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_job(watched)
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", nowhere())
    with dg.DagsterInstance.ephemeral() as instance:
        result = repair_stream_job.execute_in_process(
            instance=instance, resources={"stream_job": watched.job}, raise_on_error=False
        )
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        (failure,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
        alerts = build_resources(load_settings(env_file=None))["alerts"]
        with dg.build_run_status_sensor_context(
            "alert_on_failure", failure, instance, run, resources={"alerts": alerts}
        ).for_run_failure() as context:
            assert isinstance(alert_on_failure(context), dg.SkipReason)
    assert watched.heard() == []


def test_a_job_stopped_by_hand_stays_stopped_and_is_well(watched: Watched) -> None:
    watched.job.start()
    watched.job.stop()
    ran_out_of_grace(watched)
    result = watched.tick("watch_job", times=3)
    assert not result.run_requests
    assert watched.heard() == []
    assert watched.heartbeats("stream/job") == 3
    repair_stream_job.execute_in_process(resources={"stream_job": watched.job})
    await_job(watched, "STOPPED")


def test_a_job_that_is_stopped_while_it_is_repaired_is_stopped(watched: Watched) -> None:
    class Changing(StreamJob):
        """A wish that changes while the job is being started."""

        def _is_to_run(self) -> bool:
            wanted = super()._is_to_run()
            self._keep("stopped")
            return wanted

    dead_job(watched)
    job = watched.job
    assert Changing(glue=job.glue, storage=job.storage, arguments=job.arguments).repair() is None
    await_job(watched, "STOPPED")


def test_a_glue_that_is_down_is_a_finding_and_no_dead_job(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.job.start()
    ran_out_of_grace(watched)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_GLUE", nowhere())
        result = watched.tick("watch_job")
        assert "Could not connect" in failing(result)["running"]
        assert not result.run_requests
    watched.job.stop()


def test_a_job_that_runs_and_reports_nothing_is_found(watched: Watched) -> None:
    class Older(StreamJob):
        """A run that was started a while ago."""

        def newest_run(self) -> Run | None:
            run = super().newest_run()
            return run and replace(run, started_at=run.started_at - timedelta(minutes=10))

    watched.job.start()
    await_job(watched, "RUNNING")
    watch = new_watch()
    job = Older(glue=watched.job.glue, storage=watched.job.storage, arguments={})
    watch = watch.model_copy(update={"stream_job": job})
    assert set(failing(watched.tick("watch_job", watch=watch))) == {"reports"}
    watched.measured("Heartbeat", 1, component="stream")
    assert failing(watched.tick("watch_job", watch=watch)) == {}
    watched.job.stop()


def test_a_postgresql_that_is_down_is_a_finding(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    assert "cannot reach the warehouse" in failing(watched.tick("watch_table"))["fresh"]
    watched.tick("watch_table")
    assert subjects(watched) == ["fraudit: warehouse/fraud_predictions is not well: fresh, quarantine"]


def test_a_postgresql_that_is_slow_is_a_finding(
    watched: Watched, migrated: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, 0.5)
    with closing(migrated.connect()) as connection, connection.cursor() as rows:
        rows.execute("lock table fraud.stream_batches in access exclusive mode")
        assert "statement timeout" in failing(watched.tick("watch_table"))["fresh"]


def test_no_traffic_is_well_and_traffic_without_rows_is_not(watched: Watched, migrated: Place) -> None:
    assert failing(watched.tick("watch_table")) == {}
    watched.measured("Decisions", 5, ago_s=600, decision="approve")
    assert "are not stored" in failing(watched.tick("watch_table"))["fresh"]
    migrated.run(BATCH, {"batch": 1, "records": 40, "quarantined": 0, "ago": "300 s"})
    assert failing(watched.tick("watch_table")) == {}
    migrated.run(BATCH, {"batch": 2, "records": 40, "quarantined": 10, "ago": "0 s"})
    assert failing(watched.tick("watch_table")) == {"quarantine": "10 of 80 events of the last hour are quarantined"}


BATCH = """
    insert into fraud.stream_batches (query_id, batch_id, records, predictions, duplicates, labels, quarantined, max_lag_ms,
        last_sequences, started_at, stored_at)
    values ('00000000-0000-0000-0000-000000000000', %(batch)s, %(records)s, 0, 0, 0, %(quarantined)s, 0, '{}', now(),
        now() - %(ago)s::interval)
"""


def test_without_cloudwatch_what_it_would_say_cannot_be_told_and_the_tick_goes_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", nowhere())
    assert set(failing(watched.tick("watch_api"))) == {"latency", "errors"}
    assert set(failing(watched.tick("watch_stream"))) == {"iterator_age", "dead_letters"}
    assert set(failing(watched.tick("watch_table"))) == {"fresh"}


def test_a_topic_that_cannot_be_told_is_told_later(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHALICE_API_URL", nowhere())
    with monkeypatch.context() as patch:
        patch.setenv("OPERATIONS_TOPIC_ARN", os.environ["OPERATIONS_TOPIC_ARN"] + "-gone")
        watched.tick("watch_api", times=3)
        assert watched.heard() == []
    watched.tick("watch_api")
    assert subjects(watched) == ["fraudit: api/predict is not well: answers"]
    watched.tick("watch_api")
    assert watched.heard() == []


def test_without_a_topic_nothing_waits(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHALICE_API_URL", nowhere())
    monkeypatch.delenv("OPERATIONS_TOPIC_ARN")
    watched.tick("watch_api", times=2)
    assert json.loads(watched.cursors["watch_api"] or "")["untold"] == []


def test_a_service_that_flaps_is_told_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setenv("CHALICE_API_URL", nowhere())
            watched.tick("watch_api")
        watched.tick("watch_api")
    assert subjects(watched) == ["fraudit: api/predict is flapping: answers"]


def test_a_bug_in_a_monitor_is_no_heartbeat_and_the_next_tick_goes_on(watched: Watched) -> None:
    class Broken(Watch):
        """A look with a bug."""

        def table(self) -> Finding:
            raise ZeroDivisionError

    watched.tick("watch_table")
    before = watched.cursors["watch_table"]
    fields = {name: getattr(new_watch(), name) for name in Watch.model_fields}
    with pytest.raises(ZeroDivisionError):
        watched.tick("watch_table", watch=Broken(**fields))
    assert watched.cursors["watch_table"] == before
    assert watched.heartbeats("warehouse/fraud_predictions") == 1
    watched.tick("watch_table")
    assert watched.heartbeats("warehouse/fraud_predictions") == 2


def test_a_cursor_of_another_version_is_begun_anew(watched: Watched) -> None:
    watched.cursors["watch_api"] = "2026-11-25T12:00:00Z"
    assert failing(watched.tick("watch_api")) == {}
    assert json.loads(watched.cursors["watch_api"] or "")["incidents"].keys() == {"answers", "latency", "errors"}


def test_a_wish_that_is_none_is_said_with_the_way_out(watched: Watched) -> None:
    job = watched.job
    job.storage.write(job.wish_uri, b"run!")
    assert "`fraudit stream start` or `stop` writes it anew" in failing(watched.tick("watch_job"))["running"]


def test_what_nobody_looks_at_becomes_stale_by_itself() -> None:
    specs = {spec.key.to_user_string(): spec for spec in external.ASSETS}
    for spec in specs.values():
        assert spec.freshness_policy == external.HEARTBEATS
    assert len(SENSORS) == len(specs)
    assert {sensor.default_status for sensor in SENSORS} == {dg.DefaultSensorStatus.RUNNING}


def new_watch() -> Watch:
    made: Watch = build_resources(load_settings(env_file=None))["watch"]
    return made
