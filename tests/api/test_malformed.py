"""10,000 malformed requests: no status of 500 or above, one form of errors, and the field at fault is named."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import jsonschema
import pytest
from chalicelib import service as service_module
from chalicelib.card_numbers import holds_card_number
from chalicelib.service import Service

from tests.api.conftest import KEY, World
from tests.api.malformed import Malformed, malformed

ERROR_SCHEMA = Path(__file__).parents[2] / "fraudit_dagster" / "schemas" / "error.v1.json"
ERROR = jsonschema.Draft202012Validator(json.loads(ERROR_SCHEMA.read_text()))

Send = Callable[[Malformed], tuple[int, bytes]]


@pytest.fixture
def send_in_process(make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> Send:
    """Hands requests to what stands behind the HTTP server."""
    from app import app
    from gateway import Gateway

    monkeypatch.setattr(service_module, "_service", make_service())
    gateway = Gateway(app)

    def send(request: Malformed) -> tuple[int, bytes]:
        headers = {"content-type": request.content_type, "x-api-key": KEY}
        answer = gateway.handle(request.method, request.path, "", headers, request.body)
        return answer.status, answer.body

    return send


@pytest.fixture
def send_over_http(world: World) -> Send:
    """Sends requests to the running API."""

    def send(request: Malformed) -> tuple[int, bytes]:
        headers = {"content-type": request.content_type, "x-api-key": KEY}
        url = httpx.URL(world.api.base_url, path=request.path)
        response = world.api.request(request.method, url, content=request.body, headers=headers)
        return response.status_code, response.content

    return send


def problem(request: Malformed, status: int, body: bytes) -> str | None:
    """Return what is wrong with an answer, or None."""
    if status not in request.statuses:
        return f"status {status}"
    answer = json.loads(body)
    errors = [answer] if status >= 400 else [result for result in answer.get("results", []) if "error" in result]
    if not all(map(ERROR.is_valid, errors)):
        return "an error of another form"
    fields = tuple(error["error"]["field"] for error in errors)
    if request.fields is not None and fields != request.fields:
        return f"it names {fields}"
    if any(holds_card_number(error["error"]["message"] + str(error["error"]["field"])) for error in errors):
        return "a card number is repeated"
    return None


def problems(send: Send, *, seed: int, number: int) -> tuple[list[str], Mapping[int, int]]:
    """Send malformed requests; return what is wrong with the answers, and how many answers had which status."""
    rng = random.Random(seed)  # noqa: S311 - the same requests every time
    statuses: Counter[int] = Counter()
    found = []
    for _ in range(number):
        request = malformed(rng)
        status, body = send(request)
        statuses[status] += 1
        if wrong := problem(request, status, body):
            expected = f"{request.statuses} {request.fields} expected of {request.method} {request.path}"
            found.append(f"{wrong}: {expected}: {request.body[:1000]!r} -> {body[:500]!r}")
    return found, statuses


def test_10000_malformed_requests(send_in_process: Send) -> None:
    found, statuses = problems(send_in_process, seed=5, number=10_000)
    assert not found, f"{len(found)} problems\n" + "\n".join(found[:10])
    assert {400, 404, 405, 413, 415} <= statuses.keys()
    assert statuses[400] > 5_000


def test_300_over_http(send_over_http: Send) -> None:
    found, _ = problems(send_over_http, seed=6, number=300)
    assert not found, f"{len(found)} problems\n" + "\n".join(found[:10])
