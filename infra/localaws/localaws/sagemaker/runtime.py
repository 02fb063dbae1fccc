"""InvokeEndpoint: ``POST /endpoints/<name>/invocations``, passed on to the endpoint's model process.

Belongs here: the request and the errors of the ``sagemaker-runtime`` API. Does not: endpoints (``hosting.py``).
See https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html.
"""

import logging
import uuid
from http import HTTPStatus
from typing import Any

import orjson

from localaws.sagemaker.hosting import LOG_GROUPS, Endpoints
from localaws.sagemaker.model_client import ModelUnavailableError, Response
from localaws.trail import Trail
from localaws.wire import (
    ACCOUNT_ID,
    AsgiApp,
    AwsError,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    authorization_of,
    send_reply,
)

PREFIX = "/endpoints/"
SUFFIX = "/invocations"
MAX_BODY_BYTES = 6 * 1024 * 1024

_log = logging.getLogger(__name__)


def runtime_app(endpoints: Endpoints, *, region: str) -> AsgiApp:
    """Make the ASGI app of the runtime API."""
    trail = Trail.from_environment("sagemaker-runtime", account_id=ACCOUNT_ID)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].removeprefix(PREFIX).removesuffix(SUFFIX)
        variant = ""
        if trail is not None:
            trail.call(authorization_of(scope), "sagemaker", "InvokeEndpoint", {"EndpointName": name})
        try:
            answer, variant = await _ask(endpoints, name, scope, receive)
        except ClientGoneError:
            return
        except ModelUnavailableError as error:
            answer = Response(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error).encode())
        except AwsError as error:
            await _send_error(send, error.status, error.code, {"Message": error.message})
            return
        except Exception:  # noqa: BLE001 - a bug in one request must not end the others
            _log.exception("an invocation of endpoint %s failed by a bug", name)
            content = {"Message": "internal error, see the log of the SageMaker service"}
            await _send_error(send, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalFailure", content)
            return
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            content = _model_error(name, answer, region=region)
            await _send_error(send, HTTPStatus.FAILED_DEPENDENCY, "ModelError", content)
            return
        reply_headers = [
            (b"x-amzn-requestid", _request_id()),
            (b"x-amzn-invoked-production-variant", variant.encode()),
        ]
        await send_reply(send, answer.status, answer.body, content_type=answer.content_type, headers=reply_headers)

    return app


async def _ask(endpoints: Endpoints, name: str, scope: Scope, receive: Receive) -> tuple[Response, str]:
    body = await _read_body(receive)
    if scope["method"] != "POST" or not scope["path"].endswith(SUFFIX):
        raise AwsError(
            "UnknownOperationException", f"{scope['method']} {scope['path']} does not exist here", status=404
        )
    headers = dict(scope["headers"])
    return await endpoints.invoke(
        name, body, content_type=headers.get(b"content-type", b""), accept=headers.get(b"accept", b"")
    )


async def _read_body(receive: Receive) -> bytes:
    """Read a request's body to its end: a client that is answered before sees a broken pipe instead of the answer.

    Raises:
        AwsError: ``ValidationError`` where it is too large.
        ClientGoneError: The client went away.
    """
    chunks: list[bytes] = []
    size_bytes, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size_bytes += len(chunk)
        if size_bytes <= MAX_BODY_BYTES:
            chunks.append(chunk)
    if size_bytes > MAX_BODY_BYTES:
        limit = f"Member must have length less than or equal to {MAX_BODY_BYTES}"
        raise AwsError("ValidationError", f"Value at 'body' failed to satisfy constraint: {limit}")
    return b"".join(chunks)


def _model_error(name: str, answer: Response, *, region: str) -> dict[str, Any]:
    message = answer.body.decode(errors="replace")
    side = "server" if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "client"
    group = f"{LOG_GROUPS}/{name}"
    return {
        "Message": f'Received {side} error ({answer.status}) from primary with message "{message}". See {group} in account '
        f"{ACCOUNT_ID} for more information.",
        "OriginalStatusCode": answer.status,
        "OriginalMessage": message,
        "LogStreamArn": f"arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{group}",
    }


async def _send_error(send: Send, status: int, code: str, content: dict[str, Any]) -> None:
    headers = [(b"x-amzn-requestid", _request_id()), (b"x-amzn-errortype", code.encode())]
    await send_reply(send, status, orjson.dumps(content), content_type="application/json", headers=headers)


def _request_id() -> bytes:
    return str(uuid.uuid4()).encode()
