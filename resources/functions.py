"""AWS Lambda, as a deployment needs it: published versions of a function, and the alias that callers reach.

Belongs here: calls to Lambda and their errors. Does not: what is published, and what a new version must answer before it goes live.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from resources.aws import AwsError, client, translated

LIVE = "live"
"""Alias that API Gateway calls."""
NEWEST = "$LATEST"
READY_TIMEOUT_S = 120.0
POLL_S = 0.5
ANSWER_TIMEOUT_S = 30.0
"""Longer than a function of the API may run, with its cold start."""
DECISIVE = (
    "Architectures",
    "Environment",
    "Handler",
    "KMSKeyArn",
    "Layers",
    "MemorySize",
    "Role",
    "Runtime",
    "Timeout",
    "TracingConfig",
)
"""What decides beside the code how a version runs."""


class FunctionsError(AwsError):
    """Lambda refused a request, a version does not become ready, or it failed to answer; the message names the function."""


@dataclass(frozen=True)
class Version:
    """One version of a function.

    Attributes:
        number: As Lambda counts, or ``$LATEST``.
        sha256: Of the package, in base64.
        configuration: What decides beside it how the version runs.
    """

    number: str
    sha256: str
    configuration: Mapping[str, Any]


class Functions:
    """The functions of one region."""

    def __init__(self, *, region: str) -> None:
        self._region = region

    @cached_property
    def _client(self) -> Any:
        return client("lambda", region=self._region)

    @cached_property
    def _patient(self) -> Any:
        return client("lambda", region=self._region, timeout_s=ANSWER_TIMEOUT_S)

    def version(self, name: str, qualifier: str) -> Version:
        """Return the version that a number or an alias leads to.

        Raises:
            FunctionsError: There is no such function, version or alias, or Lambda could not be reached.
        """
        with translated(FunctionsError, f"look at {name}:{qualifier}"):
            return _version(self._client.get_function_configuration(FunctionName=name, Qualifier=qualifier))

    def before(self, name: str, number: str) -> list[Version]:
        """Return the versions that were published before another, newest first.

        Raises:
            FunctionsError: There is no such function, or Lambda could not be reached.
        """
        with translated(FunctionsError, f"list the versions of {name}"):
            found = [version for version in self._published(name) if int(version.number) < int(number)]
        return sorted(found, key=lambda version: int(version.number), reverse=True)

    def _published(self, name: str) -> Iterator[Version]:
        for page in self._client.get_paginator("list_versions_by_function").paginate(FunctionName=name):
            yield from (_version(found) for found in page["Versions"] if found["Version"] != NEWEST)

    def publish(self, name: str, package: bytes) -> Version:
        """Bring code and what Terraform has configured together as a version, and wait until it is ready.

        Raises:
            FunctionsError: Lambda refused the package, or the version does not become ready.
        """
        self._wait(name, NEWEST)
        with translated(FunctionsError, f"publish {name}"):
            made = self._client.update_function_code(FunctionName=name, ZipFile=package, Publish=True)
        self._wait(name, str(made["Version"]))
        return _version(made)

    def _wait(self, name: str, qualifier: str) -> None:
        """Wait until a version has done what it was last told."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            with translated(FunctionsError, f"look at {name}:{qualifier}"):
                found = self._client.get_function_configuration(FunctionName=name, Qualifier=qualifier)
            states = {str(found.get("State", "Active")), str(found.get("LastUpdateStatus", "Successful"))}
            if states <= {"Active", "Inactive", "Successful"}:
                return
            why = found.get("LastUpdateStatusReason") or found.get("StateReason") or ", ".join(sorted(states))
            if "Failed" in states or time.monotonic() >= deadline_s:
                raise FunctionsError(f"{name}:{qualifier} does not become ready: {why}", code="NotReady")
            time.sleep(POLL_S)

    def ask(self, name: str, number: str, event: Mapping[str, Any]) -> Any:
        """Return what a version answers to an event.

        Raises:
            FunctionsError: It failed; the message has its own error. Or Lambda could not be reached.
        """
        with translated(FunctionsError, f"ask {name}:{number}"):
            answer = self._patient.invoke(FunctionName=name, Qualifier=number, Payload=json.dumps(event))
            said = answer["Payload"].read()
        if failed := answer.get("FunctionError"):
            raise FunctionsError(f"{name}:{number} failed ({failed}): {said.decode()[:500]}", code="FunctionFailed")
        return json.loads(said)

    def make_live(self, name: str, number: str) -> None:
        """Let callers reach a version.

        Raises:
            FunctionsError: There is no such version, or no alias, or Lambda could not be reached.
        """
        with translated(FunctionsError, f"move the alias {LIVE} of {name} to version {number}"):
            self._client.update_alias(FunctionName=name, Name=LIVE, FunctionVersion=number)


def _version(found: Mapping[str, Any]) -> Version:
    return Version(str(found["Version"]), found["CodeSha256"], {key: found.get(key) for key in DECISIVE})
