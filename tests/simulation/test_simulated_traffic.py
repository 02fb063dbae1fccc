"""Simulated customers are switched on in the Dagster UI, where a setting allows it: a sensor asks for runs of a job."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.records import Part
from fraudit_dagster.settings import Settings, SettingsError, load_settings
from fraudit_dagster.synthetic import write_synthetic
from jobs.simulated_traffic import RUN_S, send_transactions, simulate_traffic, simulated_traffic
from resources.deployment import build_resources
from resources.manifests import Current, Manifests
from resources.prediction_api import PredictionApi
from resources.records import RecordIOManager
from resources.storage import Storage, StorageError
from tests.api.stand_ins import serving
from tests.simulation.stand_in import Api, answer, error

ROWS = 60
TEST_PART = Path("models", "graph", "dataset", "test.json")


class Folder(Storage):
    """Buckets as folders of this machine, for reading."""

    root: str

    def read(self, uri: str) -> bytes:
        try:
            return self._path(uri).read_bytes()
        except FileNotFoundError as missing:
            raise StorageError(uri, code="NoSuchKey") from missing

    def download_folder(self, prefix: str, folder: Path) -> list[Path]:
        return [Path(shutil.copy(path, folder)) for path in self._path(prefix).iterdir()]

    def _path(self, uri: str) -> Path:
        return Path(self.root) / uri.removeprefix("s3://")


class Serving(Manifests):
    """Something serves."""

    def current(self) -> Current | None:
        return Current({}, b"{}", "etag")


class NothingServes(Manifests):
    """Nothing does yet."""

    def current(self) -> Current | None:
        return None


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    """S3 with a test part, as the split leaves it."""
    part = Part(uri="s3://data/test", channels={}, rows=ROWS, frauds=6, weighted=False, medians={}, raw_sha256="0" * 64)
    (tmp_path / "data" / "test").mkdir(parents=True)
    write_synthetic(tmp_path / "data" / "test" / "part.parquet", rows=ROWS, frauds=6, seed=1)
    record = tmp_path / TEST_PART
    record.parent.mkdir(parents=True)
    record.write_text(part.model_dump_json())
    return Folder(region="eu-west-1", data_bucket="data", stream_bucket="s", model_bucket="models", root=str(tmp_path))


@pytest.fixture
def server() -> Api:
    return Api()


@pytest.fixture
def resources(storage: Folder, server: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the job and the sensor are given, with the stand-in of the API."""
    monkeypatch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
    with serving(server) as url:
        yield {
            "project": build_resources(Settings())["project"],
            "storage": storage,
            "io_manager": RecordIOManager(storage=storage),
            "prediction_api": PredictionApi(url=url, api_key="secret"),
        }


def run(resources: dict[str, Any], **config: float) -> dg.ExecuteInProcessResult:
    return simulate_traffic.execute_in_process(
        resources=resources,
        run_config={
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            "ops": {send_transactions.name: {"config": config}},
        },
        raise_on_error=False,
    )


