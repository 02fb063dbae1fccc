"""The client retries what may pass, within bounds, and tells apart what cannot."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from resources.prediction_api import LONGEST_PAUSE_S, Acceptance, Answer, PredictionApi, PredictionApiError
from tests.api.stand_ins import serving
from tests.simulation.stand_in import Api, Reply, answer, error


def body(name: str) -> dict[str, Any]:
    return {"metadata": {"transaction_id": name}, "data": "1,2"}


@pytest.fixture
def server() -> Api:
    return Api()


@pytest.fixture
def api(server: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictionApi]:
    monkeypatch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
    with serving(server) as url:
        yield PredictionApi(url=url, api_key="secret")


def predict(api: PredictionApi, name: str) -> Answer:
    async def ask() -> Answer:
        async with api.connected() as connection:
            return await connection.predict(body(name))

    return asyncio.run(ask())


def test_predict(server: Api, api: PredictionApi) -> None:
    server.replies["t"] = [(200, answer("t", "block", degraded=("events",)))]
    found = predict(api, "t")
    assert (found.transaction_id, found.decision, found.degraded) == ("t", "block", ["events"])
    assert found.fraud_classifier.pred_proba == 0.1
    assert found.anomaly_detector.score is None
    assert found.reasons[0].weight == 0.2
    assert server.keys == {b"secret"}


def test_feedback(server: Api, api: PredictionApi) -> None:
    server.replies["/feedback"] = [(202, {"transaction_id": "t", "accepted": True, "degraded": ["events"]})]
    label = {"transaction_id": "t", "label": 1, "source": "chargeback"}

    async def tell() -> Acceptance:
        async with api.connected() as connection:
            return await connection.feedback(label)

    assert asyncio.run(tell()).degraded == ["events"]
    assert server.labels == [label]


def test_health(server: Api, api: PredictionApi) -> None:
    server.replies["/health"] = [(200, {"status": "down", "manifest_version": None})]
    assert api.health().status == "down"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: Api, api: PredictionApi, status: int) -> None:
    server.replies["t"] = [(status, error("later")), (status, b"<html>"), (200, answer("t"))]
    assert predict(api, "t").decision == "approve"
    assert server.requests["t"] == 3


def test_what_is_throttled_is_tried_again_for_a_time_and_then_as_often_as_what_fails(
    server: Api, api: PredictionApi
) -> None:
    server.replies["t"] = [*[(429, error("throttled"))] * 20, (200, answer("t"))]
    assert predict(api, "t").decision == "approve"
    assert server.requests["t"] == 21
    server.replies["u"] = [(429, error("throttled"))]
    with pytest.raises(PredictionApiError, match="429 throttled"):
        predict(api.model_copy(update={"throttled_s": 0.0}), "u")
    assert server.requests["u"] == 4


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [("0", 0.0), ("2", 2.0), ("3600", LONGEST_PAUSE_S), ("soon", 0.001), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.001)],
)
def test_retry_after_is_honoured_within_bounds(
    server: Api, api: PredictionApi, monkeypatch: pytest.MonkeyPatch, asked_for: str, waited: float
) -> None:
    pauses: list[float] = []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)

    server.replies["t"] = [(429, error("too_many")), (200, answer("t"))]
    server.retry_after = asked_for.encode()
    monkeypatch.setattr("resources.prediction_api.asyncio", SimpleNamespace(sleep=sleep))
    assert predict(api, "t").decision == "approve"
    assert pauses == [waited]


def test_attempts_are_bounded(server: Api, api: PredictionApi) -> None:
    server.replies["t"] = [(503, error("models_unavailable"))]
    with pytest.raises(PredictionApiError, match="503 models_unavailable: because") as raised:
        predict(api, "t")
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
        predict(api, "t")
    assert (raised.value.code, raised.value.status, server.requests["t"]) == (code, reply[0], 1)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
    with serving(Api()) as url:
        pass
    with pytest.raises(PredictionApiError, match=f"cannot reach the prediction API at {url}") as raised:
        PredictionApi(url=url).health()
    assert (raised.value.code, raised.value.status) == ("unreachable", None)


def test_an_answer_that_does_not_come_has_a_name_of_its_own(server: Api, api: PredictionApi) -> None:
    server.never.add("t")
    impatient = PredictionApi(url=api.url, timeout_s=0.05, attempts=2)
    with pytest.raises(PredictionApiError) as raised:
        predict(impatient, "t")
    assert (raised.value.code, raised.value.status, server.requests["t"]) == ("timeout", None, 2)


def test_the_environments_proxy_is_asked(server: Api, api: PredictionApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", api.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.replies["/health"] = [(200, {"status": "ok", "manifest_version": "1"})]
    assert PredictionApi(url="http://fraudit.example").health().status == "ok"
    with pytest.raises(PredictionApiError, match="cannot reach"):
        PredictionApi(url="http://127.0.0.1:1").health()
