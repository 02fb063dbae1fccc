"""The one form in which every error leaves the API.

Belongs here: the error type that a client sees and its JSON. Does not: errors between our own parts (each module has its own).
"""

from typing import Any

from chalice.app import ChaliceUnhandledError


def error_body(code: str, message: str, *, request_id: str, field: str | None = None) -> dict[str, Any]:
    """Return ``{"error": {"code", "message", "field", "request_id"}}``."""
    return {"error": {"code": code, "message": message, "field": field, "request_id": request_id}}


class ApiError(ChaliceUnhandledError):
    """A request that cannot be answered as asked. Chalice lets only errors of this base reach a middleware.

    Attributes:
        status: HTTP status.
        code: For programs: stable, in snake case.
        message: For people: what was wrong and what to do. Never holds a value that the client sent.
        field: Dotted path of the field that was wrong, or None.
    """

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field


class InvalidRequestError(ApiError):
    """The body breaks a rule (status 400); ``field`` says where."""

    def __init__(self, code: str, message: str, *, field: str | None) -> None:
        super().__init__(400, code, message, field=field)


class ScoringUnavailableError(ApiError):
    """No model can be asked, or none answers (status 503)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(503, code, message)
