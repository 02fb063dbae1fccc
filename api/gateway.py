# ruff: noqa: INP001 - a module beside app.py, in no package
"""What stands before the Lambda function on AWS, for this machine: routes, the authorizer, throttling, its own answers.

Belongs here: what API Gateway does, by Chalice's own ``LocalGateway``. Does not: HTTP (``server.py``). Not shipped to Lambda.
What API Gateway answers by itself is in ``GATEWAY_RESPONSES``: the deployment's gateway responses must say the same.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ForbiddenError, LocalGateway, LocalGatewayException, NotAuthorizedError, RouteMatcher
from chalicelib.errors import error_body
from chalicelib.keys import HEADER, KeysUnavailableError
from chalicelib.observability import logger

MAX_BODY_BYTES = 10 * 2**20  # of API Gateway
RETRY_AFTER_S = 1

# By API Gateway's own name of the response: status, code and message of the error form. REQUEST_TIMEOUT is ours: AWS hangs up.
GATEWAY_RESPONSES = {
    "UNAUTHORIZED": (401, "unauthorized", f"send an API key in the header {HEADER}"),
    "ACCESS_DENIED": (403, "forbidden", f"the API key in the header {HEADER} is not valid"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "not_found", "there is nothing at this path"),
    "REQUEST_TIMEOUT": (408, "request_timeout", "the body did not arrive in time"),
    "REQUEST_TOO_LARGE": (413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes"),
    "THROTTLED": (429, "throttled", f"too many requests: try again after {RETRY_AFTER_S} s"),
    "AUTHORIZER_FAILURE": (500, "authorizer_failed", "the API keys cannot be read; try again later"),
    "DEFAULT_5XX": (500, "internal_error", "the request could not be handled"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of_gateway(cls, response_type: str, *, route: str | None = None) -> "Answer":
        """Return the answer that API Gateway would give by itself, and log it as the app logs its own.

        Args:
            response_type: A key of ``GATEWAY_RESPONSES``.
            route: Method and path of the route, or None where there is none: what was sent in its place is not logged.
        """
        status, code, message = GATEWAY_RESPONSES[response_type]
        request_id = str(uuid.uuid4())
        line = {"request_id": request_id, "key_id": None, "route": route, "status": status, "code": code}
        logger.info("request", extra=line)
        headers = {"content-type": "application/json"}
        if status == 429:  # noqa: PLR2004 - Too Many Requests
            headers["retry-after"] = str(RETRY_AFTER_S)
        return cls(status, headers, json.dumps(error_body(code, message, request_id=request_id)).encode())


@dataclass(slots=True)
class Throttle:
    """A bucket of tokens, one for each request, as a stage of API Gateway has it.

    Attributes:
        rate: Tokens that come back, per second.
        burst: Tokens that the bucket holds.
    """

    rate: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens, self._at = self.burst, self.clock()

    def lets_in(self) -> bool:
        """Take a token; False where there is none."""
        now = self.clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Chalices(LocalGateway):
    """Chalice's gateway. It answers OPTIONS itself for the sake of CORS, which no route has: here it is a method like others."""

    def _has_user_defined_options_method(self, lambda_event: Any) -> bool:  # noqa: ARG002 - Chalice's signature
        return True


class Gateway:
    """Answers requests by a Chalice app, as API Gateway would. Safe to use from many threads."""

    def __init__(self, app: Chalice) -> None:
        routes = RouteMatcher(list(app.routes))
        self._route_of = lru_cache(maxsize=256)(lambda url: routes.match_route(url).route)
        self._chalice = _Chalices(app, Config(chalice_stage="dev"))

    def handle(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request.

        Args:
            method: In upper case.
            path: Decoded.
            query: As it was sent.
            headers: Names in lower case.
            body: As it was sent.
        """
        url = quote(path)  # what is decoded must not be taken for a query, a fragment or a parameter
        try:
            route = f"{method} {self._route_of(url)}"
        except ValueError:
            return Answer.of_gateway("MISSING_AUTHENTICATION_TOKEN")
        # LocalGateway hands an authorizer the authorization header only, whatever header it was declared with.
        given = {name: value for name, value in headers.items() if name != "authorization"}
        if headers.get(HEADER):
            given["authorization"] = headers[HEADER]
        try:
            response = self._chalice.handle_request(method, f"{url}?{query}" if query else url, given, body)
        except NotAuthorizedError:
            return Answer.of_gateway("UNAUTHORIZED", route=route)
        except ForbiddenError:
            return Answer.of_gateway("ACCESS_DENIED", route=route)
        except (KeysUnavailableError, LocalGatewayException):
            return Answer.of_gateway("AUTHORIZER_FAILURE", route=route)
        except Exception:  # noqa: BLE001 - a bug before or behind the views: the client sees no more of it than of others
            logger.exception("a request failed outside the app")
            return Answer.of_gateway("DEFAULT_5XX", route=route)
        content = response["body"] or ""
        return Answer(
            response["statusCode"],
            {"content-type": "application/json"} | {name.lower(): value for name, value in response["headers"].items()},
            base64.b64decode(content) if response.get("isBase64Encoded") else content.encode(),
        )
