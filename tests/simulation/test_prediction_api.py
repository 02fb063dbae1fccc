"""The client retries what may pass, tells apart what cannot, and counts what becomes of a replay."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.simulation import SimulatedEvent
from resources.prediction_api import Outcome, PredictionApi, PredictionApiError
from tests.api.stand_ins import serving

Reply = tuple[int, Any]


class Api:
    """An API over HTTP that replies to each transaction with its own list of replies, the last one for ever."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: Counter[str] = Counter()
        self.keys: set[bytes | None] = set()
        self.under_way = 0
        self.most_under_way = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": message["type"] + ".complete"})
            return
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        content = (await receive())["body"]
        name = json.loads(content)["metadata"]["transaction_id"] if content else scope["path"]
        self.requests[name] += 1
        self.keys.add(dict(scope["headers"]).get(b"x-api-key"))
        replies = self.replies.get(name, [(200, answer(name))])
        status, reply = replies.pop(0) if len(replies) > 1 else replies[0]
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        length = (b"content-length", str(len(body)).encode())
        self.under_way -= 1
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


def answer(transaction_id: str, decision: str = "approve", *, degraded: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "decision": decision,
        "fraud_classifier": {"pred_proba": 0.1, "prediction": 0, "model_version": "7"},
        "anomaly_detector": {"score": None, "model_version": "7"},
        "reasons": [{"feature": "V1", "value": 1.0, "weight": 0.2}],
        "degraded": list(degraded),
        "a field of a later version": 1,
    }


def error(code: str, *, field: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": "because", "field": field, "request_id": "1"}}


def event(name: str) -> SimulatedEvent:
    return SimulatedEvent(name, body(name), row=0, label=0)


def body(name: str) -> dict[str, Any]:
    return {"metadata": {"transaction_id": name}, "data": "1,2"}


@pytest.fixture
def server() -> Api:
    return Api()


@pytest.fixture
def api(server: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictionApi]:
    monkeypatch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
    with serving(server) as url:
        client = PredictionApi(url=url, api_key="secret")
        yield client
        client.close()


def test_predict(server: Api, api: PredictionApi) -> None:
    server.replies["t"] = [(200, answer("t", "block", degraded=("events",)))]
    found = api.predict(body("t"))
    assert (found.transaction_id, found.decision, found.degraded) == ("t", "block", ["events"])
    assert found.fraud_classifier.pred_proba == 0.1
    assert found.anomaly_detector.score is None
    assert found.reasons[0].weight == 0.2
    assert server.keys == {b"secret"}


def test_health(server: Api, api: PredictionApi) -> None:
    server.replies["/health"] = [(200, {"status": "down", "manifest_version": None})]
    assert api.health().status == "down"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: Api, api: PredictionApi, status: int) -> None:
    server.replies["t"] = [(status, error("later")), (status, b"<html>"), (200, answer("t"))]
    assert api.predict(body("t")).decision == "approve"
    assert server.requests["t"] == 3


def test_attempts_are_bounded(server: Api, api: PredictionApi) -> None:
    server.replies["t"] = [(503, error("models_unavailable"))]
    with pytest.raises(PredictionApiError, match="503 models_unavailable: because") as raised:
        api.predict(body("t"))
    assert (raised.value.code, raised.value.status, server.requests["t"]) == ("models_unavailable", 503, 4)


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (
            (400, error("missing_field", field="data.V7")),
            "missing_field",
            r"400 missing_field \(field data\.V7\): because",
        ),
        ((403, {"message": "Forbidden"}), "http_403", "Forbidden"),
        ((404, b"nothing here"), "http_404", "nothing here"),
        ((200, b"{}"), "unexpected_answer", "transaction_id"),
    ],
)
def test_what_cannot_pass_is_not(server: Api, api: PredictionApi, reply: Reply, code: str, message: str) -> None:
    server.replies["t"] = [reply]
    with pytest.raises(PredictionApiError, match=message) as raised:
        api.predict(body("t"))
    assert (raised.value.code, raised.value.status, server.requests["t"]) == (code, reply[0], 1)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
    with serving(Api()) as url:
        pass
    api = PredictionApi(url=url)
    with pytest.raises(PredictionApiError, match=f"cannot reach the prediction API at {url}") as raised:
        api.health()
    api.close()
    assert (raised.value.code, raised.value.status) == ("unreachable", None)


def test_a_replay_is_counted(server: Api, api: PredictionApi) -> None:
    server.replies["1"] = [(200, answer("1", "block"))]
    server.replies["2"] = [(400, error("not_finite", field="data.V1"))]
    server.replies["3"] = [(503, error("later")), (200, answer("3", "review", degraded=("events",)))]
    seen: list[Outcome] = []
    report = api.replay((event(str(n)) for n in range(100)), concurrency=4, on_answer=seen.append)
    assert (report.requests, report.answered) == (100, 99)
    assert report.errors == {"not_finite": 1}
    assert report.decisions == {"approve": 97, "block": 1, "review": 1}
    assert report.degraded == {"events": 1}
    assert 0 < report.p50_ms <= report.p99_ms
    assert report.throughput > 0
    assert {outcome.event.transaction_id for outcome in seen} == {str(n) for n in range(100)}
    (failed,) = [outcome for outcome in seen if outcome.error]
    assert (failed.event.transaction_id, failed.answer) == ("2", None)


def test_dagster_closes_the_connections(api: PredictionApi) -> None:
    with dg.build_resources({"api": api}) as resources:
        assert resources.api.predict(body("t")).decision == "approve"
        client = resources.api._client
    assert client.is_closed


def test_a_replay_of_nothing(api: PredictionApi) -> None:
    report = api.replay([], concurrency=4)
    assert (report.requests, report.errors, report.p50_ms, report.p99_ms) == (0, {}, 0.0, 0.0)


def test_an_interrupt_sends_no_more_and_leaves_no_thread(server: Api, api: PredictionApi) -> None:
    def interrupt(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.replay((event(str(n)) for n in range(10_000)), concurrency=4, on_answer=interrupt)
    assert sum(server.requests.values()) <= 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replay")]
