"""A checkout of its own for each test, and stand-ins for the programs that the steps run."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import client
from tests.deploy.cloud import GROUP, Cloud, running

PROGRAMS = Path(__file__).with_name("programs")
ACCOUNT = "123456789012"
REGION = "eu-west-1"


def outputs() -> dict[str, Any]:
    """What ``outputs.tf`` says, of a deployment that is nowhere."""
    return {
        "settings": {
            "AWS_REGION": REGION,
            "FRAUDIT_STAGE": "dev",
            "KINESIS_STREAM_NAME": "fraud-predictions-stream",
            "MODEL_BUCKET": f"fraud-detection-models-{REGION}-{ACCOUNT}",
            "SPARK_DATA_BUCKET": f"fraud-detection-data-bucket-{REGION}-{ACCOUNT}",
            "LAMBDA_EXEC_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/fraud-detection-api",
            "CHALICE_API_URL": f"https://abc.execute-api.{REGION}.amazonaws.com/api",
            "POSTGRES_HOST": "fraudit-dev.example.rds.amazonaws.com",
            "POSTGRES_PORT": "5432",
        },
        "owner_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1",
        "lambda_exec_role_arn": f"arn:aws:iam::{ACCOUNT}:role/fraud-detection-api",
        "api_environment": {"stream_name": "fraud-predictions-stream", "aws_region": REGION, "contract": "creditcard"},
        "function_names": {"app": "ml-inference-api-dev", "authorize": "ml-inference-api-dev-authorize"},
        "repository_url": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/fraudit-dev",
        "run_once": {
            "cluster": "fraudit-dev",
            "subnets": ["subnet-1"],
            "security_group": "sg-1",
            "task_prefix": "fraudit-dev",
        },
        "door": {"instance_id": "i-1", "domain": "fraudit-dev.internal"},
        "notebook_name": None,
    }


@dataclass(frozen=True)
class Checkout:
    """Files of a checkout, and what its Terraform was asked."""

    folder: Path

    @property
    def terraform(self) -> Path:
        return self.folder / "infra" / "terraform"

    def calls(self) -> list[str]:
        return (self.terraform / "calls.log").read_text().splitlines()

    def applied(self, said: dict[str, Any]) -> None:
        """Let Terraform say these outputs."""
        (self.terraform / ".terraform").mkdir(exist_ok=True)
        (self.terraform / ".terraform" / "applied.json").write_text(json.dumps({"outputs": said}))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout in which nothing was applied yet, with the stand-ins first on the PATH."""
    folder = tmp_path / "checkout"
    for name in (".env.example", "api/.chalice/config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_DIR / name, folder / name)
    made = Checkout(folder)
    made.terraform.mkdir(parents=True)
    for file in (PROJECT_DIR / "infra" / "terraform").glob("*.tf*"):
        if file.is_file() and "auto" not in file.name:
            shutil.copy(file, made.terraform)
    # The stand-ins are run by the Python that runs the tests.
    first = (str(PROGRAMS), str(Path(sys.executable).parent))
    monkeypatch.setenv("PATH", os.pathsep.join([*first, os.environ["PATH"]]))
    return made


@pytest.fixture(scope="module")
def cloud(local_cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The embedded AWS with functions and tasks that run, as the environment names it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**local_cloud, "AWS_REGION": REGION}.items():
            patch.setenv(name, value)
        made = Cloud(local_cloud["AWS_ENDPOINT_URL"], tmp_path_factory.mktemp("cloud"), local_cloud)
        logs = client("logs", region=REGION)
        if not logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
            logs.create_log_group(logGroupName=GROUP)
        with running(made) as url:
            patch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            patch.setenv("AWS_ENDPOINT_URL_ECS", url)
            yield made
