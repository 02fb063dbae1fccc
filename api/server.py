# ruff: noqa: INP001 - a program beside app.py, in no package
"""Serves the Chalice app on this machine: ``python server.py --port 8000``. Not shipped to Lambda.

Belongs here: HTTP by uvicorn, and bodies that are slow or large. Does not: what API Gateway would do (``gateway.py``).
``chalice local`` itself stalls for 44 ms on kept connections.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import uvicorn
from app import app as chalice_app
from chalice.local import LocalChalice
from chalicelib.observability import configure_logging, logger
from chalicelib.service import service
from chalicelib.settings import SettingsError
from gateway import MAX_BODY_BYTES, Answer, Gateway, Throttle

THREADS = 16  # with more, the loop waits its turn for the interpreter behind them, and connections wait to be taken
BODY_TIMEOUT_S = 29.0  # of API Gateway, for everything
LINGER_S = 1.0
SHUTDOWN_GRACE_S = 15  # a batch takes 10 s at most
RATE, BURST = 10_000, 5_000  # requests per second, and at once: of an AWS account
CONCURRENCY = 128
"""Requests in threads and waiting for one, as the function's concurrency on AWS. Of an endless queue clients would long have left
the far end: all work would be for nobody, and not even health would be answered."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGoneError(Exception):
    """The client hung up before its request was complete: nobody waits for an answer."""


class BodyTooLargeError(Exception):
    """The body is, or says that it is, larger than API Gateway takes."""


class AsgiGateway:
    """An ASGI application around a gateway. Threads run the views, since they block; a thread never waits for a client."""

    def __init__(
        self,
        gateway: Gateway,
        throttle: Throttle,
        pool: ThreadPoolExecutor,
        *,
        concurrency: int = CONCURRENCY,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._gateway = gateway
        self._throttle = throttle
        self._pool = pool
        self._free = concurrency
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        # Spaces around a value are not part of it (RFC 9110, 5.5); httptools leaves those after it.
        headers = {name.decode("latin-1"): value.decode("latin-1").strip(" \t") for name, value in scope["headers"]}
        try:
            answer, hang_up = await self._answer(scope, headers, receive)
        except ClientGoneError:
            return
        await _send(send, answer, receive, hang_up=hang_up)

    async def _answer(self, scope: Message, headers: dict[str, str], receive: Receive) -> tuple[Answer, bool]:
        """Return the answer, and whether nothing more is to come from this client."""
        if not self._throttle.lets_in():
            return Answer.of_gateway("THROTTLED"), False
        try:
            async with asyncio.timeout(self._body_timeout_s):
                body = await _read_body(receive, announced=headers.get("content-length", ""))
        except BodyTooLargeError:
            return Answer.of_gateway("REQUEST_TOO_LARGE"), True
        except TimeoutError:
            return Answer.of_gateway("REQUEST_TIMEOUT"), True
        if not self._free:
            return Answer.of_gateway("THROTTLED"), False
        request = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)
        self._free -= 1
        handling = asyncio.get_running_loop().run_in_executor(self._pool, self._gateway.handle, *request)
        handling.add_done_callback(self._freed)
        return await handling, False

    def _freed(self, _: object) -> None:
        self._free += 1


async def _read_body(receive: Receive, *, announced: str) -> bytes:
    """Return a request's body, of which no more is read than may be.

    Args:
        receive: Of ASGI.
        announced: Its size as the client says it, or nothing where it comes in chunks.
    """
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise BodyTooLargeError
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLargeError
    return bytes(body)


async def _send(send: Send, answer: Answer, receive: Receive, *, hang_up: bool) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    if hang_up:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": hang_up})
    if hang_up:
        await _linger(receive)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Read on for a moment: a connection closed on a client that still sends would cost it the answer."""
    size_bytes, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while more and size_bytes <= MAX_BODY_BYTES:
                message = await receive()
                size_bytes += len(message.get("body", b""))
                more = message.get("more_body", False)


def main() -> None:
    """Serve until a signal comes; requests under way are answered first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second; more are throttled")
    parser.add_argument("--burst", type=int, default=BURST, help="requests at once; more are throttled")
    arguments = parser.parse_args()

    try:
        service()
    except SettingsError as error:
        sys.exit(f"cannot serve: {error}")
    chalice_app.__class__ = LocalChalice  # keeps the current request per thread, not on the app
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="requests")
    throttle = Throttle(rate=arguments.rate, burst=arguments.burst)
    logger.info("serving", extra={"host": arguments.host, "port": arguments.port})
    configure_logging("uvicorn.error")
    uvicorn.run(
        AsgiGateway(Gateway(chalice_app), throttle, pool),
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,  # its own lines are no JSON
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


if __name__ == "__main__":
    main()
