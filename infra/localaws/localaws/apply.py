"""A list of AWS calls that may be made again: buckets, streams, secrets, topics, a Glue job.

Belongs here: reading the list, filling in the environment, telling "it is there already" from a failure. Does not: any name of its own.

It speaks to the embedded AWS only: without ``AWS_ENDPOINT_URL`` it refuses, so a forgotten environment never reaches a real account.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
# "BucketAlreadyExists" is left out: there, the bucket is somebody else's.
_EXISTS = re.compile(r"AlreadyExists|AlreadyOwnedByYou|ResourceInUse|ResourceExists|already exist", re.IGNORECASE)
TIMEOUT_S = 30
MAX_ATTEMPTS = 4


class ApplyError(RuntimeError):
    """A list of calls is wrong, or a call failed; the message names the place in the list."""


@dataclass(frozen=True)
class Call:
    """One call: ``client(service).action(**params)``."""

    service: str
    action: str
    params: dict[str, Any]


def read_calls(path: Path, env: Mapping[str, str]) -> list[Call]:
    """Read a list of calls, with ``${NAME}`` and ``${NAME:-default}`` filled in from the environment.

    Raises:
        ApplyError: The file cannot be read, an entry is not a call, or a variable is not set.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ApplyError(f"cannot read {path}: {error}") from error
    if not isinstance(document, list):
        raise ApplyError(f"{path}: wants a list of {{service, action, params}}")
    return [_read_call(entry, f"{path}, entry {number}", env) for number, entry in enumerate(document, 1)]


def _read_call(entry: Any, where: str, env: Mapping[str, str]) -> Call:
    match entry:
        case {"service": str(service), "action": str(action), **rest} if not set(rest) - {"params"}:
            params = _fill(rest.get("params") or {}, where, env)
            if isinstance(params, dict):
                return Call(service, action, params)
    raise ApplyError(f"{where}: wants service, action and, where there are any, params as a mapping, not {entry!r}")


def _fill(value: Any, where: str, env: Mapping[str, str]) -> Any:
    def replace(match: re.Match[str]) -> str:
        found = env.get(match["name"]) or match["default"]
        if found is None:
            raise ApplyError(f"{where}: ${{{match['name']}}} is not set")
        return found

    match value:
        case str():
            return _VARIABLE.sub(replace, value)
        case list():
            return [_fill(item, where, env) for item in value]
        case dict():
            return {key: _fill(item, where, env) for key, item in value.items()}
    return value


def apply(path: Path) -> list[tuple[Call, str]]:
    """Make the calls of a list in turn.

    Returns:
        Each call with ``made`` or ``is there``.

    Raises:
        ApplyError: The list is wrong, a call failed, or the environment does not point to an embedded AWS.
    """
    if not os.environ.get("AWS_ENDPOINT_URL"):
        raise ApplyError("AWS_ENDPOINT_URL is not set: take the environment from `localaws env`")
    return [
        (call, _make(call, f"{path}, entry {number}")) for number, call in enumerate(read_calls(path, os.environ), 1)
    ]


def _make(call: Call, where: str) -> str:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS}
    )
    try:
        client = boto3.session.Session().client(call.service, config=config)  # type: ignore[call-overload]  # any service
        method = getattr(client, call.action, None)
        if method is None:
            raise ApplyError(f"{where}: {call.service} has no action {call.action}")
        method(**call.params)
    except ClientError as error:
        details = error.response.get("Error", {})
        code = details.get("Code", "")
        if code != "BucketAlreadyExists" and _EXISTS.search(f"{code} {details.get('Message', '')}"):
            return "is there"
        raise ApplyError(f"{where}: {error}") from error
    except (BotoCoreError, TypeError) as error:
        raise ApplyError(f"{where}: {call.service}.{call.action}: {error}") from error
    return "made"
