"""The prediction API, as the graph and the simulator call it.

Belongs here: its requests, answers and errors, and how often one is tried. Does not: sending many of them
(``resources/traffic.py``), which transactions (``fraudit_dagster/simulation.py``), nor what the API does (``api/``).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    import aiohttp

THROTTLED = 429
RETRIED_STATUS = frozenset({THROTTLED, 500, 502, 503, 504})
BACKOFF_S = 0.2  # before the second attempt; doubles with each further one
LONGEST_PAUSE_S = 10.0  # however long Retry-After asks for
FIRST_ERROR_STATUS = 400


class PredictionApiError(RuntimeError):
    """The API refused a request, failed, or could not be reached.

    Attributes:
        code: The API's own error code, ``http_<status>`` where the answer had none, ``unreachable``, ``timeout``, or
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


class Acceptance(_Reply):
    """The API's word that a label is on its way.

    Attributes:
        degraded: What did not work: ``events`` (a dead letter instead).
    """

    transaction_id: str
    accepted: Literal[True]
    degraded: list[str] = []


class Health(_Reply):
    """The API's word on itself."""

    status: Literal["ok", "degraded", "down"]
    manifest_version: str | None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    content: bytes


class Connection:
    """Kept connections to the API, for use inside the event loop that opened them.

    Attributes:
        retries: Attempts after the first one, of all requests so far.
    """

    def __init__(self, session: "aiohttp.ClientSession", *, url: str, attempts: int, throttled_s: float) -> None:
        self._session, self._url, self._attempts, self._throttled_s = session, url, attempts, throttled_s
        self.retries = 0

    async def predict(self, body: Mapping[str, Any]) -> Answer:
        """Have one transaction scored.

        A retry sends the same body again, so it should hold a ``transaction_id``: the warehouse then keeps one row.

        Raises:
            PredictionApiError: The API refused it, or went on failing after all attempts.
        """
        return await self._request("POST", "/predict", Answer, body)

    async def feedback(self, body: Mapping[str, Any]) -> Acceptance:
        """Tell what a transaction was. The same label sent again is the same event.

        Raises:
            PredictionApiError: The API refused it, or went on failing after all attempts.
        """
        return await self._request("POST", "/feedback", Acceptance, body)

    async def health(self) -> Health:
        """Ask whether transactions can be scored.

        Raises:
            PredictionApiError: The API could not be reached.
        """
        return await self._request("GET", "/health", Health)

    async def _request(
        self, method: str, path: str, reply_type: type[Reply], body: Mapping[str, Any] | None = None
    ) -> Reply:
        request = f"{method} {self._url}{path}"
        response = await self._send(method, path, body)
        if response.status >= FIRST_ERROR_STATUS:
            raise _refusal(request, response)
        try:
            return reply_type.model_validate_json(response.content)
        except ValidationError as error:
            message = f"{request} gave an answer that is not understood: {error}"
            raise PredictionApiError(message, code="unexpected_answer", status=response.status) from error

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Response:
        import aiohttp

        data = None if body is None else json.dumps(body).encode()
        attempt, patient_until = 0, time.monotonic() + self._throttled_s
        while True:
            attempt += 1
            pause_s = BACKOFF_S * 2 ** (attempt - 1)
            try:
                async with self._session.request(method, f"{self._url}{path}", data=data) as answer:
                    response = _Response(answer.status, await answer.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == self._attempts:
                    code = "timeout" if isinstance(error, TimeoutError) else "unreachable"
                    why = str(error) or f"no answer within {self._session.timeout.total:g} s"
                    message = f"cannot reach the prediction API at {self._url} ({method} {path}): {why}"
                    raise PredictionApiError(message, code=code) from error
            else:
                if response.status == THROTTLED and time.monotonic() < patient_until:
                    attempt -= 1
                elif response.status not in RETRIED_STATUS or attempt == self._attempts:
                    return response
                asked_for = answer.headers.get("retry-after", "")
                pause_s = min(float(asked_for), LONGEST_PAUSE_S) if asked_for.isdigit() else pause_s
            self.retries += 1
            await asyncio.sleep(pause_s)


class PredictionApi(dg.ConfigurableResource):
    """The HTTP API that scores transactions."""

    url: str = Field(description="Base URL with its stage.", examples=["http://127.0.0.1:8000"])
    api_key: str = Field(default="", description="Sent as x-api-key; empty: only health can be asked.")
    timeout_s: float = Field(default=10.0, gt=0, description="Longest wait for one attempt's answer, in seconds.")
    attempts: int = Field(default=4, ge=1, le=10, description="Attempts per request, the first one included.")
    throttled_s: float = Field(
        default=120.0,
        ge=0,
        description="How long a request that is throttled (429) is sent again, beyond its attempts, in seconds.",
    )

    @asynccontextmanager
    async def connected(self, *, connections: int = 1) -> AsyncIterator[Connection]:
        """Open at most ``connections`` connections, as they are needed, and close them at the end of the block."""
        import aiohttp

        headers = {"content-type": "application/json", **({"x-api-key": self.api_key} if self.api_key else {})}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            proxy=_proxy_of(self.url),
        ) as session:
            yield Connection(session, url=self.url.rstrip("/"), attempts=self.attempts, throttled_s=self.throttled_s)

    def health(self) -> Health:
        """Ask whether transactions can be scored. Inside an event loop, ask a ``Connection`` instead.

        Raises:
            PredictionApiError: The API could not be reached.
        """

        async def ask() -> Health:
            async with self.connected() as connection:
                return await connection.health()

        return asyncio.run(ask())


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for a URL; aiohttp would look for it at every request, for 0.2 ms each."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _refusal(request: str, response: _Response) -> PredictionApiError:
    try:
        error = json.loads(response.content)["error"]
        code, field, message = error["code"], error.get("field"), error["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        code, field, message = f"http_{response.status}", None, response.content[:200].decode(errors="replace")
    where = f" (field {field})" if field else ""
    text = f"{request} answered {response.status} {code}{where}: {message}"
    return PredictionApiError(text, code=code, status=response.status)
