"""The AWS JSON 1.1 protocol over ASGI, described by botocore's own service models.

Belongs here: what every service shares on the wire: dispatch on ``X-Amz-Target``, validation and decoding of requests,
shaping of replies and errors, the server loop. Does not: what an action does (``kinesis``, ``glue``, ``sagemaker``).
"""

import base64
import binascii
import inspect
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import botocore.loaders
import orjson
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from localaws.trail import Trail

ACCOUNT_ID = "123456789012"  # moto's
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_ERRORS = 20
MAX_ERROR_CHARS = 1_000
KEEP_ALIVE_S = 75
SHUTDOWN_S = 5
CONTENT_TYPE = "application/x-amz-json-1.1"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan = Callable[[], AbstractAsyncContextManager[None]]
Action = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]

_log = logging.getLogger(__name__)


class AwsError(Exception):
    """An error that the caller gets as AWS would send it.

    Args:
        code: The error type of the AWS API, such as ``ResourceNotFoundException``.
        message: What was wrong, and where.
        status: HTTP status of the reply.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete."""


def json_app(
    service: str,
    actions: Mapping[str, Action],
    *,
    fast_actions: Mapping[str, Action] | None = None,
    routes: Mapping[str, AsgiApp] | None = None,
    lifespan: Lifespan | None = None,
) -> AsgiApp:
    """Make an ASGI app that speaks AWS JSON 1.1 for one service.

    Actions that are no coroutines run in the event loop, so they must not block. ``GET /_health`` answers 200.

    Args:
        service: Name of botocore's service model, such as ``kinesis``.
        actions: Handler by action name. A request is checked and decoded by the service model (blobs to bytes, timestamps to
            aware datetimes) before the handler sees it, and the reply is shaped by it.
        fast_actions: Handlers that get the parsed JSON as it came and whose answer is sent as it is: they check what they use.
        routes: Further ASGI apps by prefix of the path.
        lifespan: Context manager entered before the first request and left after the last.

    Raises:
        ValueError: An action is not in the service model.
    """
    return _JsonApp(service, actions, fast_actions or {}, routes or {}, lifespan)


class _JsonApp:
    def __init__(
        self,
        service: str,
        actions: Mapping[str, Action],
        fast_actions: Mapping[str, Action],
        routes: Mapping[str, AsgiApp],
        lifespan: Lifespan | None,
    ) -> None:
        self._model = ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)
        unknown = sorted({*actions, *fast_actions} - set(self._model.operation_names))
        if unknown:
            raise ValueError(f"{service} has no action {', '.join(unknown)}")
        self._target_prefix = f"{self._model.metadata['targetPrefix']}."
        self._actions = actions
        self._fast_actions = fast_actions
        self._routes = routes
        self._lifespan = lifespan
        self._trail = Trail.from_environment(service, account_id=ACCOUNT_ID)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(self._lifespan, receive, send)
            return
        path = scope["path"]
        if path == "/_health":
            await send_reply(send, 200, b'{"status":"ok"}', content_type="application/json")
            return
        for prefix, app in self._routes.items():
            if path.startswith(prefix):
                await app(scope, receive, send)
                return
        request_id = str(uuid.uuid4())
        try:
            status, body = 200, await self._answer(scope, receive)
        except ClientGoneError:
            return
        except AwsError as error:
            status, body = error.status, orjson.dumps({"__type": error.code, "message": error.message})
        except Exception:  # noqa: BLE001 - a bug in one action must not end the others
            _log.exception("request %s failed by a bug", request_id)
            message = f"internal error, see the log for request {request_id}"
            status, body = 500, orjson.dumps({"__type": "InternalFailure", "message": message})
        await send_reply(send, status, body, headers=[(b"x-amzn-requestid", request_id.encode())])

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        target = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"x-amz-target"), "")
        name = target.removeprefix(self._target_prefix)
        params = parse_json(await read_body(receive))
        if self._trail is not None and (name in self._fast_actions or name in self._actions):
            self._trail.call(authorization_of(scope), self._model.service_name, name, params)
        fast = self._fast_actions.get(name)
        if fast is not None:
            return orjson.dumps(await _result(fast, params))
        action = self._actions.get(name)
        if action is None:
            raise AwsError("UnknownOperationException", f"{self._model.service_name} has no action {target!r} here")
        operation = self._model.operation_model(name)
        reply = await _result(action, decode(operation.input_shape, params))
        return orjson.dumps(encode(operation.output_shape, reply))


