"""The commands of docs/deploy.md, in the order of the page, in a checkout of their own, against the embedded AWS."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import client
from scripts.pages import blocks
from tests.deploy.cloud import Cloud
from tests.deploy.conftest import ACCOUNT, PROGRAMS, REGION, Checkout, outputs
from tests.docs import commands

PAGE = PROJECT_DIR / "docs" / "deploy.md"
COPIED = ("fraudit_dagster", "resources", "assets", "jobs", "scripts", "api", "glue", "notebooks", "dashboard", "infra")
FILES = (
    ".dockerignore",
    ".env.example",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements-uv.lock",
    "requirements.lock",
)
NOT_HERE = {
    "stream start": "Spark; tests/stream starts it",
    "stream stop": "it was not started",
    "stream restart": "it was not started",
}
"""Commands of the page that are not run here, and why."""

Run = Callable[..., list[tuple[str, str]]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """All of a checkout that the steps read."""
    folder = tmp_path_factory.mktemp("sequence")
    left_out = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.auto.tfvars*", "deployments")
    for name in COPIED:
        shutil.copytree(PROJECT_DIR / name, folder / name, ignore=left_out)
    for name in FILES:
        shutil.copy(PROJECT_DIR / name, folder / name)
    (folder / "dataset").mkdir()
    (folder / "dataset" / "creditcard.csv").write_text("Time,V1,Amount,Class\n0,0.5,1.0,0\n")
    return Checkout(folder)


@pytest.fixture(scope="module")
def run(checkout: Checkout, cloud: Cloud, local_cloud: dict[str, str]) -> Run:
    """Runs commands of fraudit in the checkout, and returns what each printed."""
    mark = secrets.token_hex(3)
    database = f"sequence_{mark}"
    with closing(
        psycopg2.connect(
            host=local_cloud["POSTGRES_HOST"],
            port=local_cloud["POSTGRES_PORT"],
            user=local_cloud["POSTGRES_USER"],
            password=local_cloud["POSTGRES_PASSWORD"],
        )
    ) as server:
        server.autocommit = True
        server.cursor().execute(f"create database {database}")
    buckets = {name: f"fraud-detection-{name}-{REGION}-{ACCOUNT}-{mark}" for name in ("data", "stream", "models")}
    settings = {
        "AWS_REGION": REGION,
        "FRAUDIT_STAGE": "dev",
        "FRAUDIT_SOLUTION_PREFIX": f"fraud-{mark}",
        "SPARK_DATA_BUCKET": buckets["data"],
        "SPARK_STREAMING_BUCKET": buckets["stream"],
        "MODEL_BUCKET": buckets["models"],
        "GLUE_JOB_NAME": f"fraudit-streaming-job-{mark}",
        "POSTGRES_DB": database,
        "POSTGRES_HOST": local_cloud["POSTGRES_HOST"],
        "POSTGRES_PORT": local_cloud["POSTGRES_PORT"],
        "FRAUDIT_WAREHOUSE_SECRETS": f"warehouse-{mark}",
        "FRAUDIT_API_KEYS_SECRET": f"api-keys-{mark}",
    }
    said = outputs()
    said["settings"] |= settings
    said["lambda_exec_role_arn"] = f"arn:aws:iam::{ACCOUNT}:role/fraud-detection-api-{mark}"
    said["function_names"] = {"app": f"api-{mark}", "authorize": f"api-{mark}-authorize"}
    said["repository_url"] = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/fraudit-{mark}"
    said["api_environment"] = {
        "solution_prefix": settings["FRAUDIT_SOLUTION_PREFIX"],
        "stream_name": "fraud-predictions-stream",
        "aws_region": REGION,
        "stage": "dev",
        "model_bucket": buckets["models"],
        "stream_bucket": buckets["stream"],
        "api_keys_secret": settings["FRAUDIT_API_KEYS_SECRET"],
        "alerts_topic_arn": "",
        "contract": "creditcard",
    }
    kinds = [("aws_s3_bucket", {"bucket": name}) for name in buckets.values()]
    kinds += [("aws_ecr_repository", {"name": f"fraudit-{mark}"})]
    wanted = {"outputs": said, "resources": [{"type": kind, "values": values} for kind, values in kinds]}
    (checkout.terraform / "wanted.json").write_text(json.dumps(wanted))
    dagster = f"dagster-{mark}"
    client("secretsmanager", region=REGION).create_secret(
        Name=dagster, SecretString=json.dumps({"username": f"dagster_{mark}"})
    )
    inside = {**settings, "DAGSTER_POSTGRES_DB": f"dagster_{mark}", "DAGSTER_POSTGRES_SECRET": dagster}
    python = [sys.executable, "-m", "fraudit_dagster.cli"]
    cloud.definitions |= {
        "fraudit-dev-dagster-database": ([sys.executable, "infra/dagster/database.py"], inside),
        "fraudit-dev-migrate": ([*python, "prepare"], inside),
        # What `fraudit smoke` needs is a whole world: tests/end_to_end runs it there (docs/local-world.md).
        "fraudit-dev-smoke": (["echo", "in place of fraudit smoke"], inside),
    }
    kept = {name: value for name, value in local_cloud.items() if not name.startswith(("POSTGRES", "AWS_REGION"))}
    environment = {
        **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
        **kept,
        "AWS_ENDPOINT_URL_LAMBDA": os.environ["AWS_ENDPOINT_URL_LAMBDA"],
        "AWS_ENDPOINT_URL_ECS": os.environ["AWS_ENDPOINT_URL_ECS"],
        "PATH": os.pathsep.join([str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(checkout.folder),
        "STAND_IN_APPLIES": str(PROGRAMS / "infrastructure.py"),
        "STAND_IN_DOCKER": str(checkout.folder / "docker.log"),
        "COLUMNS": "200",
    }

    def these(*lines: list[str]) -> list[tuple[str, str]]:
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / "commands.py"), json.dumps(lines)],
            cwd=checkout.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        parts = re.split(r"^\$ fraudit (.*)\n", done.stdout, flags=re.MULTILINE)
        return list(zip(parts[1::2], parts[2::2], strict=True))

    return these


def words_of(line: list[str]) -> list[str]:
    """The words of fraudit that a line of the page comes to, with nobody asked."""
    if line[0] == "fraudit":
        return line[1:]
    asked = "tf.apply" in line or "destroy" in line
    said = subprocess.run(
        ["make", "-n", *line[1:], *(["YES=1"] if asked else [])],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (found,) = re.findall(r"bin/fraudit (.*)", said)
    return str(found).split()


def lines_of(heading: str) -> list[list[str]]:
    """The commands of a part of the page, in its order."""
    lines = PAGE.read_text().splitlines()
    start = lines.index(f"## {heading}")
    end = next(place for place, line in enumerate(lines) if place > start and line.startswith("## "))
    asked = [line for block in blocks(PAGE) if start < block.line < end for line in commands.lines(block)]
    found = [words_of(line) for line in asked]
    return [words for words in found if " ".join(words) not in NOT_HERE]


def test_from_an_empty_account_to_the_smoke_test_twice_and_back(run: Run, checkout: Checkout) -> None:
    first = run(*lines_of("The first time"))
    assert [(words, said) for words, said in first if "fraudit: " in said] == []
    shown = dict(first)
    assert "+ .env: .env.example, mode 0600\n" in shown["deploy env"]
    assert "docker push: done" in shown["deploy image"]
    assert "role: fraud_writer logs in with the secret" in shown["deploy migrate"]
    assert json.loads((checkout.terraform / "image.auto.tfvars.json").read_text())["image_tag"] in shown["deploy image"]

    once = ("deploy init", "deploy migrate", "deploy smoke")
    steps = [words for words, _ in first if words.startswith("deploy ") and "--without-services" not in words]
    down = words_of(["make", "destroy"])
    *second, (_, refusal) = run(*(words.split() for words in steps if not words.startswith(once)), down)
    assert [(words, said) for words, said in second if not said.endswith("nothing to change\n")] == []

    with (checkout.folder / "api" / "app.py").open("a") as source:
        source.write("# newer\n")
    for repository in re.findall(r"delete-repository --force --repository-name ([^`]+)`", refusal):
        client("ecr", region=REGION).delete_repository(repositoryName=repository, force=True)
    emptying = re.findall(r"`fraudit (deploy empty-bucket \S+)`", refusal)
    assert emptying, refusal
    back = words_of(["make", "chalice.deploy", "ROLLBACK=1"])
    last = run(["deploy", "api"], back, *([*words.split(), "--yes"] for words in emptying), down, down)
    (_, newer), (_, undone), *_, (_, gone), (_, again) = last
    assert "version 2 answers /health: down" in newer, "as version 1 does: there is no manifest yet"
    assert undone.count("version 2 -> version 1\n") == len(("authorize", "app"))
    assert "Apply complete!" in gone
    assert again == "nothing to change\n"
