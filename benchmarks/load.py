"""The load on HTTP servers: one request, again and again, over connections that are kept.

Belongs here: the client that is the same for every server, and the processor time of a server. Does not: which servers, or
what they answer (``endpoints``).

A general HTTP client costs more than the servers do. This one writes bytes that are ready and parses answers in C, so that on
few cores it takes little from the server beside it.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import httptools
import psutil
import uvloop

HOST = "127.0.0.1"
OK = 200


class LoadError(RuntimeError):
    """A server refused a request or closed a connection; the message has its answer."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load.

    Attributes:
        latencies_s: Of each request that was answered.
        elapsed_s: From the first request to the last answer.
        body: The last answer's body.
    """

    latencies_s: list[float]
    elapsed_s: float
    body: bytes


def post(path: str, body: bytes, *, content_type: str) -> bytes:
    """Return the bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\naccept: */*\r\ncontent-type: {content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """Return the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()


def run(port: int, request: bytes, *, connections: int, duration_s: float) -> Load:
    """Send a request over each connection, and again as soon as it is answered, until the time is over.

    Raises:
        LoadError: An answer is not 200, or a connection was closed.
    """
    return uvloop.run(_run(port, request, connections=connections, duration_s=duration_s))


async def _run(port: int, request: bytes, *, connections: int, duration_s: float) -> Load:
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Connection(request), HOST, port) for _ in range(connections)]
    started = time.perf_counter()
    for _, connection in opened:
        connection.start(until=started + duration_s)
    try:
        await asyncio.gather(*(connection.done for _, connection in opened))
    finally:
        for transport, _ in opened:
            transport.close()
    elapsed_s = time.perf_counter() - started
    latencies_s = [latency_s for _, connection in opened for latency_s in connection.latencies_s]
    return Load(latencies_s, elapsed_s, opened[0][1].body)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the ``on_*`` methods are called by the parser."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.body = b""
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._until = self._sent = 0.0

    def start(self, *, until: float) -> None:
        self._until = until
        self._send()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(f"the server closed the connection: {exc}"))

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.latencies_s.append(now - self._sent)
        self.body = b"".join(self._chunks)
        self._chunks.clear()
        status = self._parser.get_status_code()
        if status != OK:
            self.done.set_exception(LoadError(f"the server answered {status}: {self.body[:300]!r}"))
        elif now < self._until:
            self._send()
        else:
            self.done.set_result(None)

    def _send(self) -> None:
        if self._transport is None:
            raise LoadError("not connected")
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def processor_s(process: psutil.Process) -> float:
    """Return the processor time of a process and all that descend from it, user and system, in seconds."""
    times = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
    return sum(time.user + time.system for time in times)
