"""What leaves the API besides its answer: the event on Kinesis, and the alert of a block on SNS.

Belongs here: the shape of the event and how hard we try to deliver. Does not: what was decided and why.
"""

import json
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chalicelib.decision import Decision
from chalicelib.manifest import Manifest
from chalicelib.observability import Metrics, logger
from chalicelib.scoring import Reason, Scores
from chalicelib.transactions import Transaction

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient

SCHEMA_VERSION = 1
DEAD_LETTERS = "dead-letters"


def prediction_event(
    transaction: Transaction,
    manifest: Manifest,
    scores: Scores,
    *,
    decision: Decision,
    reasons: list[Reason],
    degraded: list[str],
    latency_ms: float,
) -> dict[str, Any]:
    """Return the event of one scored transaction, as the stream's schema has it."""
    flagged = None if scores.probability is None else int(manifest.policy.flags(scores.probability))
    return {
        "schema_version": SCHEMA_VERSION,
        "type": "prediction",
        "event_id": str(uuid.uuid4()),
        "transaction_id": transaction.transaction_id,
        "run_id": transaction.run_id,
        "occurred_at": _rfc3339(transaction.occurred_at),
        "scored_at": _rfc3339(datetime.now(UTC)),
        **transaction.customer,
        "contract": manifest.contract,
        "manifest_version": manifest.version,
        "features": dict(transaction.features),
        "amount": transaction.features[manifest.amount],
        "fraud_proba": scores.probability,
        "fraud_prediction": flagged,
        "anomaly_score": scores.anomaly,
        "decision": decision,
        "reasons": [asdict(reason) for reason in reasons],
        "degraded": degraded,
        "model_versions": {model.name: model.version for model in (manifest.classifier, manifest.detector)},
        "latency_ms": latency_ms,
    }


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EventStream:
    """Puts events on Kinesis; what Kinesis does not take becomes a dead letter in S3."""

    def __init__(self, kinesis: "KinesisClient", s3: "S3Client", metrics: Metrics, *, stream: str, bucket: str) -> None:
        self._kinesis = kinesis
        self._s3 = s3
        self._metrics = metrics
        self._stream = stream
        self._bucket = bucket

    def deliver(self, event: dict[str, Any]) -> list[str]:
        """Deliver one event and return what failed on the way.

        Returns:
            Empty where Kinesis took it; ``["events"]`` where it lies in S3 as a dead letter, byte for byte as Kinesis
            would have got it; ``["events", "dead_letters"]`` where neither took it, so that only the caller's answer has it.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        data = json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
        try:
            self._kinesis.put_record(StreamName=self._stream, Data=data, PartitionKey=event["user_id"])
        except (BotoCoreError, ClientError) as error:
            logger.error("Kinesis did not take an event", extra={**_names(event), "reason": str(error)})
        else:
            return []
        key = f"{DEAD_LETTERS}/{event['scored_at'][:10]}/{event['event_id']}.json"
        try:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType="application/json")
        except (BotoCoreError, ClientError) as error:
            self._metrics.count("Errors", code="event_lost")
            logger.critical("an event is lost", extra={**_names(event), "reason": str(error)})
            return ["events", "dead_letters"]
        self._metrics.count("DeadLetters")
        return ["events"]


class Alerts:
    """Tells people of blocked transactions, where a topic is set."""

    def __init__(self, sns: "SNSClient", metrics: Metrics, *, topic_arn: str | None) -> None:
        self._sns = sns
        self._metrics = metrics
        self._topic_arn = topic_arn

    def publish_block(self, event: dict[str, Any]) -> None:
        """Publish a blocked transaction, without personal data; a failure is logged and counted, never raised."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._topic_arn is None:
            return
        message = {
            name: event[name] for name in ("transaction_id", "occurred_at", "fraud_proba", "anomaly_score", "decision")
        }
        try:
            self._sns.publish(TopicArn=self._topic_arn, Subject="Transaction blocked", Message=json.dumps(message))
        except (BotoCoreError, ClientError) as error:
            self._metrics.count("Errors", code="alert_failed")
            logger.error("an alert could not be published", extra={**_names(event), "reason": str(error)})


def _names(event: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": event["event_id"], "transaction_id": event["transaction_id"]}
