"""``fraudit deploy infrastructure`` and ``destroy``: what was shown is what is applied, and nothing goes that somebody may miss."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fraudit_dagster.cli.deploy import destroy, infrastructure
from fraudit_dagster.cli.deploy.changes import run
from fraudit_dagster.cli.deploy.outputs import Outputs, read_outputs
from fraudit_dagster.cli.errors import CommandError
from resources.aws import client
from tests.conftest import unique
from tests.deploy.conftest import REGION, Checkout, outputs

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"})


def wanted(checkout: Checkout, *resources: dict[str, Any], said: dict[str, Any] | None = None) -> None:
    """Say what an apply makes."""
    document = {"resources": list(resources), "outputs": said or outputs()}
    (checkout.terraform / "wanted.json").write_text(json.dumps(document))


def database(*, protected: bool) -> dict[str, Any]:
    return {"type": "aws_db_instance", "values": {"identifier": "fraudit-dev", "deletion_protection": protected}}


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout whose Terraform is initialised for dev, with the package there."""
    (checkout.folder / "dist").mkdir()
    (checkout.folder / "dist" / "api.zip").touch()
    wanted(checkout, database(protected=False))
    infrastructure.initialise("dev", project=checkout.folder)
    return checkout


def apply(
    checkout: Checkout, *, stage: str = "dev", services: bool = True, yes: bool = True, dry_run: bool = False
) -> int:
    made = infrastructure.changes(stage, services=services, yes=yes, project=checkout.folder)
    return run(made, dry_run=dry_run)


def take_down(checkout: Checkout, *, yes: bool = True, dry_run: bool = False) -> int:
    return run(destroy.changes("dev", yes=yes, project=checkout.folder), dry_run=dry_run)


def test_a_dry_run_plans_and_applies_nothing(ready: Checkout, capfd: pytest.CaptureFixture[str]) -> None:
    assert apply(ready, dry_run=True) == 1
    shown = capfd.readouterr().out
    assert "~ infrastructure of dev: as it is -> 1 to create\n" in shown
    assert "nothing was changed (dry run)" in shown
    assert not [call for call in ready.calls() if call.startswith("apply")]
    with pytest.raises(CommandError, match="nothing was applied yet"):
        read_outputs(project=ready.folder)


