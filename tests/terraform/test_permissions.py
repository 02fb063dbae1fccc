"""What is written of the permissions that components need: complete by what the code names, and the same for every run."""

import json
from pathlib import Path

import pytest

from fraudit_dagster.settings import PROJECT_DIR
from scripts.permissions import COMPONENTS, PERMISSIONS, Needs, read_trail, whatever_the_run
from tests.terraform.calls import named_in

NEEDS: Needs = json.loads(PERMISSIONS.read_text())
CODE = {
    "api": ("api/chalicelib",),
    "glue": ("glue",),
    "dagster prepare operator": ("assets", "jobs", "resources"),
    "dashboard": ("dashboard",),
}
"""Folders with the calls of components; what ``resources`` can do is used by several."""
OTHERWISE = {
    "describe_stream": "a method of the API's own, whose call is DescribeStreamSummary",
    "get_job": "of whoever deploys the stream job",
    "list_images": "ECR's, of whoever takes a deployment down",
    "list_model_packages": "SageMaker.packages, which no job, command or page asks for",
    "list_object_versions": "of whoever takes a deployment down",
}
"""Methods that were not recorded, and why that is right."""


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("arn:aws:kinesis:eu-west-1:123456789012:stream/s", "arn:aws:kinesis:::stream/s"),
        (
            "arn:aws:s3:::fraud-detection-models-eu-west-1-210987654321/graph/dataset/test.json",
            "arn:aws:s3:::fraud-detection-models/graph/*",
        ),
        (
            "arn:aws:s3:::fraud-detection-models-eu-west-1/serving/manifest.json",
            "arn:aws:s3:::fraud-detection-models/serving/manifest.json",
        ),
        (
            "arn:aws:s3:::fraud-detection-models-eu-west-1/serving/manifests/2026-11-23T10:00:00Z-3f2a.json",
            "arn:aws:s3:::fraud-detection-models/serving/manifests/*",
        ),
        (
            "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/fraud-detection-xgb-7",
            "arn:aws:sagemaker:::endpoint/fraud-detection-xgb-*",
        ),
        (
            "arn:aws:sagemaker:eu-west-1:123456789012:model-package/fraud-detection-rcf/7",
            "arn:aws:sagemaker:::model-package/fraud-detection-rcf/*",
        ),
        (
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:fraudit/api-keys-aB3dE6",
            "arn:aws:secretsmanager:::secret:fraudit/api-keys-??????",
        ),
        ("*", "*"),
    ],
)
def test_a_resource_is_named_the_same_in_every_account_and_run(resource: str, name: str) -> None:
    assert whatever_the_run(resource) == name


def test_only_components_are_asked_for(tmp_path: Path) -> None:
    call = {"action": "sns:Publish", "resource": "arn:aws:sns:eu-west-1:123456789012:fraud-alerts"}
    lines = [json.dumps({"caller": caller, **call}) for caller in ("api", "api", "resources")]
    (tmp_path / "sns.jsonl").write_text("\n".join(lines))
    assert read_trail(tmp_path.iterdir()) == {"api": {"sns:Publish": ["arn:aws:sns:::fraud-alerts"]}}


def test_every_component_was_recorded() -> None:
    assert list(NEEDS) == sorted(COMPONENTS.values())


@pytest.mark.parametrize("components", CODE, ids=str)
def test_every_call_that_the_code_names_was_recorded(components: str) -> None:
    recorded = {action for component in components.split() for action in NEEDS[component]}
    named = {name: actions for folder in CODE[components] for name, actions in named_in(PROJECT_DIR / folder).items()}
    silent = {name for name, actions in named.items() if not recorded.intersection(actions)} - set(OTHERWISE)
    assert silent == set(), "make these calls in a world with LOCALAWS_TRAIL, then `make permissions`"


@pytest.mark.parametrize(("component", "folders"), [("api", ("api",)), ("dagster", ("assets", "jobs", "resources"))])
def test_nothing_is_recorded_that_the_code_no_longer_names(component: str, folders: tuple[str, ...]) -> None:
    named = {action for folder in folders for actions in named_in(PROJECT_DIR / folder).values() for action in actions}
    named |= {"iam:PassRole", "sagemaker:AddTags", "kinesis:DescribeStreamSummary"}
    assert set(NEEDS[component]) - named == set()
