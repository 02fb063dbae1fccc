"""Models, configurations and groups are listed in pages; what is created with tags has them until it is deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localaws_sagemaker.cloud import ROLE, XGBOOST, Cloud

ARN = "arn:aws:sagemaker:eu-west-1:123456789012"
TAGS = [{"Key": "team", "Value": "fraud"}, {"Key": "cost-centre", "Value": "7"}]


def in_order(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


@pytest.fixture(scope="module")
def models(cloud: Cloud) -> Iterator[list[str]]:
    """Return the names of three models, each with a configuration and a package group of its name."""
    names = ["listed-a", "listed-b", "listed-c"]
    uri = cloud.put_model("listed/model.tar.gz", {"xgboost-model": b"not a model"})
    for name in names:
        cloud.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": uri},
            ExecutionRoleArn=ROLE,
            Tags=TAGS,
        )
        variant = {
            "VariantName": "one",
            "ModelName": name,
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
        }
        cloud.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=TAGS)
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName=name, Tags=TAGS)
    yield names
    for name in names:
        cloud.sagemaker.delete_model(ModelName=name)
        cloud.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName=name)


@pytest.mark.parametrize(
    ("action", "member", "name"),
    [
        ("list_models", "Models", "ModelName"),
        ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
        ("list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName"),
    ],
)
def test_lists_come_in_pages(cloud: Cloud, models: list[str], action: str, member: str, name: str) -> None:
    def listed(**params: Any) -> list[list[str]]:
        pages = cloud.sagemaker.get_paginator(action).paginate(
            NameContains="listed", PaginationConfig={"PageSize": 2}, **params
        )
        return [[item[name] for item in page[member]] for page in pages]

    assert listed(SortBy="Name", SortOrder="Descending") == [["listed-c", "listed-b"], ["listed-a"]]
    assert listed(SortBy="CreationTime", SortOrder="Ascending") == [models[:2], models[2:]]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert listed(CreationTimeBefore=tomorrow, CreationTimeAfter=tomorrow - timedelta(days=2)) != [[]]
    assert listed(CreationTimeAfter=tomorrow) == listed(CreationTimeBefore=tomorrow - timedelta(days=2)) == [[]]


def test_jobs_are_listed_by_when_they_last_changed(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    name, changed = xgboost_job["TrainingJobName"], xgboost_job["LastModifiedTime"]

    def listed(**moments: datetime) -> list[str]:
        found = cloud.sagemaker.list_training_jobs(NameContains=name, MaxResults=100, **moments)
        return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]

    day = timedelta(days=1)
    assert name in listed(LastModifiedTimeAfter=changed - day, LastModifiedTimeBefore=changed + day)
    assert name not in listed(LastModifiedTimeAfter=changed + day)
    assert name not in listed(LastModifiedTimeBefore=changed - day)


@pytest.mark.parametrize("kind", ["model", "endpoint-config", "model-package-group"])
def test_what_is_created_with_tags_has_them(cloud: Cloud, models: list[str], kind: str) -> None:
    tags = cloud.sagemaker.list_tags(ResourceArn=f"{ARN}:{kind}/{models[0]}")["Tags"]
    assert tags == in_order({"team": "fraud", "cost-centre": "7"})


def test_tags_are_added_changed_paged_and_removed(cloud: Cloud, models: list[str]) -> None:
    arn = f"{ARN}:model/{models[1]}"
    added = [{"Key": "team", "Value": "risk"}, *({"Key": f"key-{number:02}", "Value": ""} for number in range(48))]
    assert len(cloud.sagemaker.add_tags(ResourceArn=arn, Tags=added)["Tags"]) == 50
    with pytest.raises(ClientError, match="at most 50 tags, not 51"):
        cloud.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "one-more", "Value": ""}])
    cloud.sagemaker.delete_tags(ResourceArn=arn, TagKeys=[f"key-{number:02}" for number in range(48)] + ["nothing"])
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == in_order({"team": "risk", "cost-centre": "7"})


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        pytest.param([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}], "once only", id="twice"),
        pytest.param([{"Key": "aws:mine", "Value": "1"}], "may not begin with aws:", id="reserved"),
        pytest.param([{"Key": "a", "Value": "x" * 257}], "less than or equal to 256", id="long"),
    ],
)
def test_wrong_tags_refuse_what_is_created_with_them(cloud: Cloud, tags: list[dict[str, str]], problem: str) -> None:
    with pytest.raises(ClientError, match=problem):
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName="wrong-tags", Tags=tags)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="wrong-tags")


def test_tags_go_with_what_they_were_given_to(cloud: Cloud) -> None:
    for tags in (TAGS, []):
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName="short-lived", Tags=tags)
        arn = f"{ARN}:model-package-group/short-lived"
        assert len(cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"]) == len(tags)
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="short-lived")
        with pytest.raises(ClientError, match="Could not find resource"):
            cloud.sagemaker.list_tags(ResourceArn=arn)


def test_a_group_that_holds_packages_is_not_deleted(cloud: Cloud) -> None:
    """A package has the tags of its group, and takes none of its own when it is created."""
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="held")
    request: dict[str, Any] = {
        "ModelPackageGroupName": "held",
        "InferenceSpecification": {"Containers": [{"Image": XGBOOST, "ModelDataUrl": "s3://models/a"}]},
    }
    with pytest.raises(ClientError, match="has the tags of the group"):
        cloud.sagemaker.create_model_package(**request, Tags=TAGS)
    arn = cloud.sagemaker.create_model_package(**request)["ModelPackageArn"]
    with pytest.raises(ClientError, match="it holds 1 model packages") as error:
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="held")
    assert error.value.response["Error"]["Code"] == "ConflictException"
    cloud.sagemaker.delete_model_package(ModelPackageName=arn)
    cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="held")
