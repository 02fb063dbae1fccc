"""``fraudit deploy notebooks``, and what the notebook instance makes of it when it starts."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import nbformat
import pytest
from typer.testing import CliRunner

from fraudit_dagster.cli.app import app
from fraudit_dagster.cli.deploy import notebooks
from fraudit_dagster.cli.deploy.changes import NOTHING
from fraudit_dagster.settings import PROJECT_DIR, Settings, load_settings
from tests.conftest import unique

ON_START = PROJECT_DIR / "infra" / "terraform" / "modules" / "training" / "on_start.sh"
AWS = """#!{python}
# `aws s3 sync --only-show-errors s3://bucket/prefix/ folder`, as far as the instance asks for it.
import sys
import boto3
source, folder = sys.argv[-2:]
bucket, _, prefix = source.removeprefix("s3://").partition("/")
s3 = boto3.client("s3")
for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    s3.download_file(bucket, item["Key"], folder + "/" + item["Key"].removeprefix(prefix))
"""
CONDA = """#!/bin/bash
# `conda create --yes --quiet --prefix folder python=3.12`: a Python that notes what it is asked.
mkdir -p "$5/bin"
printf '#!/bin/bash\\necho "$@" >> %s/asked\\n' "$5" > "$5/bin/python"
chmod 755 "$5/bin/python"
"""


@pytest.fixture
def settings(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment with a bucket of its own."""
    variables = {**local_cloud, "MODEL_BUCKET": unique("models"), "FRAUDIT_SOLUTION_PREFIX": "lab"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = load_settings(env_file=None)
    s3: Any = boto3.client("s3")
    s3.create_bucket(Bucket=made.model_bucket, CreateBucketConfiguration={"LocationConstraint": made.aws_region})
    return made


def sync(*options: str) -> list[str]:
    done = CliRunner().invoke(app, ["deploy", "notebooks", *options])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def stored(settings: Settings) -> dict[str, bytes]:
    s3: Any = boto3.client("s3")
    found = s3.list_objects_v2(Bucket=settings.model_bucket).get("Contents", [])
    return {
        item["Key"].removeprefix(f"{notebooks.FOLDER}/"): s3.get_object(Bucket=settings.model_bucket, Key=item["Key"])[
            "Body"
        ].read()
        for item in found
    }


def test_everything_is_put_there_once(settings: Settings) -> None:
    shown = sync("--dry-run")
    assert all(line.startswith("+ ") for line in shown[:-1])
    assert stored(settings) == {}

    assert sync() == shown[:-1]
    assert sync() == [NOTHING]
    files = stored(settings)
    assert set(files) == {
        "train_xgboost.ipynb",
        "train_random_cut_forest.ipynb",
        "workbench.py",
        "contract.yaml",
        "settings.env",
        "requirements.txt",
        "requirements.lock",
        "requirements-uv.lock",
        "fraudit-0.1.0-py3-none-any.whl",
        "SHA256SUMS",
    }
    sums = {name: digest for digest, name in map(str.split, files["SHA256SUMS"].decode().splitlines())}
    assert sums == {name: hashlib.sha256(body).hexdigest() for name, body in files.items() if name != "SHA256SUMS"}
    assert "FRAUDIT_SOLUTION_PREFIX=lab" in files["settings.env"].decode().splitlines()
    assert "PASSWORD" not in files["settings.env"].decode()
    notebook = nbformat.reads(files["train_xgboost.ipynb"].decode(), as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_only_what_differs_is_uploaded_and_what_is_gone_is_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync()
    before = stored(settings)
    s3: Any = boto3.client("s3")
    s3.put_object(Bucket=settings.model_bucket, Key=f"{notebooks.FOLDER}/train_old.ipynb", Body=b"{}")
    changed = tmp_path / "own.yaml"
    changed.write_bytes(before["contract.yaml"] + b"# ours\n")
    monkeypatch.setenv("FRAUDIT_CONTRACT", str(changed))
    shown = [line.split(f"{notebooks.FOLDER}/")[1].split(":")[0] for line in sync()]
    assert shown == ["contract.yaml", "train_old.ipynb", "SHA256SUMS"]
    after = stored(settings)
    assert after["contract.yaml"] == changed.read_bytes()
    assert set(after) == set(before)
    assert sync() == [NOTHING]


def fetch_notebooks(home: Path, bucket: str) -> str:
    """The command that ``on_start.sh`` makes, for a home that is not the instance's."""
    script = ON_START.read_text().replace("${bucket}", bucket)
    command = script.split("fetch-notebooks <<'BASH'\n")[1].split("\nBASH\n")[0]
    return command.replace("/home/ec2-user", str(home))


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home as the instance has it, with programs that do as much of AWS's and conda's as is asked of them."""
    for path, program in (("bin/aws", AWS.format(python=sys.executable)), ("anaconda3/bin/conda", CONDA)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(program)
        (tmp_path / path).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_the_instance_takes_what_was_put_there_whole_or_not_at_all(settings: Settings, instance: Path) -> None:
    subprocess.run(["bash", "-n", ON_START], check=True)
    command = fetch_notebooks(instance, settings.model_bucket)
    target = instance / "SageMaker" / "fraudit"

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    sync()
    first = start()
    assert first.returncode == 0, first.stderr
    assert {path.name: path.read_bytes() for path in target.iterdir()} == stored(settings)
    asked = (instance / "SageMaker" / ".fraudit-environment" / "asked").read_text().splitlines()
    assert ["--require-hashes" in asked[0], "--constraint" in asked[1], "--no-deps" in asked[2]] == [True] * 3
    assert asked[3] == "-m ipykernel install --user --name fraudit"

    (target / "mine.ipynb").write_text("{}")
    s3: Any = boto3.client("s3")
    s3.put_object(Bucket=settings.model_bucket, Key=f"{notebooks.FOLDER}/contract.yaml", Body=b"half")
    second = start()
    assert second.returncode != 0
    assert "contract.yaml" in second.stdout + second.stderr
    assert (target / "contract.yaml").read_bytes() != b"half"
    assert (target / "mine.ipynb").exists()
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".fetched")] == []
