"""A small deployment whose graph has really run once: its models are trained, its endpoints answer, its manifest serves."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.records import Algorithm, Evaluation, Registration, ServedModel
from fraudit_dagster.settings import Settings, load_settings
from fraudit_dagster.synthetic import write_synthetic
from jobs.failures import reasons_of
from resources.manifests import Manifests
from resources.records import RecordIOManager
from resources.sagemaker import SageMaker
from resources.storage import Storage
from tests.conftest import unique

REGISTRATION = dg.AssetKey(["model", "registration"])
EVALUATION = dg.AssetKey(["model", "evaluation"])
NARROW = Path(__file__).with_name("narrow.yaml")
ALGORITHMS: tuple[Algorithm, ...] = ("xgboost", "random_cut_forest")


@dataclass(frozen=True)
class Outcome:
    """What became of a run: whether it succeeded, and why not, as an alert would say it."""

    success: bool
    reasons: str
    result: dg.ExecuteInProcessResult


@dataclass(frozen=True)
class Deployment:
    """Buckets and a solution prefix of its own on the embedded AWS."""

    settings: Settings
    storage: Storage
    sagemaker: SageMaker
    manifests: Manifests
    records: RecordIOManager

    def run(self, job: str, *, config: dict[str, Any] | None = None, **overrides: Any) -> Outcome:
        """Run a job as the UI does, with some of the resources replaced."""
        definitions = build_defs(self.settings, resource_overrides=overrides)
        with dg.DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance, run_config=config or {}, raise_on_error=False
            )
            return Outcome(result.success, "\n".join(reasons_of(instance, result.run_id)), result)

    def serving(self) -> str:
        """The version that serves."""
        current = self.manifests.current()
        assert current is not None
        return current.version

    def judged(self) -> Evaluation:
        """The newest evaluation."""
        return self.records.load(EVALUATION, Evaluation)

    def candidate(self, *, status: str = "Approved", deployed: bool = True, **changed: Any) -> Evaluation:
        """Register and deploy the champion's artefacts as new versions, judged as if just compared with what serves.

        Where the gate does not get as far as its endpoints, they need not be there: ``deployed=False``.
        """
        current = self.manifests.current()
        assert current is not None
        candidates: dict[Algorithm, ServedModel] = {}
        for algorithm, role in zip(ALGORITHMS, ("fraud_classifier", "anomaly_detector"), strict=True):
            model = self.sagemaker.package(algorithm, current.document[role]["model_version"])
            arn, version = self.sagemaker.register(
                algorithm=algorithm,
                image=model.image,
                artifact_uri=model.artifact_uri,
                token=secrets.token_hex(8),
                properties={},
            )
            endpoint = f"not-deployed-{algorithm}-{version}"
            if deployed:
                endpoint = self.sagemaker.deploy(
                    algorithm=algorithm, version=version, image=model.image, artifact_uri=model.artifact_uri
                )
            self.sagemaker.set_approval(arn, status=status, reason="a test", properties={})
            candidates[algorithm] = ServedModel(
                algorithm=algorithm, endpoint=endpoint, package_arn=arn, version=version
            )
        champion = {
            "manifest_version": current.version,
            "worse": False,
            "difference": 0.0,
            "interval": (0.0, 0.0),
            "margin": 0.02,
        }
        judged = self.judged().model_copy(update={"candidates": candidates, "champion": champion} | changed)
        record = Registration.model_validate({"status": status, "reason": "a test", "evaluation": judged})
        self.storage.write(
            f"s3://{self.storage.model_bucket}/graph/model/registration.json", record.model_dump_json().encode()
        )
        return judged

    def endpoints(self) -> set[str]:
        """Names of the endpoints that are there and are not on their way out."""
        return {endpoint.name for endpoint in self.sagemaker.endpoints() if endpoint.status != "Deleting"}

    def close(self) -> None:
        """End the processes of its endpoints, which would run until the last test of all has ended."""
        for name in self.endpoints():
            self.sagemaker.retire(name)


def new_deployment(patch: pytest.MonkeyPatch, local_cloud: dict[str, str], **variables: str) -> Deployment:
    """Make the buckets of a deployment with a narrow contract, and point this process's environment to it."""
    import boto3

    for name, value in local_cloud.items():
        patch.setenv(name, value)
    for name in ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET"):
        patch.setenv(name, unique("bucket"))
    patch.setenv("FRAUDIT_SOLUTION_PREFIX", unique("graph"))
    patch.setenv("FRAUDIT_CONTRACT", str(NARROW))
    for name, value in variables.items():
        patch.setenv(name, value)
    settings = load_settings(env_file=None)
    s3: Any = boto3.client("s3")
    for bucket in (settings.data_bucket, settings.stream_bucket, settings.model_bucket):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": settings.aws_region})
    storage = Storage(
        region=settings.aws_region,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
    )
    return Deployment(
        settings=settings,
        storage=storage,
        sagemaker=SageMaker(
            region=settings.aws_region, role_arn=settings.sagemaker_role_arn, solution_prefix=settings.solution_prefix
        ),
        manifests=Manifests(storage=storage),
        records=RecordIOManager(storage=storage),
    )


@pytest.fixture(scope="module")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic table in the schema of creditcard."""
    path = tmp_path_factory.mktemp("table") / "small.parquet"
    write_synthetic(path, rows=6_000, frauds=180, seed=3)
    return path


@pytest.fixture(scope="module")
def deployment(
    local_cloud: dict[str, str], small_table: Path, spark: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A deployment on which ``bootstrap`` has run."""
    del spark  # the one session of this process: the graph's own would be the same
    with pytest.MonkeyPatch.context() as patch:
        made = new_deployment(
            patch,
            local_cloud,
            FRAUDIT_DATASET=str(small_table),
            FRAUDIT_WORK_DIR=str(tmp_path_factory.mktemp("work")),
        )
        outcome = made.run("bootstrap")
        assert outcome.success, outcome.reasons
        yield made
        made.close()
