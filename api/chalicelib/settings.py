"""The environment of the API, read in one place (the variables of ``.chalice/config.json``).

Belongs here: names, defaults and limits. Does not: anything that acts on them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

DEFAULT_API_KEYS_SECRET = "fraudit/api-keys"  # noqa: S105 - the name of a secret, not the secret
REQUIRED = ("stream_name", "aws_region", "stage", "model_bucket", "stream_bucket")


class SettingsError(ValueError):
    """The environment lacks variables; the message names every one of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment of the API may differ in, and the limits that all share.

    Attributes:
        stream_name: Kinesis stream that takes the events.
        aws_region: AWS region of everything the API calls.
        stage: Dimension of all metrics.
        model_bucket: Bucket of the serving manifest.
        stream_bucket: Bucket of the dead letters.
        api_keys_secret: Name of the secret with the hashed API keys.
        alerts_topic_arn: SNS topic that hears of blocked transactions; None: nobody does.
        max_body_bytes: Largest request body, in bytes.
        manifest_max_age_s: Age from which the manifest is asked for again, in seconds.
        keys_max_age_s: Age from which the keys are read again, in seconds.
        keys_stale_s: Age up to which the keys read last still count while Secrets Manager is away, in seconds.
        models_deadline_s: Longest wait for both models together, in seconds.
        reasons_deadline_s: Longest wait for the reasons, in seconds.
    """

    stream_name: str
    aws_region: str
    stage: str
    model_bucket: str
    stream_bucket: str
    api_keys_secret: str = DEFAULT_API_KEYS_SECRET
    alerts_topic_arn: str | None = None
    max_body_bytes: int = 65_536
    manifest_max_age_s: float = 30.0
    keys_max_age_s: float = 60.0
    keys_stale_s: float = 600.0
    models_deadline_s: float = 2.0
    reasons_deadline_s: float = 1.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises:
            SettingsError: Variables without a default are missing or empty.
        """
        missing = [name for name in REQUIRED if not environment.get(name)]
        if missing:
            raise SettingsError(f"set these variables in .chalice/config.json or the environment: {', '.join(missing)}")
        return cls(
            stream_name=environment["stream_name"],
            aws_region=environment["aws_region"],
            stage=environment["stage"],
            model_bucket=environment["model_bucket"],
            stream_bucket=environment["stream_bucket"],
            api_keys_secret=environment.get("api_keys_secret") or DEFAULT_API_KEYS_SECRET,
            alerts_topic_arn=environment.get("alerts_topic_arn") or None,
        )
