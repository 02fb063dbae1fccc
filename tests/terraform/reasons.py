"""What of the infrastructure is not as a rule would have it, each with its reason. An entry that is needed no longer fails a test."""

from tests.terraform.policies import ROLES

ENCRYPTED = "what it reads and writes is encrypted by our key"
LAMBDA = "of Lambda, in the function's role"
SAGEMAKER = "of SageMaker's containers, in the role of the job or endpoint"
IMAGES = "SageMaker fetches its own images in this role"
LOG_ACTIONS = ("CreateLogGroup", "CreateLogStream", "PutLogEvents", "DescribeLogStreams")

BEYOND: dict[tuple[str, str], str] = {
    **{(component, "kms:Decrypt"): ENCRYPTED for component in ROLES},
    **{(component, "kms:GenerateDataKey"): ENCRYPTED for component in ("api", "dagster", "sagemaker")},
    ("api", "s3:ListBucket"): "without it S3 calls a manifest that is not there yet forbidden",
    ("api", "logs:CreateLogStream"): LAMBDA,
    ("api", "logs:PutLogEvents"): LAMBDA,
    ("api", "xray:PutTraceSegments"): LAMBDA,
    ("api", "xray:PutTelemetryRecords"): LAMBDA,
    ("sagemaker", "s3:AbortMultipartUpload"): "of an upload that fails",
    ("sagemaker", "s3:ListBucket"): "SageMaker asks for it where it reads a model, and the embedded one does not",
    **{("sagemaker", f"logs:{action}"): SAGEMAKER for action in LOG_ACTIONS},
    ("sagemaker", "cloudwatch:PutMetricData"): SAGEMAKER,
    ("sagemaker", "ecr:GetAuthorizationToken"): IMAGES,
    ("sagemaker", "ecr:BatchGetImage"): IMAGES,
    ("sagemaker", "ecr:GetDownloadUrlForLayer"): IMAGES,
    ("sagemaker", "ecr:BatchCheckLayerAvailability"): IMAGES,
}
"""By component and action: why a role allows what the local world never asks for."""

KEY = "module.storage.aws_kms_key.this.policy"
SERVING = "module.training.aws_iam_role_policy.sagemaker.policy"
UNNAMED: dict[tuple[str, str], str] = {
    ("module.api.aws_iam_role_policy.this.policy", "Traces"): "X-Ray knows no resources",
    (KEY, "AccountByItsPolicies"): "in a key's own policy * is this key; the account's roles say who may use it",
    (KEY, "LogsOfThisAccount"): "in a key's own policy * is this key; for the logs of this account alone",
    (KEY, "AlarmsToTopics"): "in a key's own policy * is this key; for what comes from this account alone",
    (SERVING, "Metrics"): "CloudWatch knows no resources; the namespace is a condition",
    (SERVING, "ContainerLogin"): "a login at ECR names no repository",
}
"""By policy and Sid: why a statement has a wildcard."""

NOT_FOLLOWED: dict[str, str] = {
    "CKV_AWS_116": "functions are called by API Gateway, which waits: there is no event to keep for later",
    "CKV_AWS_117": "all that the API asks is AWS's own; in the VPC it would need a NAT for it and start later",
    "CKV_AWS_120": "an answer is about one transaction, and no two ask the same",
    "CKV_AWS_144": "one region; the archive and the training data are in versions",
    "CKV_AWS_225": "as CKV_AWS_120",
    "CKV_AWS_272": "the zip is made by `make package` from the locked packages; a signing profile is the account's",
    "CKV2_AWS_29": "a firewall costs more than the rest of the API; throttling and keys come first",
    "CKV2_AWS_51": "clients have keys; the function is called by API Gateway in AWS's own network",
    "CKV2_AWS_53": "the function checks every field, the same on every machine",
    "CKV2_AWS_57": "no password is AWS's to change: `fraudit warehouse migrate` and `fraudit keys` change them",
    "CKV2_AWS_62": "arrivals are found by a sensor, by content; nobody needs a notification",
}
"""By checkov's check: why it is not followed."""
