"""Every action of the control plane is called once rightly and once wrongly; a new action without a case here fails.

Replies are held against botocore's own model of the service: no member it does not know, none missing that it requires.
"""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import Shape
from localaws.sagemaker.service import make_app

from tests.aws_shapes import problems
from tests.localaws_sagemaker.cloud import BUCKET, ENDLESS, ROLE, XGBOOST, Cloud, blobs

ARN = "arn:aws:sagemaker:eu-west-1:123456789012"
VARIANT = {"VariantName": "one", "ModelName": "walk", "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
TAGS = [{"Key": "team", "Value": "fraud"}]
PACKAGE = {
    "ModelPackageGroupName": "walk",
    "InferenceSpecification": {
        "Containers": [{"Image": XGBOOST, "ModelDataUrl": f"s3://{BUCKET}/walk/model.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    },
    "CustomerMetadataProperties": {"ap": "0.8"},
}
JOB = {
    "AlgorithmSpecification": {"TrainingImage": XGBOOST, "TrainingInputMode": "File"},
    "RoleArn": ROLE,
    "InputDataConfig": [
        {
            "ChannelName": "train",
            "ContentType": "text/csv",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/walk/train/"}},
        }
    ],
    "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    "Environment": {"A": "b"},
}

RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("CreateTrainingJob", {"TrainingJobName": "walk", "HyperParameters": {"num_round": "2"}, "Tags": TAGS, **JOB}),
    ("CreateTrainingJob", {"TrainingJobName": "walk-long", "HyperParameters": ENDLESS, **JOB}),
    ("DescribeTrainingJob", {"TrainingJobName": "walk-long"}),
    ("StopTrainingJob", {"TrainingJobName": "walk-long"}),
    ("ended", {"name": "walk-long"}),
    ("ended", {"name": "walk"}),
    ("DescribeTrainingJob", {"TrainingJobName": "walk"}),
    ("ListTags", {"ResourceArn": f"{ARN}:training-job/walk"}),
    ("ListTrainingJobs", {"NameContains": "walk", "SortBy": "Status", "StatusEquals": "Stopped"}),
    ("DeleteTrainingJob", {"TrainingJobName": "walk-long"}),
    (
        "CreateModel",
        {
            "ModelName": "walk",
            "PrimaryContainer": {"Image": XGBOOST, "ModelDataUrl": f"s3://{BUCKET}/walk/model.tar.gz"},
            "ExecutionRoleArn": ROLE,
            "Tags": TAGS,
        },
    ),
    ("DescribeModel", {"ModelName": "walk"}),
    ("ListModels", {"NameContains": "walk"}),
    ("CreateEndpointConfig", {"EndpointConfigName": "walk", "ProductionVariants": [VARIANT], "Tags": TAGS}),
    ("DescribeEndpointConfig", {"EndpointConfigName": "walk"}),
    ("ListEndpointConfigs", {"NameContains": "walk"}),
    ("CreateEndpoint", {"EndpointName": "walk", "EndpointConfigName": "walk", "Tags": TAGS}),
    ("DescribeEndpoint", {"EndpointName": "walk"}),
    ("settled", {"name": "walk"}),
    ("DescribeEndpoint", {"EndpointName": "walk"}),
    ("ListEndpoints", {"NameContains": "walk"}),
    ("AddTags", {"ResourceArn": f"{ARN}:endpoint/walk", "Tags": [{"Key": "cost", "Value": "1"}]}),
    ("ListTags", {"ResourceArn": f"{ARN}:endpoint/walk"}),
    ("DeleteTags", {"ResourceArn": f"{ARN}:endpoint/walk", "TagKeys": ["team"]}),
    ("DeleteEndpoint", {"EndpointName": "walk"}),
    ("DeleteEndpointConfig", {"EndpointConfigName": "walk"}),
    ("DeleteModel", {"ModelName": "walk"}),
    (
        "CreateModelPackageGroup",
        {"ModelPackageGroupName": "walk", "ModelPackageGroupDescription": "of a walk", "Tags": TAGS},
    ),
    ("DescribeModelPackageGroup", {"ModelPackageGroupName": "walk"}),
    ("ListModelPackageGroups", {"NameContains": "walk"}),
    ("CreateModelPackage", PACKAGE),
    ("DescribeModelPackage", {"ModelPackageName": f"{ARN}:model-package/walk/1"}),
    ("ListModelPackages", {"ModelPackageGroupName": "walk"}),
    ("UpdateModelPackage", {"ModelPackageArn": f"{ARN}:model-package/walk/1", "ModelApprovalStatus": "Approved"}),
    ("DeleteModelPackage", {"ModelPackageName": f"{ARN}:model-package/walk/1"}),
    ("DeleteModelPackageGroup", {"ModelPackageGroupName": "walk"}),
]
"""Calls in the order of a life; ``ended`` and ``settled`` wait for a job and an endpoint."""

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "CreateTrainingJob": ({"TrainingJobName": "walk", **JOB}, "ResourceInUse"),
    "DescribeTrainingJob": ({"TrainingJobName": "nobody"}, "ValidationException"),
    "ListTrainingJobs": ({"NextToken": "no token"}, "ValidationException"),
    "StopTrainingJob": ({"TrainingJobName": "walk"}, "ValidationException"),
    "DeleteTrainingJob": ({"TrainingJobName": "nobody"}, "ResourceNotFound"),
    "CreateModel": ({"ModelName": "none", "PrimaryContainer": {"Image": "1.dkr/ntm:1"}}, "ValidationException"),
    "DescribeModel": ({"ModelName": "nobody"}, "ValidationException"),
    "ListModels": ({"SortBy": "Beauty"}, "ValidationException"),
    "DeleteModel": ({"ModelName": "nobody"}, "ValidationException"),
    "CreateEndpointConfig": ({"EndpointConfigName": "a", "ProductionVariants": [VARIANT] * 2}, "ValidationException"),
    "DescribeEndpointConfig": ({"EndpointConfigName": "nobody"}, "ValidationException"),
    "ListEndpointConfigs": ({"NextToken": "x"}, "ValidationException"),
    "DeleteEndpointConfig": ({"EndpointConfigName": "nobody"}, "ValidationException"),
    "CreateEndpoint": ({"EndpointName": "none", "EndpointConfigName": "nobody"}, "ValidationException"),
    "DescribeEndpoint": ({"EndpointName": "nobody"}, "ValidationException"),
    "ListEndpoints": ({"MaxResults": 101}, "ValidationException"),
    "DeleteEndpoint": ({"EndpointName": "nobody"}, "ValidationException"),
    "AddTags": ({"ResourceArn": f"{ARN}:endpoint/nobody", "Tags": TAGS}, "ValidationException"),
    "ListTags": ({"ResourceArn": f"{ARN}:tags/nobody"}, "ValidationException"),
    "DeleteTags": ({"ResourceArn": "no arn", "TagKeys": ["a"]}, "ValidationException"),
    "CreateModelPackageGroup": ({"ModelPackageGroupName": "no spaces please"}, "ValidationException"),
    "DescribeModelPackageGroup": ({"ModelPackageGroupName": "nobody"}, "ValidationException"),
    "ListModelPackageGroups": ({"NextToken": "x"}, "ValidationException"),
    "DeleteModelPackageGroup": ({"ModelPackageGroupName": "nobody"}, "ValidationException"),
    "CreateModelPackage": ({**PACKAGE, "ModelPackageGroupName": "nobody"}, "ValidationException"),
    "DescribeModelPackage": ({"ModelPackageName": f"{ARN}:model-package/nobody/1"}, "ValidationException"),
    "ListModelPackages": ({"ModelPackageGroupName": "nobody"}, "ValidationException"),
    "UpdateModelPackage": ({"ModelPackageArn": f"{ARN}:model-package/nobody/1"}, "ValidationException"),
    "DeleteModelPackage": ({"ModelPackageName": f"{ARN}:model-package/nobody/1"}, "ValidationException"),
}
"""A wrong call of each action, and the code of its error."""


@pytest.fixture(scope="module")
def implemented(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the actions of the service, from its own table."""
    app: Any = make_app(state=tmp_path_factory.mktemp("state"), region="eu-west-1")
    return set(app._actions)


@pytest.fixture(scope="module")
def replies(cloud: Cloud) -> dict[str, list[tuple[Shape | None, Any]]]:
    """Walk through all right calls and return, by action, shape and JSON of each reply."""
    cloud.put_csv("walk/train/a.csv", blobs(2000, seed=11))
    cloud.put_model("walk/model.tar.gz", {"xgboost-model": b"not a model"})
    seen: dict[str, list[tuple[Shape | None, Any]]] = {}

    def keep(http_response: Any, model: Any, **_: Any) -> None:
        if http_response.status_code == 200:
            seen.setdefault(model.name, []).append((model.output_shape, json.loads(http_response.content)))

    cloud.sagemaker.meta.events.register("after-call.sagemaker", keep)
    try:
        for action, params in RIGHT:
            match action:
                case "ended":
                    cloud.ended(params["name"])
                case "settled":
                    cloud.settled(params["name"])
                case _:
                    call(cloud, action, params)
    finally:
        cloud.sagemaker.meta.events.unregister("after-call.sagemaker", keep)
    return seen


def call(cloud: Cloud, action: str, params: dict[str, Any]) -> Any:
    methods = {operation: method for method, operation in cloud.sagemaker.meta.method_to_api_mapping.items()}
    return getattr(cloud.sagemaker, methods[action])(**params)


def test_every_action_has_its_cases(implemented: set[str]) -> None:
    called = {action for action, _ in RIGHT} - {"ended", "settled"}
    assert called == implemented
    assert set(WRONG) == implemented


@pytest.mark.parametrize("action", sorted(WRONG))
def test_a_right_call_is_answered_as_the_model_says(
    replies: dict[str, list[tuple[Shape | None, Any]]], action: str
) -> None:
    assert replies[action]
    for shape, reply in replies[action]:
        assert (reply == {}) if shape is None else (list(problems(shape, reply, action)) == [])


def test_jobs_and_endpoints_have_the_tags_they_were_created_with(
    replies: dict[str, list[tuple[Shape | None, Any]]],
) -> None:
    job, endpoint = (reply["Tags"] for _, reply in replies["ListTags"])
    assert job == TAGS
    assert endpoint == [{"Key": "cost", "Value": "1"}, *TAGS]


@pytest.mark.parametrize("action", sorted(WRONG))
def test_a_wrong_call_gets_an_error_of_the_model(cloud: Cloud, replies: object, action: str) -> None:
    assert replies
    params, code = WRONG[action]
    with pytest.raises(ClientError) as error:
        call(cloud, action, params)
    response = error.value.response
    assert response["Error"]["Code"] == code
    assert response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    known = {shape.name for shape in cloud.sagemaker.meta.service_model.operation_model(action).error_shapes}
    assert code in known | {"ValidationException"}


def test_an_action_that_is_not_there_is_refused_at_once(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        cloud.sagemaker.list_pipelines()
    assert error.value.response["Error"]["Code"] == "UnknownOperationException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.value.response["ResponseMetadata"]["RetryAttempts"] == 0
