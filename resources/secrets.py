"""AWS Secrets Manager: JSON documents that must not lie in a file.

Belongs here: reading and changing one. Does not: what a document means.
"""

import json
import random
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, translated

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


CURRENT = "AWSCURRENT"
"""Staging label of the version that counts. Always asked for by name: moto answers a request without one with the version
that was current before the label was moved."""
CANDIDATE = "fraudit-candidate"
"""Staging label of a version that was written and does not count yet."""
ATTEMPTS = 10
"""Times that a change is made anew because somebody else has changed the document in between."""
PAUSE_S = 0.05


class SecretsError(AwsError):
    """Secrets Manager refused a request or could not be reached; the message names the secret."""


class Secrets(dg.ConfigurableResource):
    """JSON documents in AWS Secrets Manager, by dagster-aws."""

    region: str = Field(description="AWS region.")
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> "SecretsManagerClient":
        from resources.limited import LimitedSecretsManagerResource

        secretsmanager: SecretsManagerClient = LimitedSecretsManagerResource(
            region_name=self.region, brief=self.brief
        ).get_client()
        return secretsmanager

    def read(self, name: str) -> dict[str, Any]:
        """Return the document of a secret, by name or ARN.

        Raises:
            SecretsError: There is no such secret, it is no JSON object, or Secrets Manager could not be reached.
        """
        return self._read(name)[0]

    def change(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Replace a secret's document by ``change`` of it, losing nothing that others change at the same time.

        Secrets Manager cannot write conditionally, but it moves a staging label only away from the version that the caller
        names: a new version is written beside the current one, and becomes it if that is still the one that was read.
        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html

        Args:
            name: Name or ARN.
            change: Makes the new document of the current one; called again where somebody else was first. What it raises is
                passed on, and nothing has changed. A document that is equal is not written.

        Returns:
            The document that is current now.

        Raises:
            SecretsError: As by ``read``, or others were first too often (code ``Conflict``).
        """
        for _ in range(ATTEMPTS):
            document, version = self._read(name)
            changed = change(document)
            if changed == document or self._write(name, changed, instead_of=version):
                return changed
            time.sleep(random.uniform(PAUSE_S, 2 * PAUSE_S))  # noqa: S311 - so that two do not meet again
        raise SecretsError(f"cannot change the secret {name}: others change it all the time", code="Conflict")

    def _read(self, name: str) -> tuple[dict[str, Any], str]:
        with translated(SecretsError, f"read the secret {name}"):
            secret = self._client.get_secret_value(SecretId=name, VersionStage=CURRENT)
        if "SecretString" not in secret:
            raise SecretsError(f"the secret {name} is binary, not JSON", code="BadSecret")
        try:
            document = json.loads(secret["SecretString"])
        except ValueError as error:
            raise SecretsError(f"the secret {name} is not JSON", code="BadSecret") from error
        if not isinstance(document, dict):
            raise SecretsError(f"the secret {name} is no JSON object", code="BadSecret")
        return document, secret["VersionId"]

    def _write(self, name: str, document: dict[str, Any], *, instead_of: str) -> bool:
        """Make ``document`` current if the version ``instead_of`` still is; return whether it is now."""
        with translated(SecretsError, f"change the secret {name}"):
            ours = self._client.put_secret_value(
                SecretId=name, SecretString=json.dumps(document), VersionStages=[CANDIDATE]
            )["VersionId"]
        try:
            with translated(SecretsError, f"change the secret {name}"):
                self._client.update_secret_version_stage(
                    SecretId=name, VersionStage=CURRENT, MoveToVersionId=ours, RemoveFromVersionId=instead_of
                )
        except SecretsError as error:
            if error.code != "InvalidParameterException":
                raise
            current = self._read(name)[1]
            if current == instead_of:
                raise
            return current == ours  # a repeated request is refused for what the first, unanswered, has done
        return True
