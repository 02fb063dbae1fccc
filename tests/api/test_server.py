"""The local server: whatever a client sends or does not send, the answer has the one form, and nobody else waits for it."""

import asyncio
import gzip
import http.client
import io
import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from app import app as chalice_app
from chalicelib.observability import JsonFormatter, logger
from gateway import GATEWAY_RESPONSES, MAX_BODY_BYTES, Answer, Gateway, Throttle
from server import AsgiGateway

from tests.api.conftest import KEY, World, start_server
from tests.conftest import ASK

if TYPE_CHECKING:
    import subprocess

JSON = {"x-api-key": KEY, "content-type": "application/json"}


def address_of(world: World) -> tuple[str, int]:
    """Where the API listens, for a client that is none of HTTP."""
    return world.api.base_url.host, world.api.base_url.port or 80


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer in the one form of all errors."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert response.headers["content-type"] == "application/json"
    assert "Traceback" not in response.text
    return response.status_code, error["code"]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "GET"])
def test_a_method_that_a_path_does_not_take_is_told_which_it_takes(world: World, method: str) -> None:
    for headers in ({}, JSON):
        response = world.api.request(method, "/predict", headers=headers)
        assert error_of(response) == (405, "method_not_allowed")
        assert response.headers["allow"] == "POST"


def test_head_has_the_status_without_the_body(world: World) -> None:
    response = world.api.head("/health")
    assert (response.status_code, response.headers["allow"], response.content) == (405, "GET", b"")


@pytest.mark.parametrize("path", ["/health/", "/%68ealth", "/health?", "/health?a=%ff&a=2&deep=0"])
def test_a_path_is_the_same_with_a_slash_at_its_end_and_however_it_is_encoded(world: World, path: str) -> None:
    assert world.api.get(path).json()["status"] == "ok"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health//",
        "//health",
        "/health;a",
        "/health%3Fa",
        "/health%23a",
        "/health%2F..",
        "/../health/x",
        "/%00",
        "/%ff",
        "/" + "x" * 9_000,
    ],
)
def test_nothing_is_at_any_other_path(world: World, path: str) -> None:
    for headers in ({}, {"x-api-key": KEY}, {"authorization": "Bearer \u00e9".encode()}):
        with socket.create_connection(address_of(world)) as connection:
            lines = [b"GET %s HTTP/1.1" % path.encode(), b"host: x", b"connection: close"]
            lines += [
                name.encode() + b": " + (v if isinstance(v, bytes) else v.encode()) for name, v in headers.items()
            ]
            connection.sendall(b"\r\n".join([*lines, b"", b""]))
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, (401, "unauthorized")),
        (b"", (401, "unauthorized")),
        (b"wrong", (403, "forbidden")),
        (KEY.upper().encode(), (403, "forbidden")),
        (f"{KEY} {KEY}".encode(), (403, "forbidden")),
        ("kl\u00fcssel".encode(), (403, "forbidden")),
        (b"\xff\xfe", (403, "forbidden")),
        (KEY.encode() * 200, (403, "forbidden")),
    ],
)
def test_none_but_a_whole_key_opens(world: World, key: bytes | None, expected: tuple[int, str]) -> None:
    headers = {} if key is None else {b"x-api-key": key}
    assert error_of(world.api.post("/predict", json={}, headers=headers)) == expected
    assert (
        error_of(world.api.post("/predict", json={}, headers={**headers, b"authorization": KEY.encode()})) == expected
    )


def test_spaces_around_a_key_are_not_part_of_a_header(world: World) -> None:
    connection = http.client.HTTPConnection(*address_of(world))
    connection.request("GET", "/models", headers={"x-api-key": f"  {KEY}\t"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"\xff\xfe\x00", {}, (400, "invalid_json")),
        (b"\x89PNG", {"content-type": "image/png"}, (415, "unsupported_media_type")),
        (b"\x00\x01", {"content-type": "application/octet-stream"}, (415, "unsupported_media_type")),
        (gzip.compress(b"{}", mtime=0), {"content-encoding": "gzip"}, (415, "unsupported_media_type")),
        (gzip.compress(b"{}", mtime=0), {}, (400, "invalid_json")),
    ],
)
def test_a_body_that_is_no_json_text_is_refused(
    world: World, content: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    response = world.api.post("/predict", content=content, headers={**JSON, **headers})
    assert error_of(response) == expected


def test_a_body_in_chunks_is_a_body(world: World, body: Callable[..., Any]) -> None:
    def chunks() -> Iterator[bytes]:
        for byte in json.dumps(body()).encode():
            yield bytes([byte])

    assert world.api.post("/predict", content=chunks(), headers=JSON).status_code == 200


def test_a_body_that_says_it_is_too_large_is_not_read(world: World) -> None:
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {2**30}\r\n\r\n"
    with socket.create_connection(address_of(world)) as connection:
        connection.sendall(head.encode() + b"{")  # and nothing more
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))  # until the server hangs up
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"


def test_a_body_that_grows_too_large_is_cut(world: World) -> None:
    sent_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent_bytes
        while sent_bytes < 2**30:
            sent_bytes += 2**20
            yield bytes(2**20)

    with httpx.Client(base_url=world.api.base_url) as client:
        assert error_of(client.post("/predict", content=endless(), headers=JSON)) == (413, "too_large")
    assert sent_bytes < 4 * MAX_BODY_BYTES


