"""What steps print is kept in S3 by dagster-aws, as ``infra/local/dagster.yaml`` says."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fraudit_dagster.cli.world import dagster_yaml
from resources.storage import Storage

QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


@dg.op
def talk() -> None:
    """Print to both streams."""
    sys.stdout.write("a word\n")
    sys.stderr.write("an aside\n")


@dg.job
def talking() -> None:
    """One step."""
    talk()


@pytest.fixture
def instance(tmp_path: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(dagster_yaml(tmp_path, model_bucket=storage.model_bucket))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def captured(instance: dg.DagsterInstance) -> list[str]:
    """Run the job and return the key of what it printed."""
    result = talking.execute_in_process(instance=instance, run_config=QUIET)
    assert result.success
    (event,) = [event for event in result.all_events if event.event_type_value == "LOGS_CAPTURED"]
    return [result.run_id, "compute_logs", event.logs_captured_data.file_key]


def test_what_a_step_printed_comes_back_from_s3(
    instance: dg.DagsterInstance, storage: Storage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with capfd.disabled():
        key = captured(instance)
    shutil.rmtree(tmp_path / "storage" / key[0])
    uri = f"s3://{storage.model_bucket}/dagster/storage/{'/'.join(key)}"
    assert b"a word\n" in storage.read(f"{uri}.out")
    logs = instance.compute_log_manager.get_log_data(key)
    assert logs.stdout is not None
    assert b"a word\n" in logs.stdout
    assert logs.stderr is not None
    assert b"an aside\n" in logs.stderr
    where = instance.compute_log_manager.get_log_metadata(key)
    assert where.stdout_location == f"{uri}.out"


@pytest.mark.usefixtures("nobody_answers")
def test_a_run_goes_on_where_s3_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(dagster_yaml(tmp_path, model_bucket="models"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        key = captured(instance)
        messages = [entry.dagster_event.message for entry in instance.all_logs(key[0]) if entry.dagster_event]
    assert "Exception while cleaning up compute log capture" in messages
