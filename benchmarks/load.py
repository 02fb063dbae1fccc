"""The load on HTTP servers: one request, again and again, over connections that are kept.

Belongs here: the client that is the same for every server, and the processor time of a server. Does not: which servers, or
what they answer (``endpoints``).

A general HTTP client costs more than the servers do. This one writes bytes that are ready and parses answers in C, so that on
few cores it takes little from the server beside it.
"""

import asyncio
import time
from collections.abc import Callable
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
        bad: How many answers were not good.
    """

    latencies_s: list[float]
    elapsed_s: float
    body: bytes
    bad: int = 0


Good = Callable[[int, bytes], bool]
"""Whether an answer is good, by its status and body."""


def post(path: str, body: bytes, *, content_type: str, **headers: str) -> bytes:
    """Return the bytes of a POST; an underscore in a header's name stands for a hyphen."""
    more = {"host": HOST, "accept": "*/*", "content-type": content_type, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def get(path: str) -> bytes:
    """Return the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()


def run(port: int, request: bytes, *, connections: int, duration_s: float, good: Good | None = None) -> Load:
    """Send a request over each connection, and again as soon as it is answered, until the time is over.

    Args:
        port: Of the server.
        request: What to send.
        connections: How many at once.
        duration_s: After this time no further request is sent.
        good: Tells the bad answers, which are counted; without it, the first that is not 200 ends the load.

    Raises:
        LoadError: An answer is not 200 and nothing counts it, or a connection was closed.
    """
    return uvloop.run(_run(port, request, connections=connections, duration_s=duration_s, good=good))


async def _run(port: int, request: bytes, *, connections: int, duration_s: float, good: Good | None) -> Load:
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(request, good or _only_ok), HOST, port)
        for _ in range(connections)
    ]
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
    return Load(latencies_s, elapsed_s, opened[0][1].body, sum(connection.bad for _, connection in opened))


def _only_ok(status: int, body: bytes) -> bool:
    if status != OK:
        raise LoadError(f"the server answered {status}: {body[:300]!r}")
    return True


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the ``on_*`` methods are called by the parser."""

    def __init__(self, request: bytes, good: Good) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.body = b""
        self.bad = 0
        self._request = request
        self._good = good
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
        try:
            self.bad += not self._good(self._parser.get_status_code(), self.body)
        except LoadError as error:
            self.done.set_exception(error)
            return
        if now < self._until:
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
