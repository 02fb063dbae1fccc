"""The environment of the API, read in one place (the variables of ``.chalice/config.json``).

Belongs here: names, defaults and limits. Does not: anything that acts on them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from chalicelib.limits import Limits

DEFAULT_API_KEYS_SECRET = "fraudit/api-keys"  # noqa: S105 - the name of a secret, not the secret
REQUIRED = ("stream_name", "aws_region", "stage", "model_bucket", "stream_bucket")

# API Gateway gives up after 29 s, Lambda after the lambda_timeout of .chalice/config.json.
SINGLE = Limits(scoring_s=2.25, models_s=1.5, reasons_s=0.75, events_s=1.0, dead_letters_s=0.75)
BATCH = Limits(scoring_s=5.0, models_s=3.0, reasons_s=2.0, events_s=2.0, dead_letters_s=3.0)
FEEDBACK = Limits(events_s=1.0, dead_letters_s=0.75)


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
        contract: Name of the data contract it was deployed for; a manifest of another is refused. None: any is taken.
        max_body_bytes: Largest request body, in bytes.
        max_batch_bytes: Largest body of a batch, in bytes. 500 transactions of the shipped contract take 0.75 MB. Lambda takes
            6 MB, with the quotes of the body escaped, and API Gateway 10 MB: 5 MiB keep clear of both.
        max_batch_transactions: Most transactions of a batch; Kinesis takes as many records in one call.
        manifest_max_age_s: Age from which the manifest is asked for again, in seconds.
        manifest_wait_s: Wait of the request that asks again, before it goes on with the copy at hand, in seconds.
        manifest_first_wait_s: Wait for the first manifest of a process, in seconds.
        keys_max_age_s: Age from which the keys are read again, in seconds.
        keys_stale_s: Age up to which the keys read last still count while Secrets Manager is away, in seconds.
        health_deadline_s: Wait for all dependencies together, in seconds.
        health_max_age_s: How long what was found out about the dependencies is repeated, in seconds.
        single: How long the steps of one prediction may take: 2.25 + 1 + 0.75 = 4 s at worst.
        batch: How long the steps of a batch may take: 5 + 2 + 3 = 10 s at worst.
        feedback: How long a label may take: 1 + 0.75 = 1.75 s at worst.
    """

    stream_name: str
    aws_region: str
    stage: str
    model_bucket: str
    stream_bucket: str
    api_keys_secret: str = DEFAULT_API_KEYS_SECRET
    alerts_topic_arn: str | None = None
    contract: str | None = None
    max_body_bytes: int = 65_536
    max_batch_bytes: int = 5 * 2**20
    max_batch_transactions: int = 500
    manifest_max_age_s: float = 30.0
    manifest_wait_s: float = 0.25
    manifest_first_wait_s: float = 1.5
    keys_max_age_s: float = 60.0
    keys_stale_s: float = 600.0
    health_deadline_s: float = 2.0
    health_max_age_s: float = 5.0
    single: Limits = SINGLE
    batch: Limits = BATCH
    feedback: Limits = FEEDBACK

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
            contract=environment.get("contract") or None,
        )
