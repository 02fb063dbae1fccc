"""Versions count up in their group, a repeated token gives the same one, approval is kept."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localaws_sagemaker.cloud import XGBOOST, Cloud

SPECIFICATION = {
    "Containers": [{"Image": XGBOOST, "ModelDataUrl": "s3://models/a/model.tar.gz"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["application/json"],
}


@pytest.fixture(scope="module")
def group(cloud: Cloud) -> str:
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="classifiers", ModelPackageGroupDescription="ours")
    return "classifiers"


def register(cloud: Cloud, group: str, **members: Any) -> str:
    request = {"ModelPackageGroupName": group, "InferenceSpecification": SPECIFICATION, **members}
    return str(cloud.sagemaker.create_model_package(**request)["ModelPackageArn"])


def test_a_group_is_made_once(cloud: Cloud, group: str) -> None:
    described = cloud.sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert (
        described["ModelPackageGroupArn"] == "arn:aws:sagemaker:eu-west-1:123456789012:model-package-group/classifiers"
    )
    with pytest.raises(ClientError, match="already exists"):
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        register(cloud, "nobody")


def test_versions_count_up_and_a_token_is_taken_once(cloud: Cloud, group: str) -> None:
    first = register(cloud, group, ClientToken="a", CustomerMetadataProperties={"auc": "0.98"})
    assert first.endswith("model-package/classifiers/1")
    assert register(cloud, group, ClientToken="a") == first
    second = register(cloud, group)
    assert second.endswith("/2")
    cloud.sagemaker.delete_model_package(ModelPackageName=second)
    assert register(cloud, group).endswith("/3")
    package = cloud.sagemaker.describe_model_package(ModelPackageName=first)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageVersion"] == 1
    assert package["InferenceSpecification"]["Containers"][0]["Image"] == XGBOOST


def test_approval_and_properties_are_changed_and_listed(cloud: Cloud, group: str) -> None:
    arn = register(cloud, group, CustomerMetadataProperties={"auc": "0.98", "rows": "10"})
    cloud.sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="no worse than the champion",
        CustomerMetadataProperties={"ap": "0.8"},
        CustomerMetadataPropertiesToRemove=["rows"],
    )
    package = cloud.sagemaker.describe_model_package(ModelPackageName=arn)
    assert package["CustomerMetadataProperties"] == {"auc": "0.98", "ap": "0.8"}
    assert package["ApprovalDescription"] == "no worse than the champion"
    approved = cloud.sagemaker.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [item["ModelPackageArn"] for item in approved["ModelPackageSummaryList"]] == [arn]


def test_a_list_comes_in_pages_in_the_order_asked_for(cloud: Cloud, group: str) -> None:
    for _ in range(3):
        register(cloud, group)
    pages = cloud.sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    versions = [item["ModelPackageVersion"] for page in pages for item in page["ModelPackageSummaryList"]]
    assert versions == sorted(versions, reverse=True)
    assert len(versions) >= 3
