"""Whatever goes wrong on the way to a new model, it is named, and the champion goes on serving."""

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resources.sagemaker import SageMaker, TrainingResult
from tests.graph.conftest import Deployment, Outcome

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module")
def table(small_table: Path) -> pd.DataFrame:
    return pd.read_parquet(small_table)


@pytest.fixture(autouse=True)
def the_champion_serves_on(deployment: Deployment) -> Any:
    """What holds after each test, whatever it broke."""
    before = deployment.manifests.current()
    yield
    assert deployment.manifests.current() == before


def bootstrap(deployment: Deployment, dataset: object) -> Outcome:
    return deployment.run("bootstrap", config={"ops": {"raw__transactions": {"config": {"dataset": str(dataset)}}}})


def steps_started(outcome: Outcome) -> set[str]:
    return {event.step_key for event in outcome.result.all_events if event.is_step_start and event.step_key}


class FailingTraining(SageMaker):
    """Asks the container for an objective that does not exist."""

    def train(self, *, hyperparameters: Mapping[str, str], **job: Any) -> TrainingResult:
        wrong = {"objective": "binary:nonsense"} if "objective" in hyperparameters else {"num_trees": "none"}
        return super().train(hyperparameters={**hyperparameters, **wrong}, **job)


class StoppedByHand(SageMaker):
    """Somebody stops the job in the console as soon as it has begun."""

    def train(self, *, name: str, on_status: Callable[[str], object], **job: Any) -> TrainingResult:
        seen: list[str] = []

        def stop(status: str) -> None:
            on_status(status)
            if not seen:
                self._client.stop_training_job(TrainingJobName=name)
            seen.append(status)

        return super().train(name=name, on_status=stop, **job)


def impatient(deployment: Deployment) -> SageMaker:
    return SageMaker(**{**deployment.sagemaker.model_dump(), "endpoint_timeout_s": 0.001})


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(lambda d: FailingTraining(**d.sagemaker.model_dump()), "ended as Failed", id="failed training"),
        pytest.param(lambda d: StoppedByHand(**d.sagemaker.model_dump()), "ended as Stopped", id="stopped by hand"),
        pytest.param(impatient, "was not healthy after", id="an endpoint that never gets healthy"),
    ],
)
def test_what_fails_in_sagemaker_fails_the_run(
    deployment: Deployment, broken: Callable[[Deployment], SageMaker], said: str
) -> None:
    before = deployment.endpoints()
    outcome = deployment.run("retrain", sagemaker=broken(deployment))
    assert not outcome.success
    assert said in outcome.reasons
    assert "serving__manifest" not in steps_started(outcome)
    assert deployment.endpoints() == before, "nothing is left that costs money"


WORSE = {"ops": {"model__xgboost": {"config": {"num_round": 1, "max_depth": 1}}}}


def test_a_worse_challenger_is_rejected_its_endpoints_deleted_and_no_route_lets_it_serve(
    deployment: Deployment,
) -> None:
    before = deployment.endpoints()
    outcome = deployment.run("retrain", config=WORSE)
    assert not outcome.success
    assert "model/registration: check fit_to_serve" in outcome.reasons
    assert "worse than the champion" in outcome.reasons
    judged = deployment.judged()
    assert {deployment.sagemaker.approval(served.package_arn) for served in judged.candidates.values()} == {"Rejected"}
    assert deployment.endpoints() == before
    alone = deployment.run("promote")
    assert not alone.success
    assert "Rejected in the registry" in alone.reasons


def as_csv(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def missing_column(table: pd.DataFrame, folder: Path) -> Path:
    return as_csv(table.drop(columns=["V7", "V12"]), folder / "table.csv")


def text_in_a_number(table: pd.DataFrame, folder: Path) -> Path:
    amounts = table["Amount"].astype(object)
    amounts[3] = "12,50"
    return as_csv(table.assign(Amount=amounts), folder / "table.csv")


def no_frauds(table: pd.DataFrame, folder: Path) -> Path:
    return as_csv(table[table["Class"] == 0], folder / "table.csv")


def truncated_gzip(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "table.csv.gz"
    path.write_bytes(gzip.compress(table.to_csv(index=False).encode())[:-20_000])
    return path


def empty_file(_: pd.DataFrame, folder: Path) -> Path:
    path = folder / "table.csv"
    path.touch()
    return path


def negative_amounts(table: pd.DataFrame, folder: Path) -> Path:
    return as_csv(table.assign(Amount=-1 - table["Amount"]), folder / "table.csv")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(missing_column, ["columns missing: V7, V12"], id="missing column"),
        pytest.param(text_in_a_number, ["column Amount", "line 5", "'12,50'"], id="text in a number"),
        pytest.param(no_frauds, ["raw/transactions: check fit_to_train", "Class"], id="no frauds"),
        pytest.param(truncated_gzip, ["damaged or cut short"], id="truncated gzip"),
        pytest.param(empty_file, ["empty"], id="empty file"),
        pytest.param(negative_amounts, ["raw/transactions: check fit_to_train", "Amount"], id="out of range"),
    ],
)
def test_a_table_that_is_not_fit_stops_before_the_split(
    deployment: Deployment,
    table: pd.DataFrame,
    tmp_path: Path,
    spoil: Callable[[pd.DataFrame, Path], Path],
    said: list[str],
) -> None:
    outcome = bootstrap(deployment, spoil(table, tmp_path))
    assert not outcome.success
    for words in said:
        assert words in outcome.reasons
    assert "split" not in steps_started(outcome)


def test_what_is_not_fit_stays_so_whichever_job_comes_next(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path
) -> None:
    """A blocking check stops only its own run; ``retrain`` takes the raw table as it stands."""
    bootstrap(deployment, no_frauds(table, tmp_path))
    outcome = deployment.run("retrain")
    assert not outcome.success
    assert "raw/transactions did not pass its check" in outcome.reasons
    assert "model__xgboost" not in steps_started(outcome)
