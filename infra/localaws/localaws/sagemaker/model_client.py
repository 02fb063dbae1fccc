"""HTTP to one model process, over connections that are kept.

Belongs here: asking and answering on a socket. Does not: what an answer means (``hosting.py``).
A general client costs more than the model itself; httptools is the parser that uvicorn uses.
"""

import asyncio
from typing import Any, NamedTuple, cast

import httptools


class ModelUnavailableError(Exception):
    """The model process did not answer; the message says why."""


class Response(NamedTuple):
    """One answer of a model process."""

    status: int
    content_type: str
    body: bytes


class ModelClient:
    """A pool of connections to a model process on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def get(self, path: str, *, timeout_s: float) -> Response:
        """Send a GET.

        Raises:
            ModelUnavailableError: There was no answer in time.
        """
        return await self._ask(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode(), timeout_s=timeout_s)

    async def post(self, path: str, body: bytes, *, content_type: bytes, accept: bytes, timeout_s: float) -> Response:
        """Send a POST; an empty header is left out.

        Raises:
            ModelUnavailableError: There was no answer in time.
        """
        head = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n" % (path.encode(), len(body))
        if content_type:
            head += b"content-type: %s\r\n" % content_type
        if accept:
            head += b"accept: %s\r\n" % accept
        return await self._ask(head + b"\r\n" + body, timeout_s=timeout_s)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, request: bytes, *, timeout_s: float) -> Response:
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connection()
                try:
                    response = await connection.ask(request)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError as error:
            raise ModelUnavailableError(f"no answer within {timeout_s:g} s") from error
        except OSError as error:
            raise ModelUnavailableError(f"the connection failed: {error}") from error
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    async def _connection(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the ``on_*`` methods are called by the parser."""

    def __init__(self) -> None:
        self.reusable = True
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None
        self._content_type = ""
        self._body: list[bytes] = []

    async def ask(self, request: bytes) -> Response:
        if self._transport is None:
            raise ConnectionResetError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._content_type, self._body = "", []
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionAbortedError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed by the model process"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._content_type = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Response(self._parser.get_status_code(), self._content_type, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        self.reusable = False
        waiting: asyncio.Future[Any] | None = self._answer
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
