"""The calls of AWS that the code of a component names, whether or not a run has made them."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import botocore.session
from botocore import xform_name

SERVICES = ("cloudwatch", "glue", "kinesis", "s3", "sagemaker", "sagemaker-runtime", "secretsmanager", "sns")
TRANSFERS = {"upload_file": ("s3:PutObject",), "download_file": ("s3:GetObject",)}
"""Of boto3, which makes several calls of one."""
IAM = {
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sns:PublishBatch": "sns:Publish",
    "sns:ListSubscriptionsByTopic": "sns:ListSubscriptionsByTopic",
}
"""IAM's names of actions that are not called like the operation."""


@lru_cache(maxsize=1)
def operations() -> dict[str, tuple[str, ...]]:
    """Return the IAM actions of each method of a client, by its name; more than one where services share a name."""
    session = botocore.session.get_session()
    found: dict[str, tuple[str, ...]] = dict(TRANSFERS)
    for service in SERVICES:
        model = session.get_service_model(service)
        for operation in model.operation_names:
            action = f"{service.removesuffix('-runtime')}:{operation}"
            method = xform_name(operation)
            found[method] = (*found.get(method, ()), IAM.get(action, action))
    return found


def named_in(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the IAM actions of each call that the Python files of a folder make of a client, by the name of the method."""
    names = {name for path in folder.rglob("*.py") for name in _names(ast.parse(path.read_text()))}
    return {name: operations()[name] for name in names if name in operations()}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Attribute(attr=owner) | ast.Name(id=owner), attr=name) if _is_client(owner):
                yield name
            case ast.Constant(value=str(text)) if "_" in text:  # of a paginator, or a table of calls
                yield text


def _is_client(name: str) -> bool:
    return name.lstrip("_") in {"client", "kinesis", "runtime", "s3", "secrets", "sns"}
