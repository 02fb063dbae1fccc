"""``fraudit deploy image``: pushed once for each content, and known to the next apply."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudit_dagster.cli.deploy import image
from fraudit_dagster.cli.deploy.changes import run
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import client
from resources.images import ImagesError
from tests.conftest import unique
from tests.containers.dockerfile import Dockerfile
from tests.deploy.conftest import REGION, Checkout, outputs

Asked = Callable[[], list[list[str]]]


@pytest.fixture
def docker(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, local_cloud: dict[str, str]) -> Asked:
    """A checkout with a small image to build, and what Docker was asked."""
    dockerfile = """
ARG PYTHON_IMAGE=python:3.11
FROM ${PYTHON_IMAGE} AS base
FROM base AS packages
COPY requirements.lock \\
  README.md ./
FROM packages AS graph-packages
COPY fraudit_dagster fraudit_dagster
FROM packages AS local
COPY api api
FROM base AS graph
COPY --from=graph-packages /srv /srv
"""
    (checkout.folder / "Dockerfile").write_text(dockerfile)
    shutil.copy(PROJECT_DIR / ".dockerignore", checkout.folder)
    for name in ("requirements.lock", "README.md", "fraudit_dagster/a.py", "fraudit_dagster/sql/b.sql"):
        (checkout.folder / name).parent.mkdir(exist_ok=True, parents=True)
        (checkout.folder / name).write_text(name)
    log = checkout.folder.parent / "docker.log"
    for name, value in {**local_cloud, "AWS_REGION": REGION, "STAND_IN_DOCKER": str(log)}.items():
        monkeypatch.setenv(name, value)

    def asked() -> list[list[str]]:
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return asked


@pytest.fixture
def said(docker: Asked) -> Outputs:  # noqa: ARG001 - it has the environment
    """Outputs that name a repository of this test's own."""
    repository = unique("fraudit-dev")
    client("ecr", region=REGION).create_repository(repositoryName=repository)
    url = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{repository}"
    return Outputs.model_validate({**outputs(), "repository_url": url})


def pushed(said: Outputs, checkout: Checkout, *, dry_run: bool = False) -> int:
    return run(image.changes(said, project=checkout.folder), dry_run=dry_run)


def variables(checkout: Checkout) -> Path:
    return checkout.terraform / "image.auto.tfvars.json"


def test_it_is_built_pushed_and_known_and_the_second_time_nothing(
    said: Outputs, checkout: Checkout, docker: Asked, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pushed(said, checkout, dry_run=True) == 2
    assert docker() == []
    assert not variables(checkout).exists()
    pushed(said, checkout)
    tag = image.tag_of(checkout.folder)
    name, registry = f"{said.repository_url}:{tag}", said.repository_url.partition("/")[0]
    build, login, push = docker()
    assert build == [
        *("build", "--platform", "linux/amd64", "--target", "graph", "--tag", name, str(checkout.folder)),
        "",
    ]
    assert login[:-1] == ["login", "--username", "AWS", "--password-stdin", registry]
    assert login[-1]
    assert push == ["push", name, ""]
    assert json.loads(variables(checkout).read_text()) == {"image_tag": tag}
    capfd.readouterr()
    assert pushed(said, checkout) == 0
    assert capfd.readouterr().out == "nothing to change\n"


def test_the_password_is_in_no_command_and_in_no_line(
    said: Outputs, checkout: Checkout, docker: Asked, capfd: pytest.CaptureFixture[str]
) -> None:
    pushed(said, checkout)
    _, (*words, password), _ = docker()
    assert password not in words
    assert password not in capfd.readouterr().out


def test_an_image_that_is_there_already_is_only_made_known(said: Outputs, checkout: Checkout, docker: Asked) -> None:
    pushed(said, checkout)
    variables(checkout).unlink()
    before = len(docker())
    assert pushed(said, checkout) == 1
    assert len(docker()) == before


@pytest.mark.parametrize("fails", ["build", "login", "push"])
def test_where_docker_fails_terraform_is_told_nothing(
    fails: str, said: Outputs, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DOCKER_FAILS", fails)
    with pytest.raises(CommandError, match=f"docker {fails} failed with exit code 1"):
        pushed(said, checkout)
    assert not variables(checkout).exists()


def test_without_docker_it_says_so(said: Outputs, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="no docker on the PATH"):
        pushed(said, checkout)


def test_without_the_repository_it_says_which(said: Outputs, checkout: Checkout) -> None:
    client("ecr", region=REGION).delete_repository(repositoryName=said.repository_url.partition("/")[2])
    with pytest.raises(ImagesError, match="cannot look for the image fraudit-dev-"):
        pushed(said, checkout)


def test_the_tag_is_that_of_what_the_image_holds(docker: Asked, checkout: Checkout) -> None:  # noqa: ARG001 - it makes the files
    folder = checkout.folder
    tag = image.tag_of(folder)
    (folder / "api" / "other.py").write_text("of another image")
    (folder / "fraudit_dagster" / "__pycache__").mkdir()
    (folder / "fraudit_dagster" / "__pycache__" / "a.pyc").write_text("left out")
    (folder / "fraudit_dagster" / "a.py").touch()
    assert image.tag_of(folder) == tag
    for name in ("fraudit_dagster/sql/b.sql", "requirements.lock", "Dockerfile"):
        before = (folder / name).read_text()
        (folder / name).write_text(before + "\n")
        assert image.tag_of(folder) != tag, name
        (folder / name).write_text(before)
    (folder / "fraudit_dagster" / "sql" / "b.sql").rename(folder / "fraudit_dagster" / "sql" / "c.sql")
    assert image.tag_of(folder) != tag


def test_a_file_that_is_not_there_is_named(docker: Asked, checkout: Checkout) -> None:  # noqa: ARG001 - it makes the files
    (checkout.folder / "README.md").unlink()
    with pytest.raises(CommandError, match=r"copies README\.md, which is not in"):
        image.tag_of(checkout.folder)


def test_the_tag_is_that_of_all_that_the_dockerfile_copies() -> None:
    stages = Dockerfile.read(PROJECT_DIR / "Dockerfile").with_its_bases(image.TARGET)
    assert image.sources((PROJECT_DIR / "Dockerfile").read_text()) == {path for it in stages for path in it.copied()}
    assert re.fullmatch(r"[0-9a-f]{16}", image.tag_of())
