"""What stands between the job and the two ends of its stream, and can fail on demand.

Belongs here: faults of a connection, and answers that the real service would need minutes or a second reader for. Does not: processes
(``harness.py``).
"""

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

LOCAL = "127.0.0.1"
COPY_BYTES = 64 * 1024  # what comes before the rows of a batch is far less, the rows of any batch here are far more
CHUNK_BYTES = 64 * 1024


class Moment(Enum):
    """Where a connection to PostgreSQL can be held."""

    CONNECT = auto()
    COPY = auto()
    COMMITTED = auto()


class Gate:
    """A proxy before PostgreSQL: at a chosen moment nothing passes any more, as in a network that has stalled."""

    def __init__(self, port: int) -> None:
        self._target = LOCAL, port
        self._moment: Moment | None = None
        self._reached, self._open = threading.Event(), threading.Event()
        self._listener = socket.create_server((LOCAL, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def holding(self, moment: Moment) -> Iterator[Callable[[], None]]:
        """Hold what comes to that moment, until the end of the block; yields the wait for the first."""
        self._reached.clear()
        self._open.clear()
        self._moment = moment

        def reached() -> None:
            assert self._reached.wait(300), f"nothing came to {moment}"

        try:
            yield reached
        finally:
            self._moment = None
            self._open.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._moment is Moment.CONNECT:
            self._hold()
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            committing = threading.Event()
            threading.Thread(target=self._answer, args=(server, client, committing), daemon=True).start()
            sent_bytes = 0
            while data := client.recv(CHUNK_BYTES):
                sent_bytes += len(data)
                if self._moment is Moment.COPY and sent_bytes > COPY_BYTES:
                    self._hold()
                if self._moment is Moment.COMMITTED and b"COMMIT" in data:
                    committing.set()
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket, committing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK_BYTES):
                if committing.is_set():
                    self._hold()
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _hold(self) -> None:
        self._reached.set()
        self._open.wait()


class KinesisProxy(ThreadingHTTPServer):
    """Kinesis as the job sees it.

    Attributes:
        refusals: Error codes: one for each GetRecords to come.
        strike: Done once, when records are on their way to the job, which then gets no answer.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((LOCAL, 0), _KinesisHandler)
        self.url = f"http://{LOCAL}:{self.server_port}"
        self.refusals: deque[str] = deque()
        self.strike: Callable[[], None] | None = None
        self.upstream = httpx.Client(base_url=f"http://{LOCAL}:{port}", timeout=30)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.upstream.close()


class _KinesisHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: KinesisProxy

    def do_POST(self) -> None:
        request = self.rfile.read(int(self.headers["Content-Length"]))
        reads = self.headers["X-Amz-Target"].endswith(".GetRecords")
        if reads and self.server.refusals:
            error = {"__type": self.server.refusals.popleft(), "message": "as the test wants it"}
            self._reply(400, json.dumps(error).encode())
            return
        try:
            answer = self.server.upstream.post("/", content=request, headers=dict(self.headers))
        except httpx.HTTPError:
            self.close_connection = True
            return
        strike = self.server.strike
        if reads and strike and b'"Data"' in answer.content:
            self.server.strike = None
            strike()
            self.close_connection = True
            return
        self._reply(answer.status_code, answer.content)

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