def test_what_was_planned_is_applied_and_the_second_time_nothing(
    ready: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    apply(ready)
    planned, applied = (next(it for it in ready.calls() if it.startswith(word)) for word in ("plan", "apply"))
    (plan,) = (word.removeprefix("-out=") for word in planned.split() if word.startswith("-out="))
    assert applied == f"apply -input=false {plan}"
    assert "-var-file=dev.tfvars" in planned
    assert read_outputs(project=ready.folder).stage == "dev"
    capfd.readouterr()
    assert apply(ready) == 0
    assert capfd.readouterr().out.endswith("nothing to change\n")


def test_without_services_none_is_to_run(ready: Checkout) -> None:
    apply(ready, services=False)
    assert "-var=running=false" in next(it for it in ready.calls() if it.startswith("plan"))


@pytest.mark.parametrize(("typed", "why"), [("prod\n", "'prod' is not dev"), ("", "nobody is here to type dev.*--yes")])
def test_without_consent_nothing_is_applied(
    typed: str, why: str, ready: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "typed").write_text(typed)
    with (tmp_path / "typed").open() as keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        with pytest.raises(CommandError, match=why):
            apply(ready, yes=False)
    assert not [call for call in ready.calls() if call.startswith("apply")]


def test_the_name_of_the_stage_is_consent(ready: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "typed").write_text("dev\n")
    with (tmp_path / "typed").open() as keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        apply(ready, yes=False)
    assert read_outputs(project=ready.folder).stage == "dev"


def test_before_it_is_initialised_it_says_how(checkout: Checkout) -> None:
    with pytest.raises(CommandError, match=r"make tf\.init STAGE=dev"):
        apply(checkout)


def test_the_state_of_another_stage_is_not_touched(ready: Checkout) -> None:
    with pytest.raises(CommandError, match=r"its key is 'fraudit/dev.tfstate', and 'fraudit/prod.tfstate' in prod"):
        apply(ready, stage="prod")
    assert [call.split()[0] for call in ready.calls()] == ["init"]


def test_a_stage_without_variables_is_named(ready: Checkout) -> None:
    with pytest.raises(CommandError, match=r"test\.tfvars; stages with variables: dev, prod"):
        apply(ready, stage="test")


def test_what_terraform_refuses_is_said(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_REFUSES", "AccessDenied")
    with pytest.raises(CommandError, match="terraform apply failed with exit code 1"):
        apply(ready)


@pytest.fixture
def account(local_cloud: dict[str, str], ready: Checkout) -> Iterator[Checkout]:
    """A checkout for an account on the small services: endpoints, of which none runs here, are moto's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**local_cloud, "AWS_REGION": REGION}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", local_cloud["AWS_ENDPOINT_URL"])
        yield ready


@pytest.fixture
def made(account: Checkout) -> tuple[Checkout, str, str]:
    """A deployment with a bucket and a repository, and their names."""
    bucket, repository = unique("models"), unique("fraudit-dev")
    client("s3", region=REGION).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    client("ecr", region=REGION).create_repository(repositoryName=repository)
    said = outputs()
    said["settings"] |= {"MODEL_BUCKET": bucket, "FRAUDIT_SOLUTION_PREFIX": unique("fraud")}
    del said["settings"]["SPARK_DATA_BUCKET"]
    wanted(
        account,
        database(protected=True),
        {"type": "aws_s3_bucket", "values": {"bucket": bucket}},
        {"type": "aws_ecr_repository", "values": {"name": repository}},
        said=said,
    )
    apply(account)
    return account, bucket, repository


def test_what_refuses_to_go_is_named_with_the_command_that_makes_way(made: tuple[Checkout, str, str]) -> None:
    checkout, bucket, repository = made
    client("s3", region=REGION).put_object(Bucket=bucket, Key="serving/manifest.json", Body=b"{}")
    client("ecr", region=REGION).put_image(repositoryName=repository, imageManifest=MANIFEST, imageTag="a")
    with pytest.raises(CommandError) as refusal:
        take_down(checkout)
    lines = str(refusal.value).splitlines()
    assert lines[0] == "nothing was removed, since this is in the way:"
    assert "database fraudit-dev is protected" in lines[1]
    assert f"`fraudit deploy empty-bucket {bucket}`" in lines[2]
    assert f"repository {repository} holds 1 images: `aws ecr delete-repository" in lines[3]
    assert not [call for call in checkout.calls() if "-destroy" in call]


def test_an_empty_deployment_goes_and_the_second_time_nothing(
    made: tuple[Checkout, str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    checkout, bucket, _ = made
    s3 = client("s3", region=REGION)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    s3.put_object(Bucket=bucket, Key="a", Body=b"2")
    s3.delete_object(Bucket=bucket, Key="a")
    said = read_outputs(project=checkout.folder)
    assert run(destroy.emptying(said, bucket, yes=True), dry_run=True) == 1
    assert f"- all of bucket {bucket}: 3 objects and old versions\n" in capfd.readouterr().out
    run(destroy.emptying(said, bucket, yes=True), dry_run=False)
    assert "Versions" not in s3.list_object_versions(Bucket=bucket)
    assert run(destroy.emptying(said, bucket, yes=True), dry_run=False) == 0
    state = json.loads((checkout.terraform / ".terraform" / "applied.json").read_text())
    state["resources"][0] = database(protected=False)
    (checkout.terraform / ".terraform" / "applied.json").write_text(json.dumps(state))
    take_down(checkout, dry_run=True)
    assert read_outputs(project=checkout.folder) == said
    assert take_down(checkout) == 1
    assert "3 to delete" in capfd.readouterr().out
    assert take_down(checkout) == 0


def test_an_endpoint_that_would_go_on_costing_is_in_the_way(made: tuple[Checkout, str, str]) -> None:
    checkout, _, _ = made
    said = read_outputs(project=checkout.folder)
    name = f"{said.settings['FRAUDIT_SOLUTION_PREFIX']}-xgb-1"
    sagemaker = client("sagemaker", region=REGION)
    image = "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.0-5"
    role = "arn:aws:iam::000000000000:role/fraud-detection-sagemaker"
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=role,
        PrimaryContainer={"Image": image, "ModelDataUrl": "s3://nowhere/model.tar.gz"},
    )
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(CommandError, match=f"aws sagemaker delete-endpoint --endpoint-name {name}"):
        take_down(checkout)


def test_only_a_bucket_of_the_deployment_is_emptied() -> None:
    with pytest.raises(CommandError, match="somebody-elses is no bucket of this deployment"):
        run(destroy.emptying(Outputs.model_validate(outputs()), "somebody-elses", yes=True), dry_run=False)
