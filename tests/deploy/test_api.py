"""``fraudit deploy api``: both functions go live with a version that answers, or neither does."""

import io
import zipfile
from collections.abc import Callable

import pytest
from dotenv import dotenv_values

from fraudit_dagster.cli.deploy import api
from fraudit_dagster.cli.deploy.changes import run
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from resources.aws import client
from resources.functions import LIVE, FunctionsError
from tests.conftest import unique
from tests.deploy.cloud import Cloud
from tests.deploy.conftest import REGION, Checkout, outputs

HEALTHY = '{"statusCode": 200, "body": "{\\"status\\": \\"%s\\"}"}'


def package(*, status: str = "ok", stranger: str = "nobody", app: str | None = None, remark: str = "") -> bytes:
    """A package whose functions answer as they are told to here."""
    body = app or f"return {HEALTHY % status}"
    source = f"# {remark}\ndef app(event, context):\n    {body}\n\ndef authorize(event, context):\n    return {{'principalId': '{stranger}'}}\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("app.py"), source)
    return made.getvalue()


@pytest.fixture
def deployed(cloud: Cloud) -> Outputs:
    """Both functions as Terraform makes them, with a first package."""
    cloud.refuses.clear()
    trust = '{"Version": "2012-10-17", "Statement": []}'
    iam, functions = client("iam", region=REGION), client("lambda", region=REGION)
    role = iam.create_role(RoleName=unique("api"), AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    said = outputs()
    said["function_names"] = {"app": unique("app"), "authorize": unique("authorize")}
    for handler, name in said["function_names"].items():
        functions.create_function(
            FunctionName=name,
            Role=role,
            Runtime="python3.13",
            Handler=f"app.{handler}",
            Code={"ZipFile": package()},
            Publish=True,
        )
        functions.create_alias(FunctionName=name, Name=LIVE, FunctionVersion="1")
    return Outputs.model_validate(said)


@pytest.fixture
def live(deployed: Outputs) -> Callable[[], list[str]]:
    """The versions that callers reach, of the authorizer and the app."""

    def ask() -> list[str]:
        functions = client("lambda", region=REGION)
        names = (deployed.function_names.authorize, deployed.function_names.app)
        return [functions.get_alias(FunctionName=name, Name=LIVE)["FunctionVersion"] for name in names]

    return ask


def deploy(said: Outputs, checkout: Checkout, body: bytes, *, dry_run: bool = False) -> int:
    return run(api.changes(said, body, project=checkout.folder), dry_run=dry_run)


def test_the_first_time_only_the_address_is_new(
    deployed: Outputs, checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(deployed, checkout, package()) == 1
    assert capsys.readouterr().out.startswith("~ .env CHALICE_API_URL: http://127.0.0.1:8000 -> https://abc.")
    assert dotenv_values(checkout.folder / ".env")["CHALICE_API_URL"] == deployed.settings["CHALICE_API_URL"]
    assert deploy(deployed, checkout, package()) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_a_new_package_goes_live_once_both_functions_answer(
    deployed: Outputs, checkout: Checkout, live: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    body = package(remark="new")
    deploy(deployed, checkout, body, dry_run=True)
    assert live() == ["1", "1"]
    assert f"~ alias live of {deployed.function_names.app}: version 1 -> the new version\n" in capsys.readouterr().out
    deploy(deployed, checkout, body)
    assert live() == ["2", "2"]
    shown = capsys.readouterr().out
    assert "  version 2 lets no stranger in\n" in shown
    assert "  version 2 answers /health: ok\n" in shown
    order = [
        shown.index(f"alias live of {name}")
        for name in (deployed.function_names.authorize, deployed.function_names.app)
    ]
    assert order == sorted(order)
    assert deploy(deployed, checkout, body) == 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (package(app="raise RuntimeError('no such table')"), "RuntimeError: no such table"),
        (package(status="down"), r"answers \{\"status\": \"down\"\}, and version 1 is ok"),
        (package(app="return {'statusCode': 500, 'body': ''}"), r"asked for /health, it answers \{\"statusCode\": 500"),
        (package(stranger="ab12cd34"), "a key that nobody made"),
    ],
    ids=["fails", "down", "error", "stranger"],
)
def test_a_version_that_is_not_well_does_not_go_live(
    body: bytes, why: str, deployed: Outputs, checkout: Checkout, live: Callable[[], list[str]]
) -> None:
    with pytest.raises((CommandError, FunctionsError), match=why):
        deploy(deployed, checkout, body)
    assert live() == ["1", "1"]


def test_where_nothing_is_served_yet_a_version_that_is_down_is_no_worse(
    deployed: Outputs, checkout: Checkout, live: Callable[[], list[str]]
) -> None:
    functions = client("lambda", region=REGION)
    for name in (deployed.function_names.app, deployed.function_names.authorize):
        functions.update_function_code(FunctionName=name, ZipFile=package(status="down"), Publish=True)
        functions.update_alias(FunctionName=name, Name=LIVE, FunctionVersion="2")
    deploy(deployed, checkout, package(status="down", remark="new"))
    assert live() == ["3", "3"]


def test_a_new_configuration_goes_live_with_the_same_code(
    deployed: Outputs, checkout: Checkout, live: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(deployed, checkout, package())
    client("lambda", region=REGION).update_function_configuration(
        FunctionName=deployed.function_names.app, Environment={"Variables": {"contract": "other"}}
    )
    capsys.readouterr()
    deploy(deployed, checkout, package())
    assert "the same code as Terraform configures it now" in capsys.readouterr().out
    assert live() == ["1", "2"]


@pytest.mark.parametrize("operation", ["PUT .*{app}/code", "PUT .*{authorize}/code"])
def test_an_upload_that_is_refused_moves_nothing(
    operation: str, deployed: Outputs, checkout: Checkout, cloud: Cloud, live: Callable[[], list[str]]
) -> None:
    names = deployed.function_names.model_dump()
    cloud.refuses[operation.format(**names)] = "Unzipped size must be smaller than 262144000 bytes"
    with pytest.raises(FunctionsError, match=r"cannot publish .*: Unzipped size must be smaller"):
        deploy(deployed, checkout, package(remark="large"))
    assert live() == ["1", "1"]


def test_the_way_back_is_the_version_before_that_answers(
    deployed: Outputs, checkout: Checkout, live: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FunctionsError):
        deploy(deployed, checkout, package(app="raise RuntimeError"))
    deploy(deployed, checkout, package(remark="new"))
    assert live() == ["3", "3"]
    run(api.rollback(deployed), dry_run=True)
    assert live() == ["3", "3"]
    run(api.rollback(deployed), dry_run=False)
    assert live() == ["2", "1"], "the app's second version has never answered"
    assert f"~ alias live of {deployed.function_names.app}: version 3 -> version 1\n" in capsys.readouterr().out


def test_without_a_version_before_there_is_no_way_back(deployed: Outputs) -> None:
    with pytest.raises(CommandError, match="has no version before 1, which is live"):
        run(api.rollback(deployed), dry_run=False)


def test_without_the_alias_it_says_what_is_missing(deployed: Outputs, checkout: Checkout) -> None:
    client("lambda", region=REGION).delete_alias(FunctionName=deployed.function_names.app, Name=LIVE)
    with pytest.raises(FunctionsError, match=r"cannot look at .*:live"):
        deploy(deployed, checkout, package())
