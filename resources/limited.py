"""dagster-aws' resources with our limits: it lets retries be set, not how long to wait for an answer (60 s, five times).

Belongs here: their clients. Does not: any call of a service. Imports boto3, so it is imported inside functions only.
"""

from functools import cache
from typing import Any

from boto3.session import Session
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource
from pydantic import Field

from resources.aws import BRIEF, limits


class LimitedS3Resource(S3Resource):
    """Amazon S3, by dagster-aws."""

    brief: bool = Field(default=False, description=BRIEF)

    def get_client(self) -> Any:
        """Return a client with the settings of this resource and our limits."""
        return _client("s3", self)


class LimitedSecretsManagerResource(SecretsManagerResource):
    """AWS Secrets Manager, by dagster-aws."""

    brief: bool = Field(default=False, description=BRIEF)

    def get_client(self) -> Any:
        """Return a client with the settings of this resource and our limits."""
        return _client("secretsmanager", self)


def _client(service: str, settings: LimitedS3Resource | LimitedSecretsManagerResource) -> Any:
    return _session(settings.profile_name).client(  # type: ignore[call-overload, misc]
        service,
        region_name=settings.region_name,
        use_ssl=settings.use_ssl,
        verify=settings.verify,
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        aws_session_token=settings.aws_session_token,
        config=limits(brief=settings.brief),
    )


@cache
def _session(profile_name: str | None) -> Session:
    """Return the session of a profile; a new one takes 0.1 s, which a sensor would spend at every tick."""
    return Session(profile_name=profile_name)
