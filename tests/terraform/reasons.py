"""What of the infrastructure is not as a rule would have it, each with its reason. An entry that is needed no longer fails a test."""

from tests.terraform.policies import ROLES, Beyond

KEYS = ("arn:aws:kms:::key/*",)
MODELS, STREAM = "arn:aws:s3:::fraud-detection-models", "arn:aws:s3:::fraud-detection-stream-bucket"
ENCRYPTED = "what it reads and writes is encrypted by our key"
FETCHES = "the instance fetches the notebooks when it starts (on_start.sh)"
INTERFACES = "Glue puts an interface of each worker into the subnet, in the job's role"

BEYOND: tuple[Beyond, ...] = (
    *(Beyond(component, ("kms:Decrypt",), KEYS, ENCRYPTED) for component in ROLES),
    *(
        Beyond(component, ("kms:GenerateDataKey",), KEYS, ENCRYPTED)
        for component in ("api", "dagster", "glue", "prepare", "sagemaker")
    ),
    Beyond("api", ("s3:ListBucket",), (MODELS,), "without it S3 calls a manifest that is not there yet forbidden"),
    Beyond(
        "api",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        ("arn:aws:logs:::log-group:/aws/lambda/ml-inference-api-*:*",),
        "of Lambda, in the function's role",
    ),
    Beyond(
        "api",
        ("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
        ("*",),
        "of Lambda's tracing, in the function's role",
    ),
    Beyond(
        "glue",
        ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        tuple(f"{STREAM}/{folder}/*" for folder in ("checkpoints", "tmp", "spark-ui")),
        "Spark's own files, which are on the disk here",
    ),
    Beyond("glue", ("s3:ListBucket",), (STREAM,), "Spark looks for its checkpoint, which is on the disk here"),
    Beyond(
        "glue", ("s3:GetObject",), (f"{STREAM}/glue/environment.tar.gz",), "here the job has the project's packages"
    ),
    Beyond(
        "glue",
        ("glue:GetConnection",),
        ("arn:aws:glue:::catalog", "arn:aws:glue:::connection/*"),
        "its way into the VPC",
    ),
    Beyond(
        "glue",
        ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"),
        ("arn:aws:logs:::log-group:/aws-glue/*",),
        "Glue's own log",
    ),
    Beyond("glue", ("cloudwatch:PutMetricData",), ("*",), "Glue's own metrics; their namespace is a condition"),
    Beyond(
        "glue",
        (
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcEndpoints",
        ),
        ("*",),
        INTERFACES,
    ),
    Beyond("glue", ("ec2:DescribeVpcAttribute",), ("arn:aws:ec2:::vpc/*",), INTERFACES),
    Beyond(
        "glue",
        ("ec2:CreateNetworkInterface",),
        ("arn:aws:ec2:::subnet/*", "arn:aws:ec2:::security-group/*", "arn:aws:ec2:::network-interface/*"),
        INTERFACES,
    ),
    Beyond(
        "glue",
        ("ec2:CreateTags", "ec2:DeleteTags", "ec2:DeleteNetworkInterface"),
        ("arn:aws:ec2:::network-interface/*",),
        INTERFACES,
    ),
    Beyond("sagemaker", ("s3:AbortMultipartUpload",), (f"{MODELS}/training/*",), "of an upload that fails"),
    Beyond("sagemaker", ("s3:ListBucket",), (MODELS,), "SageMaker looks where a model is; the embedded one does not"),
    Beyond(
        "sagemaker",
        ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
        ("arn:aws:logs:::log-group:/aws/sagemaker/*",),
        "of SageMaker's containers, in this role",
    ),
    Beyond(
        "sagemaker", ("cloudwatch:PutMetricData",), ("*",), "of SageMaker's containers; the namespace is a condition"
    ),
    Beyond("sagemaker", ("ecr:GetAuthorizationToken",), ("*",), "SageMaker fetches its own images in this role"),
    Beyond(
        "sagemaker",
        ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
        ("arn:aws:ecr:::repository/sagemaker-xgboost", "arn:aws:ecr:::repository/randomcutforest"),
        "SageMaker fetches its own images in this role",
    ),
    Beyond("notebook", ("s3:ListBucket",), (MODELS,), FETCHES),
    Beyond("notebook", ("s3:GetObject",), (f"{MODELS}/notebooks/instance/*",), FETCHES),
    Beyond(
        "notebook",
        ("sagemaker:StopTrainingJob",),
        ("arn:aws:sagemaker:::training-job/fraud-detection-notebook-*-*",),
        "of a training that is interrupted",
    ),
    Beyond(
        "notebook",
        ("sagemaker:StopNotebookInstance", "sagemaker:DescribeNotebookInstance"),
        ("arn:aws:sagemaker:::notebook-instance/fraud-detection-notebook",),
        "the instance stops itself when nobody works (on_start.sh)",
    ),
    Beyond(
        "notebook",
        ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
        ("arn:aws:logs:::log-group:/aws/sagemaker/NotebookInstances:*",),
        "of the instance, in its role",
    ),
)
"""Why roles allow what the local world never asks for."""

KEY = "module.storage.aws_kms_key.this.policy"
GLUE = "module.glue.aws_iam_role_policy.service.policy"
SERVING = "module.training.aws_iam_role_policy.sagemaker.policy"
TASK, START = (f"module.orchestration.aws_iam_role_policy.{of}" for of in ("task", "start"))
TASKS = ("dagster", "dagster-database", "dashboard", "migrate", "smoke")
UNNAMED: dict[tuple[str, str], str] = {
    ("module.api.aws_iam_role_policy.this.policy", "Traces"): "X-Ray knows no resources",
    (KEY, "AccountByItsPolicies"): "in a key's own policy * is this key; the account's roles say who may use it",
    (KEY, "LogsOfThisAccount"): "in a key's own policy * is this key; for the logs of this account alone",
    (KEY, "AlarmsToTopics"): "in a key's own policy * is this key; for what comes from this account alone",
    (SERVING, "Metrics"): "CloudWatch knows no resources; the namespace is a condition",
    (SERVING, "ContainerLogin"): "a login at ECR names no repository",
    (GLUE, "Metrics"): "CloudWatch knows no resources; the namespace is a condition",
    (GLUE, "LookAtNetwork"): "EC2's Describe actions know no resources",
    (GLUE, "MakeInterface"): "an interface has no name before it is made; subnet and group are named",
    (GLUE, "TagInterface"): "AWS names interfaces; the tag is a condition",
    (GLUE, "RemoveInterface"): "AWS names interfaces; the subnet is a condition",
    (f'{TASK}["dagster"].policy', "FindEndpoints"): "SageMaker lists all endpoints or none",
    (f'{TASK}["dagster"].policy', "ReadMetrics"): "CloudWatch knows no resources",
    (f'{TASK}["dagster"].policy', "Heartbeats"): "CloudWatch knows no resources; the namespace is a condition",
    (f'{TASK}["dashboard"].policy', "ReadMetrics"): "CloudWatch knows no resources",
    **{(f'{START}["{task}"].policy', "ImageLogin"): "a login at ECR names no repository" for task in TASKS},
}
"""By policy and Sid: why a statement has a wildcard."""

NOT_FOLLOWED: dict[str, str] = {
    "CKV_AWS_116": "functions are called by API Gateway, which waits: there is no event to keep for later",
    "CKV_AWS_117": "all that the API asks is AWS's own; in the VPC it would need a NAT for it and start later",
    "CKV_AWS_120": "an answer is about one transaction, and no two ask the same",
    "CKV_AWS_144": "one region; the archive and the training data are in versions",
    "CKV_AWS_225": "as CKV_AWS_120",
    "CKV_AWS_272": "the zip is made by `make package` from the locked packages; a signing profile is the account's",
    "CKV_AWS_161": "programs log in as they do on every machine, with a password of their own from its secret, over TLS",
    "CKV2_AWS_5": "each group has a user: checkov sees none in a connection of Glue, nor one that `aws ecs run-task` names",
    "CKV2_AWS_29": "a firewall costs more than the rest of the API; throttling and keys come first",
    "CKV2_AWS_51": "clients have keys; the function is called by API Gateway in AWS's own network",
    "CKV2_AWS_53": "the function checks every field, the same on every machine",
    "CKV2_AWS_57": "no password is AWS's to change: `fraudit warehouse migrate` and `fraudit keys` change them",
    "CKV2_AWS_62": "arrivals are found by a sensor, by content; nobody needs a notification",
}
"""By checkov's check: why it is not followed."""
