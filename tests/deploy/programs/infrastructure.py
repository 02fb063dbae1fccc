"""What the modules make that the steps after it need, by the API instead of Terraform: all that is not there yet."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

folder = Path(sys.argv[1])
wanted = json.loads((folder / "wanted.json").read_text())
said = wanted["outputs"]
if not wanted["resources"]:
    sys.exit()
REGION = said["settings"]["AWS_REGION"]
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
package = (folder / ".." / ".." / "dist" / "api.zip").read_bytes()


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


def is_new(make: Callable[..., Any], **asked: Any) -> bool:
    """Make something, unless it is there."""
    try:
        make(**asked)
    except ClientError as error:
        if not any(word in error.response["Error"]["Code"] for word in ("Exist", "Conflict", "AlreadyOwned", "InUse")):
            raise
        return False
    return True


for name in ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET"):
    where = {"LocationConstraint": REGION}
    is_new(client("s3").create_bucket, Bucket=said["settings"][name], CreateBucketConfiguration=where)
for role in ("writer", "analyst", "reader"):
    name = f"{said['settings']['FRAUDIT_WAREHOUSE_SECRETS']}/{role}"
    is_new(client("secretsmanager").create_secret, Name=name, SecretString=json.dumps({"username": f"fraud_{role}"}))
keys = said["settings"]["FRAUDIT_API_KEYS_SECRET"]
is_new(client("secretsmanager").create_secret, Name=keys, SecretString='{"keys": []}')
role = said["lambda_exec_role_arn"].rpartition("/")[2]
is_new(client("iam").create_role, RoleName=role, AssumeRolePolicyDocument=TRUST)
is_new(client("ecr").create_repository, repositoryName=said["repository_url"].partition("/")[2])
job = {"Name": "gluestreaming", "ScriptLocation": f"s3://{said['settings']['SPARK_STREAMING_BUCKET']}/glue/glue_job.py"}
is_new(client("glue").create_job, Name=said["settings"]["GLUE_JOB_NAME"], Role=role, Command=job, GlueVersion="6.0")
for handler, name in said["function_names"].items():
    if is_new(
        client("lambda").create_function,
        FunctionName=name,
        Role=said["lambda_exec_role_arn"],
        Runtime="python3.13",
        Handler=f"app.{handler}",
        Code={"ZipFile": package},
        Environment={"Variables": said["api_environment"]},
        Publish=True,
    ):
        client("lambda").create_alias(FunctionName=name, Name="live", FunctionVersion="1")
