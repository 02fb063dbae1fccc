"""The prediction API, as the graph and the simulator call it.

Belongs here: its requests, answers and errors, and sending many of them. Does not: which transactions
(``fraudit_dagster/simulation.py``), nor what the API does (``api/``).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fraudit_dagster.simulation import SimulatedEvent

if TYPE_CHECKING:
    import httpx

RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
BACKOFF_S = 0.2  # before the second attempt; doubles with each further one


class PredictionApiError(RuntimeError):
    """The API refused a request, failed, or could not be reached.

    Attributes:
        code: The API's own error code, ``http_<status>`` where the answer had none, ``unreachable``, or
            ``unexpected_answer``.
        status: HTTP status, or None where there was no answer.
    """

    def __init__(self, message: str, *, code: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True)  # extra fields pass: a newer API may say more


Reply = TypeVar("Reply", bound=_Reply)


class Classification(_Reply):
    """The classifier's part of an answer; None where it did not answer."""

    pred_proba: float | None
    prediction: Literal[0, 1] | None
    model_version: str


class Anomaly(_Reply):
    """The detector's part of an answer; None where it did not answer."""

    score: float | None
    model_version: str


class Reason(_Reply):
    """A feature that raised the classifier's score, and by how much."""

    feature: str
    value: float
    weight: float


class Answer(_Reply):
    """The API's answer to one transaction.

    Attributes:
        degraded: What did not work: models, ``reasons``, ``events`` (a dead letter instead), ``dead_letters``.
    """

    transaction_id: str
    decision: Literal["approve", "review", "block"]
    fraud_classifier: Classification
    anomaly_detector: Anomaly
    reasons: list[Reason]
    degraded: list[str]


class Health(_Reply):
    """The API's word on itself."""

    status: Literal["ok", "degraded", "down"]
    manifest_version: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one simulated event: an answer, or an error.

    Attributes:
        latency_ms: From the request to its answer, retries included.
    """

    event: SimulatedEvent
    answer: Answer | None
    error: PredictionApiError | None
    latency_ms: float


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """What became of all events of a replay.

    Attributes:
        requests: Events that were sent; a retry counts with its first attempt.
        answered: Of these, answered with a decision.
        errors: The others, by error code.
        decisions: Answers by decision.
        degraded: Answers by the part that did not work.
        p50_ms: Median latency of the answered ones; 0 where none was.
        p99_ms: Latency that 1 % of the answered ones exceed; 0 where none was.
        throughput: Requests per second.
    """

    requests: int
    answered: int
    errors: Mapping[str, int]
    decisions: Mapping[str, int]
    degraded: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    throughput: float


class PredictionApi(dg.ConfigurableResource):
    """The HTTP API that scores transactions."""

    url: str = Field(description="Base URL with its stage.", examples=["http://127.0.0.1:8000"])
    api_key: str = Field(default="", description="Sent as x-api-key; empty: only health can be asked.")
    timeout_s: float = Field(default=10.0, gt=0, description="Connect and read timeout of one attempt, in seconds.")
    attempts: int = Field(default=4, ge=1, le=10, description="Attempts per request, the first one included.")

    @cached_property
    def _client(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            base_url=self.url.rstrip("/"),
            headers={"x-api-key": self.api_key} if self.api_key else {},
            timeout=self.timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    def close(self) -> None:
        """Close the kept connections; a later request opens new ones."""
        client: httpx.Client | None = vars(self).pop("_client", None)
        if client is not None:
            client.close()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the kept connections at the end of a run."""
        self.close()

    def predict(self, body: Mapping[str, Any]) -> Answer:
        """Have one transaction scored.

        A retry sends the same body again, so it should hold a ``transaction_id``: the warehouse then keeps one row.

        Raises:
            PredictionApiError: The API refused it, or went on failing after all attempts.
        """
        return self._request("POST", "/predict", Answer, body)

    def health(self) -> Health:
        """Ask whether transactions can be scored.

        Raises:
            PredictionApiError: The API could not be reached.
        """
        return self._request("GET", "/health", Health)

    def replay(
        self,
        events: Iterable[SimulatedEvent],
        *,
        concurrency: int,
        on_answer: Callable[[Outcome], object] | None = None,
    ) -> TrafficReport:
        """Send events, ``concurrency`` of them at a time, in their order, as fast as they are answered.

        An error of one event is counted, not raised. An interrupt (Ctrl-C) lets the requests under way end, sends no more,
        and is raised again.

        Args:
            events: Consumed as they are sent.
            concurrency: Requests under way at the same time.
            on_answer: Called in this thread for each event once it is answered or has failed.
        """
        outcomes: list[Outcome] = []
        under_way: set[Future[Outcome]] = set()
        started = time.perf_counter()

        def collect() -> None:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            under_way.difference_update(done)
            for future in done:
                outcomes.append(future.result())
                if on_answer is not None:
                    on_answer(outcomes[-1])

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="replay")
        try:
            for event in events:
                under_way.add(pool.submit(self._outcome, event))
                if len(under_way) >= 2 * concurrency:  # so many that no sender waits for this thread
                    collect()
            while under_way:
                collect()
        finally:
            pool.shutdown(cancel_futures=True)
        return _report(outcomes, seconds=time.perf_counter() - started)

    def _outcome(self, event: SimulatedEvent) -> Outcome:
        started = time.perf_counter()
        answer, failure = None, None
        try:
            answer = self.predict(event.body)
        except PredictionApiError as error:
            failure = error
        return Outcome(event, answer, failure, (time.perf_counter() - started) * 1000)

    def _request(self, method: str, path: str, reply_type: type[Reply], body: Mapping[str, Any] | None = None) -> Reply:
        response = self._send(method, path, body)
        if response.is_error:
            raise _refusal(response)
        try:
            return reply_type.model_validate_json(response.content)
        except ValidationError as error:
            message = f"{method} {response.url} gave an answer that is not understood: {error}"
            raise PredictionApiError(message, code="unexpected_answer", status=response.status_code) from error

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> "httpx.Response":
        import httpx

        for attempt in range(1, self.attempts + 1):
            try:
                response = self._client.request(method, path, json=body)
            except httpx.TransportError as error:
                if attempt == self.attempts:
                    message = f"cannot reach the prediction API at {self.url} ({method} {path}): {error!r}"
                    raise PredictionApiError(message, code="unreachable") from error
            else:
                if response.status_code not in RETRIED_STATUS or attempt == self.attempts:
                    return response
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")


def _refusal(response: "httpx.Response") -> PredictionApiError:
    try:
        error = response.json()["error"]
        code, field, message = error["code"], error.get("field"), error["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        code, field, message = f"http_{response.status_code}", None, response.text[:200]
    where = f" (field {field})" if field else ""
    text = f"{response.request.method} {response.url} answered {response.status_code} {code}{where}: {message}"
    return PredictionApiError(text, code=code, status=response.status_code)


def _report(outcomes: list[Outcome], *, seconds: float) -> TrafficReport:
    import numpy as np

    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    latencies_ms = [outcome.latency_ms for outcome in outcomes if outcome.answer is not None]
    p50_ms, p99_ms = np.percentile(latencies_ms, [50, 99]).tolist() if latencies_ms else (0.0, 0.0)
    return TrafficReport(
        requests=len(outcomes),
        answered=len(answers),
        errors=dict(Counter(outcome.error.code for outcome in outcomes if outcome.error is not None)),
        decisions=dict(Counter(answer.decision for answer in answers)),
        degraded=dict(Counter(part for answer in answers for part in answer.degraded)),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        throughput=len(outcomes) / seconds if seconds else 0.0,
    )
