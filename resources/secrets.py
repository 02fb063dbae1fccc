"""AWS Secrets Manager: JSON documents that must not lie in a file.

Belongs here: reading and replacing one. Does not: what a document means.
"""

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.aws import AwsError, translated

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class SecretsError(AwsError):
    """Secrets Manager refused a request or could not be reached; the message names the secret."""


class Secrets(dg.ConfigurableResource):
    """JSON documents in AWS Secrets Manager, by dagster-aws."""

    region: str = Field(description="AWS region.")

    @cached_property
    def _client(self) -> "SecretsManagerClient":
        from resources.limited import LimitedSecretsManagerResource

        secretsmanager: SecretsManagerClient = LimitedSecretsManagerResource(region_name=self.region).get_client()
        return secretsmanager

    def read(self, name: str) -> dict[str, Any]:
        """Return the document of a secret, by name or ARN.

        Raises:
            SecretsError: There is no such secret, it is no JSON object, or Secrets Manager could not be reached.
        """
        with translated(SecretsError, f"read the secret {name}"):
            secret = self._client.get_secret_value(SecretId=name)
        if "SecretString" not in secret:
            raise SecretsError(f"the secret {name} is binary, not JSON", code="BadSecret")
        try:
            document = json.loads(secret["SecretString"])
        except ValueError as error:
            raise SecretsError(f"the secret {name} is not JSON", code="BadSecret") from error
        if not isinstance(document, dict):
            raise SecretsError(f"the secret {name} is no JSON object", code="BadSecret")
        return document

    def replace(self, name: str, document: dict[str, Any]) -> None:
        """Make ``document`` the current value of a secret."""
        with translated(SecretsError, f"replace the secret {name}"):
            self._client.put_secret_value(SecretId=name, SecretString=json.dumps(document))