def test_more_connections_than_threads_are_all_answered_and_kept(world: World) -> None:
    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=world.api.base_url, limits=limits, timeout=30) as client:
            answers = [await asyncio.gather(*(client.get("/health") for _ in range(100))) for _ in range(2)]
            return [answer.status_code for several in answers for answer in several]

    assert asyncio.run(ask()) == [200] * 200


def test_clients_that_dawdle_hold_no_thread(world: World, body: Callable[..., Any]) -> None:
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: 1000\r\n\r\n{{"
    with ExitStack() as stack:
        for _ in range(64):  # twice as many as there are threads
            stack.enter_context(socket.create_connection(address_of(world))).sendall(head.encode())
        assert world.predict(body()).status_code == 200


def answers_of(gateway: AsgiGateway, receive: Callable[[], Any], **headers: str) -> list[dict[str, Any]]:
    """What an ASGI application sends to a client that sends what ``receive`` gives."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": named}
    asyncio.run(gateway(scope, receive, send))
    return sent


@pytest.fixture
def impatient() -> Iterator[AsgiGateway]:
    with ThreadPoolExecutor(1) as pool:
        yield AsgiGateway(Gateway(chalice_app), Throttle(100, 100), pool, body_timeout_s=0.05)


def test_a_body_that_does_not_come_is_waited_for_so_long_and_no_longer(impatient: AsgiGateway) -> None:
    start, body, _ = answers_of(impatient, lambda: asyncio.sleep(3600))
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "request_timeout"


def test_more_requests_at_once_than_the_function_takes_are_throttled_and_the_next_are_not() -> None:
    handled, go_on = [], threading.Event()

    class Slow(Gateway):
        def handle(self, *request: Any) -> Answer:
            handled.append(request)
            go_on.wait()
            return Answer(200, {}, b"")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def ask() -> list[int]:
        sent: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])
                if len(sent) == 2:
                    go_on.set()

        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
        await asyncio.gather(*(gateway(scope, receive, send) for _ in range(5)))
        await gateway(scope, receive, send)
        return sent

    with ThreadPoolExecutor(1) as pool:
        gateway = AsgiGateway(Slow(chalice_app), Throttle(100, 100), pool, concurrency=3)
        assert asyncio.run(ask()) == [429, 429, 200, 200, 200, 200]
    assert len(handled) == 4


def test_a_client_that_hangs_up_in_the_middle_is_not_answered(impatient: AsgiGateway) -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    assert answers_of(impatient, receive) == []


def test_a_bug_before_the_app_is_an_answer_without_its_trace_and_a_log_line_without_its_words(
    impatient: AsgiGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = str(4110 + 1)  # not as it stands in this line, which a trace may show

    def broken() -> None:
        raise ValueError(number)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr("app.service", broken)
    start, body = answers_of(impatient, receive, x_api_key="k")
    assert start["status"] == 500
    assert json.loads(body["body"])["error"]["code"] == "internal_error"
    logged = handler.stream.getvalue()
    assert "ValueError" in logged
    assert number not in logged + body["body"].decode()


def test_a_stage_lets_a_burst_in_and_then_so_many_per_second() -> None:
    now_s = 0.0
    throttle = Throttle(rate=2, burst=3, clock=lambda: now_s)
    assert [throttle.lets_in() for _ in range(4)] == [True, True, True, False]
    now_s = 0.5
    assert [throttle.lets_in() for _ in range(2)] == [True, False]
    now_s = 100
    assert [throttle.lets_in() for _ in range(4)] == [True, True, True, False]


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Callable[..., tuple[str, "subprocess.Popen[bytes]"]]]:
    """Starts a server of its own, with arguments; returns its URL and process."""
    with ExitStack() as stack:
        yield lambda *arguments: start_server(stack, world.environment, tmp_path / "log", *arguments)


def test_more_requests_than_the_stage_takes_are_throttled(server: Callable[..., Any]) -> None:
    url, _ = server("--rate", "0.001", "--burst", "30")
    with httpx.Client(base_url=url) as client:
        answers = [client.get("/health") for _ in range(40)]
    throttled = [answer for answer in answers if answer.status_code != 200]
    assert throttled
    for answer in throttled:
        assert error_of(answer) == (429, "throttled")
        assert answer.headers["retry-after"] == "1"


def test_requests_under_way_are_answered_before_it_stops(
    server: Callable[..., Any], world: World, body: Callable[..., Any]
) -> None:
    url, process = server()
    world.kinesis.delay_s = 0.5
    asked, answers = body(), []
    asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/predict", json=asked, headers=JSON)))
    asking.start()
    while not world.kinesis.attempts[asked["metadata"]["transaction_id"]]:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    asking.join()
    assert answers[0].status_code == 200
    assert process.wait(timeout=20) in {0, -signal.SIGTERM}
    with pytest.raises(httpx.ConnectError):
        ASK.get(f"{url}/health")


def test_each_answer_of_the_gateway_has_a_status_a_code_and_words() -> None:
    for status, code, message in GATEWAY_RESPONSES.values():
        assert 400 <= status < 600
        assert code.replace("_", "").isalpha()
        assert message
