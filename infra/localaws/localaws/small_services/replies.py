"""Replies of WSGI as values, and the errors that are ours and not moto's.

Belongs here: catching a reply before it is sent, and an error in the form of each protocol. Does not: when (``keeper``).
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from werkzeug.test import run_wsgi_app

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

HTTP_ERROR = 400


class Reply(NamedTuple):
    """A whole reply; ``status`` is the line, such as ``200 OK``."""

    status: str
    headers: list[tuple[str, str]]
    body: list[bytes]

    @property
    def is_success(self) -> bool:
        """Whether what was asked for is done."""
        return int(self.status[:3]) < HTTP_ERROR

    def send(self, start_response: Any) -> list[bytes]:
        """Answer with it."""
        start_response(self.status, self.headers)
        return self.body


def answer(app: WsgiApp, environ: dict[str, Any]) -> Reply:
    """Ask an app, and hold its reply back."""
    body, status, headers = run_wsgi_app(app, environ, buffered=True)
    return Reply(status, headers.to_wsgi_list(), list(body))


def error(
    environ: Mapping[str, Any], service: str, message: str, *, status: str = "500 Internal Server Error"
) -> Reply:
    """Return an error as the service's protocol has it: InternalError or NotImplemented of S3, else InternalFailure."""
    request_id = str(uuid.uuid4())
    text = escape(message)
    if service == "s3":
        code = "NotImplemented" if status.startswith("501") else "InternalError"
        body = f"<Error><Code>{code}</Code><Message>{text}</Message><RequestId>{request_id}</RequestId></Error>"
        kind = "application/xml"
    elif "HTTP_X_AMZ_TARGET" in environ:
        body = json.dumps({"__type": "InternalFailure", "message": message})
        kind = environ.get("CONTENT_TYPE", "application/x-amz-json-1.1")
    else:
        body = (
            "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>"
            f"<Message>{text}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        kind = "text/xml"
    content = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("x-amzn-requestid", request_id)]
    return Reply(status, headers, [content])
