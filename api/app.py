# ruff: noqa: INP001 - Chalice imports app.py from the project folder, which is no package
"""The prediction API: routes, authentication, and the one form of its errors.

Belongs here: HTTP. Does not: what happens to a transaction (``chalicelib/service.py``).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from chalice.app import AuthRequest, AuthResponse, Chalice, Request, Response
from chalicelib.errors import ApiError, error_body
from chalicelib.keys import HEADER
from chalicelib.observability import configure_logging, logger
from chalicelib.service import service

app = Chalice(app_name="ml-inference-api", configure_logs=False)
configure_logging(app.log.name)

_ANSWERS_OF_CHALICE = {
    405: ("method_not_allowed", "this path does not take this method: see the header Allow"),
    415: ("unsupported_media_type", "send JSON, as content-type application/json"),
    500: ("internal_error", "the request could not be handled"),
}


@app.middleware("http")
def answer_errors(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Give every error the same form, ours and those of Chalice, and log one line of each request."""
    started = time.perf_counter()
    request_id, error = request_id_of(request), None
    try:
        _refuse_encoded(request)
        response = get_response(request)
        if response.status_code in _ANSWERS_OF_CHALICE:
            error = ApiError(response.status_code, *_ANSWERS_OF_CHALICE[response.status_code])
    except ApiError as refusal:
        error, response = refusal, Response(None, status_code=refusal.status)
    if error is not None:
        service().metrics.count("Errors", code=error.code)
        response.body = error_body(error.code, error.message, request_id=request_id, field=error.field)
    line = {
        "request_id": request_id,
        "key_id": request.context.get("authorizer", {}).get("principalId"),
        "route": f"{request.method} {request.path}",
        "status": response.status_code,
        "code": error.code if error else None,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    logger.info("request", extra=line)
    return response


def _refuse_encoded(request: Request) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "unsupported_media_type", "send the body as it is, without content-encoding")


@app.authorizer(ttl_seconds=60, header=HEADER)
def authorize(request: AuthRequest) -> AuthResponse:
    """Let a caller in who has one of our keys; API Gateway keeps the verdict for a minute."""
    key_id = service().keys.identify(request.token)
    return AuthResponse(routes=["*"] if key_id else [], principal_id=key_id or "nobody")


@app.route("/predict", methods=["POST"], authorizer=authorize)
def predict() -> dict[str, Any]:
    """Score one transaction."""
    return service().predict(sent_body(), request_id=request_id_of(current_request()))


@app.route("/predict/batch", methods=["POST"], authorizer=authorize)
def predict_batch() -> dict[str, Any]:
    """Score up to 500 transactions; one that is refused does not keep the others from their answers."""
    return service().predict_batch(sent_body(), request_id=request_id_of(current_request()))


@app.route("/feedback", methods=["POST"], authorizer=authorize)
def feedback() -> Response:
    """Take what somebody found out about a transaction."""
    return Response(service().feedback(sent_body()), status_code=202)


@app.route("/models", methods=["GET"], authorizer=authorize)
def models() -> Mapping[str, Any]:
    """Show what is served."""
    return service().models()


@app.route("/health", methods=["GET"])
def health() -> dict[str, Any]:
    """Say whether transactions can be scored; with ``?deep=1`` also how each dependency is.

    The status is 200 whenever the API itself answers; the body has the verdict.
    """
    query: Any = current_request().query_params or {}
    return service().health(deep=query.get("deep") == "1")


@app.route("/openapi.json", methods=["GET"])
def openapi() -> dict[str, Any]:
    """Describe this API, for programs."""
    return service().openapi()


def current_request() -> Request:
    """Return the request being answered: Chalice sets it before it calls a view."""
    return cast("Request", app.current_request)


def sent_body() -> bytes:
    """Return the body of the request being answered."""
    return cast("bytes", current_request().raw_body)


def request_id_of(request: Request) -> str:
    """The id under which API Gateway, or without one the Lambda runtime, knows the request."""
    context: Any = request.lambda_context
    return str(request.context.get("requestId") or context.aws_request_id)
