"""Nothing that a client sends gets into the log, whatever happens to its request; each request is one line."""

import json
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import KEY, KEY_ID, World, start_server

WRONG_KEY = f"fraudit_{KEY_ID}_nobody-s_key"
NAME = "a-name-of-theirs"
"""Of a field that there is none of: named in the answer, but not in the log."""
CARD = "4111111111111111"
VALUES = {"Time": 86_399.125781, "V1": 0.0512345678, "V2": 1.0987654321, "Amount": 149.62837465}
PERSONAL = {
    "user_id": "user-of-marked-log",
    "device_info": {"device_type": "phone-marked", "os_version": "Android-marked", "app_version": "4.2.0-marked"},
    "ip_address": "198.18.177.203",
    "geo": {
        "country": "NL",
        "region": "Zuid-marked",
        "city": "Delft-marked",
        "latitude": 52.0115738,
        "longitude": 4.3571129,
    },
}
MARKS = [
    KEY.split("_", 2)[2],
    WRONG_KEY.split("_", 2)[2],
    CARD,
    "marked",
    "198.18.177.203",
    "52.0115738",
    "4.3571129",
    *map(str, VALUES.values()),
    str(math.log1p(VALUES["Amount"])),  # as the models get it
]


@pytest.fixture
def marked(body: Callable[..., Any]) -> Callable[..., Any]:
    """Makes bodies that are full of what must not be logged; ``v1`` is about the probability."""

    def make(v1: float = VALUES["V1"], **metadata: Any) -> Any:
        made = body()
        made["metadata"] |= {**PERSONAL, **metadata}
        return {**made, "data": {**VALUES, "V1": v1}}

    return make


def label(**fields: Any) -> dict[str, Any]:
    return {"transaction_id": secrets.token_hex(8), "label": 1, "source": "analyst", **fields}


def ask(api: httpx.Client, marked: Callable[..., Any]) -> list[httpx.Response]:
    """Send one of everything that an API with all of its neighbours, or without some, may be sent."""
    as_text = {**marked(), "data": ",".join(map(str, VALUES.values()))}
    good = {"x-api-key": KEY, "user-agent": "agent-marked", "x-forwarded-for": "198.18.177.203"}
    answers = [
        *(api.post("/predict", json=asked, headers=good) for asked in (marked(), as_text, marked(v1=0.9512345678))),
        *(
            api.post("/predict", json=asked, headers=good)
            for asked in (
                marked(user_id=CARD),
                marked(source="marked"),
                marked(ip_address="198.18.177.203.marked"),
                marked(**{NAME: "marked"}),
                marked(timestamp="2020-01-01T00:00:00Z-marked"),
                marked(v1="0.0512345678 marked"),
                marked(v1=1e300),
                {NAME: 1},
                ["marked"],
            )
        ),
        api.post(
            "/predict", content=b'{"marked": ' + b"[" * 10_000, headers={**good, "content-type": "application/json"}
        ),
        api.post("/predict", content=b"marked", headers={**good, "content-type": "text/marked"}),
        api.post("/predict/batch", json={"transactions": [marked(), marked(user_id=CARD), "marked"]}, headers=good),
        api.post("/predict/batch", json={"transactions": "marked"}, headers=good),
        api.post("/feedback", json=label(), headers=good),
        api.post("/feedback", json=label(label="marked"), headers=good),
        api.get("/models?marked=marked", headers=good),
        api.get("/health?deep=1&marked"),
        api.get("/openapi.json"),
        api.get("/marked/198.18.177.203"),
        api.request("PATCH", "/predict", json=marked(), headers=good),
        api.post("/predict", json=marked()),
        api.post("/predict", json=marked(), headers={"x-api-key": WRONG_KEY}),
        api.post("/predict", json=marked(), headers={b"x-api-key": "schl\u00fcssel-marked".encode()}),
    ]
    for answer in answers:
        assert "Traceback" not in answer.text
        assert 'File "' not in answer.text
    for refusal in (answer for answer in answers if answer.is_error):
        assert not [mark for mark in MARKS if mark in refusal.json()["error"]["message"]]
    return answers


@contextmanager
def watched(log: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives what was written meanwhile, every line of which is JSON, once no mark was found in it."""
    start = log.stat().st_size

    def written() -> list[dict[str, Any]]:
        text = log.read_bytes()[start:].decode()
        found = [line for line in text.splitlines() if any(mark in line for mark in [NAME, *MARKS])]
        assert not found
        return [json.loads(line) for line in text.splitlines()]

    yield written


def of_requests(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("message") == "request"]


def test_each_request_is_one_line(world: World, marked: Callable[..., Any]) -> None:
    with watched(world.log) as written:
        answers = ask(world.api, marked)
        lines = of_requests(written())
    assert [line["status"] for line in lines] == [answer.status_code for answer in answers]
    first = lines[0]
    assert (first["route"], first["key_id"], first["status"], first["code"]) == ("POST /predict", KEY_ID, 200, None)
    assert first["latency_ms"] > 0
    for answer, line in zip(answers, lines, strict=True):
        assert line["request_id"]
        if answer.is_error:
            error = answer.json()["error"]
            assert (error["request_id"], error["code"]) == (line["request_id"], line["code"])
    assert {line["route"] for line in lines} >= {"POST /feedback", "GET /models", "GET /health", "PATCH /predict", None}
    assert lines[-1]["key_id"] is None


@pytest.mark.parametrize("mode", ["down", "rubbish", "nan", "short"])
def test_models_that_fail_are_told_without_what_they_were_asked(
    world: World, marked: Callable[..., Any], mode: str
) -> None:
    for endpoint in world.runtime.endpoints.values():
        endpoint.mode = mode
    with watched(world.log) as written:
        assert ask(world.api, marked)[0].status_code == 503
        assert any(line.get("message") == "model did not answer" for line in written())


def test_a_kinesis_that_refuses_is_told_without_what_it_was_given(world: World, marked: Callable[..., Any]) -> None:
    world.kinesis.refused_as = (400, "ValidationException")
    with watched(world.log) as written:
        assert ask(world.api, marked)[0].json()["degraded"] == ["events"]
        assert any("DeadLetters" in line for line in written())


def test_an_event_that_is_lost_is_told_without_what_was_in_it(
    world: World, marked: Callable[..., Any], tmp_path: Path
) -> None:
    world.kinesis.refused_as = (400, "ValidationException")
    log = tmp_path / "log"
    with ExitStack() as stack:
        url, _ = start_server(stack, {**world.environment, "stream_bucket": "no-such-bucket"}, log)
        with httpx.Client(base_url=url, timeout=30) as api, watched(log) as written:
            assert ask(api, marked)[0].json()["degraded"] == ["events", "dead_letters"]
            assert any(line.get("code") == "event_lost" for line in written())
