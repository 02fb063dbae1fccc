"""SageMaker endpoints that cost next to nothing and answer late: ``python -m benchmarks.stand_in_endpoints PORT DELAY_MS``.

Belongs here: InvokeEndpoint as far as a client can tell, with the delay of a network. Does not: any model; the scores are always
the same. A path that names the anomaly detector is answered as its container does, any other one as the classifier's.
"""

import asyncio
import sys

import httptools
import uvloop

HOST = "127.0.0.1"
DETECTOR = b"rcf"
CLASSIFIER_REPLY = b'{"predictions":[{"score":0.05}]}'
DETECTOR_REPLY = b'{"scores":[{"score":1.25}]}'


class Connection(asyncio.Protocol):
    """One kept connection; the ``on_*`` methods are called by the parser."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_url(self, path: bytes) -> None:
        """Keep which endpoint is asked."""
        self._path = path

    def on_message_complete(self) -> None:
        """Answer after the delay."""
        asyncio.get_running_loop().call_later(self._delay_s, self._answer, self._path)

    def _answer(self, path: bytes) -> None:
        body = DETECTOR_REPLY if DETECTOR in path else CLASSIFIER_REPLY
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amzn-requestid: 0\r\ncontent-length: %d\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head % len(body) + body)  # type: ignore[attr-defined]  # of TCP


async def serve(port: int, delay_s: float) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(delay_s), HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
