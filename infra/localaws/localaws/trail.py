"""Who needed which permission: each caller, IAM action and resource once, in files of JSON lines.

Belongs here: reading that out of a request, and writing it. Does not: allowing or refusing anything; nobody is refused here.

Off unless ``LOCALAWS_TRAIL`` names a folder. A caller is known by its access key, and the supervisor gives each service its own name
as access key. The actions and their resources are those of the "Service Authorization Reference" of AWS.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import orjson

VARIABLE = "LOCALAWS_TRAIL"
ANY = "*"
"""Resource of an action that names none: it has no resource types, or this request identifies it otherwise (a shard iterator)."""

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/")

# By service: what comes before the name in the ARN of a resource, by the parameter that names it.
_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "kinesis": {"StreamName": "stream/"},
    "glue": {"JobName": "job/", "Name": "job/"},
    "sagemaker": {
        "EndpointConfigName": "endpoint-config/",
        "EndpointName": "endpoint/",
        "ModelName": "model/",
        "ModelPackageGroupName": "model-package-group/",
        "TrainingJobName": "training-job/",
    },
    "secretsmanager": {"SecretId": "secret:", "Name": "secret:"},
    "cloudwatch": {"AlarmName": "alarm:"},
    "sns": {"Name": ""},
}
_SECRET_SUFFIX = "-??????"  # noqa: S105 - of an ARN
"""AWS ends a secret's ARN with six characters that its name does not tell."""
_PERMISSIONS = {"sns:PublishBatch": "sns:Publish"}
"""Of actions for which IAM knows another name; those of S3 are read from its requests."""
_ROLES = ("RoleArn", "ExecutionRoleArn", "Role")


class Trail:
    """The permissions that one service saw needed. Safe to share between threads.

    Args:
        path: Of its file.
        account_id: Of whom the resources are.
    """

    def __init__(self, path: Path, *, account_id: str) -> None:
        self._path = path
        self._account_id = account_id
        self._lock = threading.Lock()
        self._seen = set(path.read_bytes().splitlines()) if path.exists() else set[bytes]()

    @classmethod
    def from_environment(cls, service: str, *, account_id: str) -> Self | None:
        """Return the trail of a service, or None where none is kept."""
        folder = os.environ.get(VARIABLE)
        if not folder:
            return None
        Path(folder).mkdir(parents=True, exist_ok=True)
        return cls(Path(folder, f"{service}.jsonl"), account_id=account_id)

    def call(self, authorization: str, service: str, action: str, params: Mapping[str, Any]) -> None:
        """Note a request that names its resources in its parameters.

        Args:
            authorization: The header of that name; a request that nobody signed is not noted.
            service: As IAM's actions name it.
            action: Name of the operation.
            params: Of the request; lists of them are not looked into.
        """
        caller, region = _signer(authorization)
        if not caller:
            return
        permission = f"{service}:{action}"
        resources = list(self._resources(service, region, action, params)) or [ANY]
        for resource in resources:
            self._note(caller, _PERMISSIONS.get(permission, permission), resource)
            if service == "sagemaker" and params.get("Tags"):  # things may be made, and not be tagged
                self._note(caller, "sagemaker:AddTags", resource)
        if action.startswith("Create"):
            for role in (params[name] for name in _ROLES if isinstance(params.get(name), str)):
                self._note(caller, "iam:PassRole", role)

    def s3(self, authorization: str, *, method: str, bucket: str, keys: list[str], query: frozenset[str]) -> None:
        """Note a request to S3; without keys it is about the bucket, without a bucket about all of them."""
        caller, _ = _signer(authorization)
        if not caller:
            return
        bucket_arn = f"arn:aws:s3:::{bucket}" if bucket else ANY
        for resource in [f"{bucket_arn}/{key}" for key in keys] or [bucket_arn]:
            self._note(caller, _s3_action(method, bucket=bucket, is_object=bool(keys), query=query), resource)

    def _resources(self, service: str, region: str, action: str, params: Mapping[str, Any]) -> Iterator[str]:
        start = f"arn:aws:{service}:{region}:{self._account_id}:"
        if action == "CreateModelPackage":  # is allowed on what it makes, whose number is not known yet
            yield f"{start}model-package/{params.get('ModelPackageGroupName')}/*"
            return
        named = _RESOURCES.get(service, {})
        end = _SECRET_SUFFIX if service == "secretsmanager" else ""
        yield from _arns(start, end, named, params)

    def _note(self, caller: str, action: str, resource: str) -> None:
        line = orjson.dumps({"caller": caller, "action": action, "resource": resource})
        if line in self._seen:
            return
        with self._lock:
            if line not in self._seen:
                self._seen.add(line)
                with self._path.open("ab") as file:
                    file.write(line + b"\n")


def _arns(start: str, end: str, named: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[str]:
    for parameter, value in params.items():
        if not isinstance(value, str):
            continue
        if value.startswith("arn:"):
            if parameter not in _ROLES:
                yield value
        elif parameter in named:
            yield f"{start}{named[parameter]}{value}{end}"


def _signer(authorization: str) -> tuple[str, str]:
    """Return access key and region of a signature of version 4; empty where there is none."""
    found = _CREDENTIAL.search(authorization)
    return (found[1], found[2]) if found else ("", "")


def _s3_action(method: str, *, bucket: str, is_object: bool, query: frozenset[str]) -> str:
    """Return the IAM action of a request to S3: an upload in parts is a put, the head of an object a get."""
    match method:
        case "GET" | "HEAD" if is_object:
            name = "GetObject"
        case "DELETE" if is_object and "uploadId" in query:
            name = "AbortMultipartUpload"
        case "DELETE" if is_object:
            name = "DeleteObject"
        case "PUT" | "POST" if is_object and "delete" not in query:
            name = "PutObject"
        case "POST" if "delete" in query:
            name = "DeleteObject"
        case "PUT" | "DELETE":
            name = "CreateBucket" if method == "PUT" else "DeleteBucket"
        case _:
            name = "ListBucket" if bucket else "ListAllMyBuckets"
    return f"s3:{name}"