def ask(
    resources: dict[str, Any], manifests: type[Manifests] = Serving, *, instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    """One tick of the sensor."""
    given = {"io_manager": resources["io_manager"], "manifests": manifests(storage=resources["storage"])}
    with dg.build_sensor_context(instance=instance, resources=given) as context:
        answer = simulated_traffic(rate=2.0)(context)
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


@pytest.mark.parametrize(("rate", "there"), [(0.0, False), (1.5, True)])
def test_they_are_part_of_the_graph_only_where_a_setting_says_so(rate: float, *, there: bool) -> None:
    definitions = build_defs(Settings(FRAUDIT_SIMULATED_TRAFFIC=rate))
    assert ("simulate_traffic" in {job.name for job in definitions.jobs or ()}) == there
    assert ("simulated_traffic" in {sensor.name for sensor in definitions.sensors or ()}) == there


def test_by_default_they_are_not_and_no_rate_is_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAUDIT_SIMULATED_TRAFFIC", raising=False)
    assert load_settings(env_file=None).simulated_traffic == 0
    monkeypatch.setenv("FRAUDIT_SIMULATED_TRAFFIC", "-1")
    with pytest.raises(SettingsError, match="FRAUDIT_SIMULATED_TRAFFIC"):
        load_settings(env_file=None)


def test_somebody_has_to_switch_the_sensor_on() -> None:
    assert simulated_traffic(rate=1.0).default_status == dg.DefaultSensorStatus.STOPPED


def test_a_run_sends_every_transaction_once_and_labels(resources: dict[str, Any], server: Api) -> None:
    result = run(resources, events=ROWS + 5, rate=1000.0, feedback=1.0)
    assert result.success
    bodies = [json.loads(body) for body in server.bodies]
    assert len({body["metadata"]["transaction_id"] for body in bodies}) == ROWS + 5
    assert server.labels
    (output,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_OUTPUT]
    found = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (found["answered"], found["failed"], found["labels"]) == (ROWS + 5, 0, len(server.labels))


def test_its_transactions_are_of_the_minutes_before_and_those_of_another_run_are_others(
    resources: dict[str, Any], server: Api
) -> None:
    before = datetime.now(UTC)
    for _ in range(2):
        assert run(resources, events=10, rate=1000.0, feedback=0.0).success
    sent = [json.loads(body)["metadata"] for body in server.bodies]
    times = [datetime.fromisoformat(metadata["timestamp"]) for metadata in sent]
    assert before - timedelta(seconds=1) <= min(times) <= max(times) <= datetime.now(UTC)
    assert len({metadata["transaction_id"] for metadata in sent}) == 20
    assert server.labels == []


def test_a_request_that_fails_is_counted_and_the_run_goes_on(resources: dict[str, Any], server: Api) -> None:
    server.replies["everything"] = [(400, error("not_finite")), (200, answer("t"))]
    assert run(resources, events=5, rate=1000.0, feedback=0.0).success
    assert len(server.bodies) == 5


def test_a_refused_key_fails_the_run_with_what_to_do(resources: dict[str, Any], server: Api) -> None:
    server.replies["everything"] = [(401, error("unauthorized"))]
    assert "fraudit keys create" in failure_of(run(resources, events=5, rate=1000.0))


def test_without_a_test_part_the_run_says_what_to_materialize(resources: dict[str, Any], storage: Folder) -> None:
    (Path(storage.root) / TEST_PART).unlink()
    assert "dataset/test has no record" in failure_of(run(resources, events=5, rate=1000.0))


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    return str(said.description)


def test_the_sensor_asks_for_some_minutes_at_its_rate(resources: dict[str, Any]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        asked = ask(resources, instance=instance)
    assert isinstance(asked, dg.RunRequest)
    config = asked.run_config["ops"][send_transactions.name]["config"]
    assert config == {"events": 2 * RUN_S, "rate": 2.0}
    assert dg.validate_run_config(simulate_traffic, asked.run_config)


def test_it_asks_for_the_next_when_one_has_ended_however_it_did(resources: dict[str, Any]) -> None:
    life = dg.DagsterEventType
    with dg.DagsterInstance.ephemeral() as instance:
        for end in (life.RUN_SUCCESS, life.RUN_FAILURE, life.RUN_CANCELED):
            run = instance.create_run_for_job(simulate_traffic)
            for event in (life.RUN_STARTING, life.RUN_START, life.RUN_CANCELING):
                assert "a run is under way" in str(ask(resources, instance=instance))
                instance.report_dagster_event(dg.DagsterEvent(event.value, run.job_name), run.run_id)
            assert "a run is under way" in str(ask(resources, instance=instance))
            instance.report_dagster_event(dg.DagsterEvent(end.value, run.job_name), run.run_id)
            assert isinstance(ask(resources, instance=instance), dg.RunRequest)


def test_before_anything_serves_it_says_what_to_run_first(resources: dict[str, Any], storage: Folder) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        asked = ask(resources, NothingServes, instance=instance)
        assert "run the job bootstrap first" in str(asked)
        (Path(storage.root) / TEST_PART).unlink()
        assert "dataset/test has no record" in str(ask(resources, instance=instance))
