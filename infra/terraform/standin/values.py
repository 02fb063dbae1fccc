"""What the stand-in says that AWS would have made of a resource: ARNs as AWS forms them, and anything else made up.

Belongs here: made-up values. Does not: when they are known (``provider.py``).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from standin.schema import Block, Type

ACCOUNT = "123456789012"
PARTITION = "aws"

ARNS = {
    "aws_api_gateway_rest_api": "apigateway:{region}::/restapis/{id}",
    "aws_cloudwatch_event_rule": "events:{region}:{account}:rule/{name}",
    "aws_cloudwatch_log_group": "logs:{region}:{account}:log-group:{name}",
    "aws_cloudwatch_metric_alarm": "cloudwatch:{region}:{account}:alarm:{alarm_name}",
    "aws_db_instance": "rds:{region}:{account}:db:{identifier}",
    "aws_ecr_repository": "ecr:{region}:{account}:repository/{name}",
    "aws_ecs_cluster": "ecs:{region}:{account}:cluster/{name}",
    "aws_ecs_task_definition": "ecs:{region}:{account}:task-definition/{family}:1",
    "aws_glue_connection": "glue:{region}:{account}:connection/{name}",
    "aws_glue_job": "glue:{region}:{account}:job/{name}",
    "aws_iam_policy": "iam::{account}:policy/{name}",
    "aws_iam_role": "iam::{account}:role/{name}",
    "aws_kinesis_stream": "kinesis:{region}:{account}:stream/{name}",
    "aws_kms_key": "kms:{region}:{account}:key/{id}",
    "aws_lambda_function": "lambda:{region}:{account}:function:{function_name}",
    "aws_s3_bucket": "s3:::{bucket}",
    "aws_sagemaker_model_package_group": "sagemaker:{region}:{account}:model-package-group/{model_package_group_name}",
    "aws_sagemaker_notebook_instance": "sagemaker:{region}:{account}:notebook-instance/{name}",
    "aws_secretsmanager_secret": "secretsmanager:{region}:{account}:secret:{name}-{id:.6}",
    "aws_sns_topic": "sns:{region}:{account}:{name}",
}
"""How AWS names what a policy names, by type; what stands in braces is an argument of the resource, ``id`` made up."""


def made_up(block: Block, written: Mapping[str, Any], *, kind: str, region: str) -> dict[str, Any]:
    """Return a value for each attribute that AWS decides and that is not written.

    Args:
        block: Of the resource or data source.
        written: Its arguments; null where there is none.
        kind: Its type, such as ``aws_s3_bucket``.
        region: Of the provider.
    """
    digest = hashlib.sha256(f"{kind} {json.dumps(written, sort_keys=True, default=str)}".encode()).hexdigest()
    id_ = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    known = {key: value for key, value in written.items() if value is not None}
    names = {**known, "region": region, "account": ACCOUNT, "id": id_}
    values = {
        # Members that could have been written and were not, such as the rules of a security group: there are none.
        name: [] if attribute.optional and attribute.type[0] in ("list", "set") else _value(attribute.type, name, id_)
        for name, attribute in block.attributes.items()
        if attribute.computed and written.get(name) is None
    }
    if "arn" in values:
        form = ARNS.get(kind, f"{kind.split('_')[1]}:{{region}}:{{account}}:{{id}}")
        values["arn"] = f"arn:{PARTITION}:{form.format_map(names)}"
    if "tags_all" in values:
        values["tags_all"] = written.get("tags")
    return values | {name: value for name, value in _SPECIAL.get(kind, {}).items() if name in values}


def _value(type_: Type, name: str, id_: str) -> Any:
    if isinstance(type_, str):
        return {"string": f"{name}-{id_[:8]}", "number": 1, "bool": False}[type_]
    shape, inner = type_
    if shape == "object":
        return {member: _value(of, member, id_) for member, of in inner.items()}
    if shape == "map":
        return {}
    return [_value(inner, name, id_)] if isinstance(inner, list) and inner[0] == "object" else []


_SPECIAL: dict[str, dict[str, Any]] = {
    "aws_availability_zones": {"names": ["eu-west-1a", "eu-west-1b", "eu-west-1c"]},
    "aws_caller_identity": {"account_id": ACCOUNT, "arn": f"arn:{PARTITION}:iam::{ACCOUNT}:user/planner"},
    "aws_partition": {"partition": PARTITION, "dns_suffix": "amazonaws.com"},
}
"""Of data sources, and what else must be as AWS has it."""
