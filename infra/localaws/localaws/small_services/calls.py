"""What a request asks for, as far as keeping it is concerned.

Belongs here: reading the action or the object out of a request, and which actions are kept. Does not: keeping them (``keeper``).
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET

import orjson
from moto.core.request import Request
from moto.s3.responses import S3Response
from moto.s3.utils import bucket_name_from_url
from moto.s3bucket_path.utils import parse_key_name
from werkzeug.exceptions import ClientDisconnected

Environ = dict[str, Any]

KEPT_SERVICES = frozenset({"events", "iam", "logs", "secretsmanager", "sns", "sqs", "ssm"})
"""moto's names of the services whose changes are kept, but for S3."""

_READS = re.compile("Get|List|Describe|BatchGet|Check|Filter|Generate|Head|Lookup|Simulate|Test|Verify|Validate")
# What flows through a service, and is gone after a restart.
_FLOWS = frozenset(
    {
        *("SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "PurgeQueue"),
        *("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "StartMessageMoveTask"),
        *("Publish", "PublishBatch", "PutEvents", "StartReplay", "SendCommand"),
        *("PutLogEvents", "CreateLogStream", "DeleteLogStream", "CreateExportTask", "StartQuery", "StopQuery"),
    }
)


def read_body(environ: Environ) -> bytes:
    """Return a request's body, and leave it there to be read again, without a copy.

    Raises:
        ClientDisconnected: The client went away before it was complete.
    """
    if environ.get("wsgi.input_terminated"):  # it comes in chunks
        body: bytes = environ["wsgi.input"].read()
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    else:
        size_bytes = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size_bytes)
        if len(body) < size_bytes:
            raise ClientDisconnected
    environ |= {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(body))}
    return body


def action_of(environ: Mapping[str, Any], body: bytes) -> str:
    """Return the action that a request of the JSON or the query protocol names; empty where it names none."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return str(target).rpartition(".")[2]
    for form in (body.decode("utf-8", "replace"), environ.get("QUERY_STRING", "")):
        found = parse_qs(form).get("Action")
        if found:
            return str(found[0])
    return ""


def params_of(environ: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """Return the parameters of a request of the JSON or the query protocol, as far as they are text; none where it cannot be read."""
    if "HTTP_X_AMZ_TARGET" not in environ:
        forms = (body.decode("utf-8", "replace"), environ.get("QUERY_STRING", ""))
        return {name: values[0] for form in forms for name, values in parse_qs(form).items()}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return (
        {name: value for name, value in document.items() if isinstance(value, str)}
        if isinstance(document, dict)
        else {}
    )


def is_kept(service: str, action: str) -> bool:
    """Say whether what an action did is to survive a restart; an action that is not known here does."""
    return service in KEPT_SERVICES and action not in _FLOWS and not _READS.match(action)


@dataclass(frozen=True, slots=True)
class S3Call:
    """What a request to S3 is about; ``key`` is empty where that is a bucket, and both are for all buckets."""

    method: str
    bucket: str
    key: str
    query: frozenset[str]

    @property
    def changes_bucket(self) -> bool:
        """Whether it may make, change or delete a bucket."""
        return not self.key and self.method in {"PUT", "DELETE"}

    @property
    def deletes_objects(self) -> bool:
        """Whether it deletes the objects that its body names."""
        return not self.key and self.method == "POST" and "delete" in self.query

    @property
    def is_form(self) -> bool:
        """Whether it is an upload by a browser's form, which names its object in its body."""
        return not self.key and self.method == "POST" and "delete" not in self.query

    @property
    def changes_object(self) -> bool:
        """Whether it may change its object; a part of an upload that is not complete does not."""
        match self.method:
            case "PUT" | "DELETE":
                return bool(self.key) and "uploadId" not in self.query
            case "POST":
                return bool(self.key) and not self.query & {"uploads", "select"}
        return False


def s3_call(environ: Environ) -> S3Call:
    """Read a request to S3, with the bucket in the path or in the host's name."""
    request = Request(environ)
    path = unquote(request.raw_path)
    if S3Response.subdomain_based_buckets(request):
        bucket, key = bucket_name_from_url(request.raw_url) or "", path.lstrip("/")
    else:
        bucket, key = path.lstrip("/").partition("/")[0], parse_key_name(path)
    query = frozenset(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    return S3Call(request.method, bucket, key, query)


def keys_to_delete(body: bytes) -> list[str]:
    """Return the keys in the body of a DeleteObjects; none where it is not one."""
    try:
        document = ET.fromstring(body)  # noqa: S314 - moto's parser of the same body is no stricter
    except ET.ParseError:
        return []
    return [element.text or "" for element in document.iterfind("{*}Object/{*}Key")]
