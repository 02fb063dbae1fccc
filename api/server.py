# ruff: noqa: INP001 - a program beside app.py, in no package
"""Serves the Chalice app on this machine: ``python server.py --port 8000``. Not shipped to Lambda.

Chalice's own ``LocalGateway`` does what API Gateway would (routes, the authorizer), in threads behind uvicorn:
``chalice local`` itself stalls for 44 ms on kept connections. What API Gateway answers by itself (no key, wrong key,
no route, too large) is in ``GATEWAY_RESPONSES``: the deployment's gateway responses must say the same.
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvicorn
from app import app as chalice_app
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ForbiddenError, LocalChalice, LocalGateway, LocalGatewayException, NotAuthorizedError
from chalicelib.errors import error_body
from chalicelib.keys import HEADER, KeysUnavailableError
from chalicelib.observability import logger
from chalicelib.service import service
from chalicelib.settings import SettingsError

THREADS = 32
MAX_BODY_BYTES = 10 * 2**20  # of API Gateway
SHUTDOWN_GRACE_S = 5

# By API Gateway's own name of the response: status, code and message of the error form.
GATEWAY_RESPONSES = {
    "UNAUTHORIZED": (401, "unauthorized", f"send an API key in the header {HEADER}"),
    "ACCESS_DENIED": (403, "forbidden", f"the API key in the header {HEADER} is not valid"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "not_found", "there is nothing at this path"),
    "REQUEST_TOO_LARGE": (413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes"),
    "AUTHORIZER_FAILURE": (500, "authorizer_failed", "the API keys cannot be read; try again later"),
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of_gateway(cls, response_type: str) -> "Answer":
        """Return the answer that API Gateway would give by itself."""
        status, code, message = GATEWAY_RESPONSES[response_type]
        body = error_body(code, message, request_id=str(uuid.uuid4()))
        return cls(status, {"content-type": "application/json"}, json.dumps(body).encode())


class AsgiGateway:
    """An ASGI application around a Chalice app. Threads run the views, since they block."""

    def __init__(self, app: Chalice, pool: ThreadPoolExecutor) -> None:
        self._gateway = LocalGateway(app, Config(chalice_stage="dev"))
        self._pool = pool

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        body = await _read_body(receive)
        if body is None:
            answer = Answer.of_gateway("REQUEST_TOO_LARGE")
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._handle, scope, body)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _handle(self, scope: Message, body: bytes) -> Answer:
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        # LocalGateway hands an authorizer the authorization header only, whatever header it was declared with.
        headers.pop("authorization", None)
        if headers.get(HEADER, "").isascii() and headers.get(HEADER):
            headers["authorization"] = headers[HEADER]
        try:
            response = self._gateway.handle_request(
                scope["method"], f"{path}?{query}" if query else path, headers, body
            )
        except LocalGatewayException as error:
            return Answer.of_gateway(_response_type(error))
        except KeysUnavailableError:
            return Answer.of_gateway("AUTHORIZER_FAILURE")
        content = response["body"] or ""
        return Answer(response["statusCode"], dict(response["headers"]), content.encode())


def _response_type(error: LocalGatewayException) -> str:
    if isinstance(error, NotAuthorizedError):
        return "UNAUTHORIZED"
    if isinstance(error, ForbiddenError) and error.headers["x-amzn-ErrorType"] == "AccessDeniedException":
        return "ACCESS_DENIED"
    return "MISSING_AUTHENTICATION_TOKEN"


async def _read_body(receive: Receive) -> bytes | None:
    """Return the request's body, or None where it is larger than API Gateway takes."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()

    try:
        service()
    except SettingsError as error:
        sys.exit(f"cannot serve: {error}")
    chalice_app.__class__ = LocalChalice  # keeps the current request per thread, not on the app
    gateway = AsgiGateway(chalice_app, ThreadPoolExecutor(THREADS, thread_name_prefix="requests"))
    logger.info("serving", extra={"host": arguments.host, "port": arguments.port})
    uvicorn.run(
        gateway,
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


if __name__ == "__main__":
    main()
