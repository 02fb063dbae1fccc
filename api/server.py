# ruff: noqa: INP001 - a program beside app.py, in no package
"""Serves the Chalice app on this machine: ``python server.py --port 8000``. Not shipped to Lambda.

Chalice's own ``LocalGateway`` does what API Gateway would (routes, the authorizer), in threads behind uvicorn:
``chalice local`` itself stalls for 44 ms on kept connections. What API Gateway answers by itself (no key, wrong key,
no route) gets the form that the gateway responses of the deployment give it.
"""

import argparse
import asyncio
import json
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

THREADS = 32
MAX_BODY_BYTES = 10 * 2**20  # of API Gateway
SHUTDOWN_GRACE_S = 5

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
    def of_gateway(cls, status: int, code: str, message: str) -> "Answer":
        """The answer that a gateway response gives in the deployment."""
        body = error_body(code, message, request_id=str(uuid.uuid4()))
        return cls(status, {"content-type": "application/json"}, json.dumps(body).encode())


class AsgiGateway:
    """An ASGI application around a Chalice app. Threads run the views, since they block."""

    def __init__(self, app: Chalice, pool: ThreadPoolExecutor) -> None:
        self._gateway = LocalGateway(app, Config(chalice_stage="dev"))
        self._pool = pool

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; or take part in the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            answer = Answer.of_gateway(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._handle, scope, body)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        service()  # settings that are wrong stop the start, not the first request
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._pool.shutdown(cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

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
            return _refusal(error)
        except KeysUnavailableError:
            return Answer.of_gateway(500, "authorizer_failed", "the API keys cannot be read; try again later")
        content = response["body"] or ""
        return Answer(response["statusCode"], dict(response["headers"]), content.encode())


def _refusal(error: LocalGatewayException) -> Answer:
    if isinstance(error, NotAuthorizedError):
        return Answer.of_gateway(401, "unauthorized", f"send an API key in the header {HEADER}")
    if isinstance(error, ForbiddenError) and error.headers["x-amzn-ErrorType"] == "AccessDeniedException":
        return Answer.of_gateway(403, "forbidden", f"the API key in the header {HEADER} is not valid")
    return Answer.of_gateway(404, "not_found", "there is nothing at this path")


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

    chalice_app.__class__ = LocalChalice  # keeps the current request per thread, not on the app
    gateway = AsgiGateway(chalice_app, ThreadPoolExecutor(THREADS, thread_name_prefix="requests"))
    logger.info("serving", extra={"host": arguments.host, "port": arguments.port})
    uvicorn.run(
        gateway,
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


if __name__ == "__main__":
    main()
