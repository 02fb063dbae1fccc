"""The HTTP side of a model: ``GET /ping`` and ``POST /invocations`` over ASGI.

Belongs here: headers, bodies and status codes. Does not: how a body is read or scored (the algorithms).
See https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html.
"""

import asyncio
import logging
from http import HTTPStatus

from localaws.algorithms.container import Answer, Model, RequestError
from localaws.wire import AsgiApp, ClientGoneError, Receive, Scope, Send, read_body, send_reply

LOGGED_CHARS = 300
BULK_BYTES = 16 * 1024
"""Requests from here on are scored in a thread, so that a bulk request does not hold up ``/ping`` and single rows."""

_log = logging.getLogger(__name__)


def model_app(model: Model) -> AsgiApp:
    """Make the ASGI app that serves one model."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["method"], scope["path"]:
            case "GET", "/ping":
                await send_reply(send, HTTPStatus.OK, b"", content_type="text/plain")
            case "POST", "/invocations":
                await _invoke(model, scope, receive, send)
            case _:
                await send_reply(send, HTTPStatus.NOT_FOUND, b"", content_type="text/plain")

    return app


async def _invoke(model: Model, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        body = await read_body(receive)
    except ClientGoneError:
        return
    if not body:
        await send_reply(send, HTTPStatus.NO_CONTENT, b"", content_type="text/plain")
        return
    headers = dict(scope["headers"])
    content_type = _media_type(headers.get(b"content-type", b""))
    accept = _media_type(headers.get(b"accept", b""))

    def answer() -> Answer:
        return model.answer(body, content_type=content_type, accept=accept)

    try:
        result = await asyncio.to_thread(answer) if len(body) >= BULK_BYTES else answer()
    except RequestError as error:
        _log.warning("refused a request of %d bytes with %d: %s", len(body), error.status, error.message[:LOGGED_CHARS])
        await send_reply(send, error.status, error.message.encode(), content_type="text/plain")
    except Exception:  # noqa: BLE001 - a bug in one request must not end the others
        _log.exception("a request failed by a bug")
        await send_reply(send, HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error", content_type="text/plain")
    else:
        await send_reply(send, HTTPStatus.OK, result.body, content_type=result.content_type)


def _media_type(header: bytes) -> str:
    return header.decode("latin-1").partition(";")[0].strip().lower()