def authorization_of(scope: Scope) -> str:
    """Return a request's signature as its header has it; empty where it is not signed."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == b"authorization"), "")


async def _result(action: Action, params: dict[str, Any]) -> dict[str, Any]:
    result = action(params)
    return await result if inspect.isawaitable(result) else result


async def read_body(receive: Receive, *, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a request's whole body.

    Raises:
        AwsError: The body is larger than ``limit_bytes`` (status 413).
        ClientGoneError: The client went away.
    """
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise AwsError("RequestEntityTooLarge", f"the request is larger than {limit_bytes} bytes", status=413)
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse a request's JSON object; an empty body is an empty object.

    Raises:
        AwsError: The body is not a JSON object.
    """
    try:
        params = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise AwsError("SerializationException", f"the body is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise AwsError("SerializationException", "the body is not a JSON object")
    return params


async def send_reply(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: str = CONTENT_TYPE,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Send a complete HTTP reply."""
    lines = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def run_lifespan(lifespan: Lifespan | None, receive: Receive, send: Send) -> None:
    """Speak ASGI's lifespan protocol around a context manager; one that fails to enter stops the server."""
    await receive()
    async with AsyncExitStack() as stack:
        if lifespan is not None:
            try:
                await stack.enter_async_context(lifespan())
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def decode(shape: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Check a request against the shape of its action's input and decode it.

    Args:
        shape: botocore's shape of the input; None where the action takes nothing.
        params: The request as parsed from JSON.

    Returns:
        The request with blobs as bytes and timestamps as aware datetimes; members that were null are left out.

    Raises:
        AwsError: ``ValidationException``, naming the wrong parameters; ``SerializationException`` where they are nested too deeply.
    """
    if shape is None:
        return {}
    errors: list[str] = []
    try:
        decoded: dict[str, Any] = _decode(shape, params, "", errors)
        report = ParamValidator().validate(decoded, shape)
    except RecursionError as error:
        raise AwsError("SerializationException", "the body is nested too deeply") from error
    if report.has_errors():
        errors += report.generate_report().splitlines()
    if errors:
        count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected"
        shown = [error if len(error) <= MAX_ERROR_CHARS else f"{error[:MAX_ERROR_CHARS]}..." for error in errors]
        raise AwsError("ValidationException", f"{count}: {'; '.join(shown[:MAX_ERRORS])}")
    return decoded


def _decode(shape: Any, value: Any, path: str, errors: list[str]) -> Any:
    """Decode what is of the right type, and check what botocore's validator does not: upper limits, enums, patterns."""
    match shape.type_name, value:
        case "structure", dict() if not shape.is_document_type:
            members = shape.members
            return {
                key: _decode(members[key], item, f"{path}.{key}" if path else key, errors) if key in members else item
                for key, item in value.items()
                if item is not None
            }
        case "list", list():
            _check_max(shape, len(value), path, errors)
            value = [_decode(shape.member, item, f"{path}[{index}]", errors) for index, item in enumerate(value)]
        case "map", dict():
            _check_max(shape, len(value), path, errors)
            value = {
                _decode(shape.key, key, f"{path}.{key}", errors): _decode(shape.value, item, f"{path}.{key}", errors)
                for key, item in value.items()
            }
        case "blob", str():
            return _decode_blob(shape, value, path, errors)
        case "timestamp", int() | float():
            return _decode_timestamp(value, path, errors)
        case "string", str():
            _check_string(shape, value, path, errors)
        case (("integer" | "long" | "float" | "double"), int() | float()):
            _check_max(shape, value, path, errors)
    return value


def _decode_blob(shape: Any, value: str, path: str, errors: list[str]) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        errors.append(f"Value at '{path}' is not base64: {error}")
        return b""
    _check_max(shape, len(data), path, errors)
    return data


def _decode_timestamp(epoch_s: float, path: str, errors: list[str]) -> datetime:
    try:
        return datetime.fromtimestamp(epoch_s, UTC)
    except (ValueError, OverflowError, OSError) as error:
        errors.append(f"Value '{epoch_s}' at '{path}' is not a time: {error}")
        return datetime.fromtimestamp(0, UTC)


def _check_max(shape: Any, size: float, path: str, errors: list[str]) -> None:
    limit = shape.metadata.get("max")
    if limit is not None and size > limit:
        what = "have value" if shape.type_name in {"integer", "long", "float", "double"} else "have length"
        errors.append(
            f"Value at '{path}' failed to satisfy constraint: Member must {what} less than or equal to {limit}"
        )


def _check_string(shape: Any, value: str, path: str, errors: list[str]) -> None:
    _check_max(shape, len(value), path, errors)
    enum = shape.metadata.get("enum")
    pattern = shape.metadata.get("pattern")
    if enum is not None and value not in enum:
        wanted = f"satisfy enum value set: [{', '.join(enum)}]"
    elif pattern is not None and not _matches(pattern, value):
        wanted = f"satisfy regular expression pattern: {pattern}"
    else:
        return
    shown = value if len(value) <= MAX_ERROR_CHARS // 2 else f"{value[: MAX_ERROR_CHARS // 2]}..."
    errors.append(f"Value '{shown}' at '{path}' failed to satisfy constraint: Member must {wanted}")


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern of a service model; None for the few in Java's own syntax, which are not checked."""
    try:
        return re.compile(pattern)
    except re.error:
        return None


def encode(shape: Any, reply: dict[str, Any]) -> dict[str, Any]:
    """Shape an action's answer for JSON.

    Args:
        shape: botocore's shape of the output; None where the action answers nothing.
        reply: The answer: bytes for blobs, aware datetimes for timestamps, None for what is absent.

    Raises:
        KeyError: The answer has a member that the shape does not know.
        ValueError: A datetime has no time zone.
    """
    encoded: dict[str, Any] = {} if shape is None else _encode(shape, reply)
    return encoded


def _encode(shape: Any, value: Any) -> Any:
    match shape.type_name:
        case "structure" if not shape.is_document_type:
            return {key: _encode(shape.members[key], item) for key, item in value.items() if item is not None}
        case "list":
            return [_encode(shape.member, item) for item in value]
        case "map":
            return {key: _encode(shape.value, item) for key, item in value.items()}
        case "blob":
            return base64.b64encode(value).decode()
        case "timestamp":
            return _epoch_s(value)
    return value


def _epoch_s(moment: datetime) -> float:
    if moment.tzinfo is None:
        raise ValueError(f"a timestamp without a time zone: {moment}")
    return round(moment.timestamp(), 3)


def serve(app: AsgiApp, port: int) -> None:
    """Serve an app on 127.0.0.1 until SIGTERM or SIGINT; errors are logged to stderr, requests are not."""
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_config=None,
        lifespan="on",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
