"""Blocked transactions, published to SNS where a topic is set.

Belongs here: what people are told. Does not: what is blocked and why. Never personal data.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from chalicelib.aws import MAX_CONNECTIONS, code_of, failures
from chalicelib.limits import Deadline, chunks
from chalicelib.observability import Metrics, logger

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

MAX_ENTRIES = 10  # https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
MAX_CALL_BYTES = 262_144


class Alerts:
    """Tells people of blocked transactions; a failure is logged and counted, never raised."""

    def __init__(self, sns: "SNSClient", metrics: Metrics, *, topic_arn: str | None) -> None:
        self._sns = sns
        self._metrics = metrics
        self._topic_arn = topic_arn
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="alerts")

    @property
    def is_set(self) -> bool:
        """Whether there is a topic."""
        return self._topic_arn is not None

    def begin(self, blocks: Sequence[Mapping[str, Any]]) -> "list[Future[int]]":
        """Begin to publish blocked transactions; ``finish`` waits for it."""
        if self._topic_arn is None:
            return []
        entries = [
            {"Id": str(position), "Subject": "Transaction blocked", "Message": json.dumps(block)}
            for position, block in enumerate(blocks)
        ]
        pieces = chunks(
            entries,
            size_of=lambda entry: len(entry["Message"]) + len(entry["Subject"]),
            max_bytes=MAX_CALL_BYTES,
            max_items=MAX_ENTRIES,
        )
        return [self._threads.submit(self._publish, piece) for piece in pieces]

    def finish(self, calls: "Sequence[Future[int]]", deadline: Deadline) -> None:
        """Wait for what was begun, and count what SNS did not take."""
        wait(calls, timeout=deadline.left_s())
        failed = 0
        for call in calls:
            if call.done():
                failed += call.result()
            else:
                failed += 1
                call.cancel()
                logger.error("an alert could not be published", extra={"reason": "no answer within the deadline"})
        if failed:
            self._metrics.count("Errors", failed, code="alert_failed")

    def probe(self) -> None:
        """Ask SNS for the topic.

        Raises:
            BotoCoreError, ClientError: There is none, or SNS does not answer.
        """
        if self._topic_arn is not None:
            self._sns.get_topic_attributes(TopicArn=self._topic_arn)

    def _publish(self, entries: Sequence[dict[str, str]]) -> int:
        """Publish up to ten messages and return how many SNS did not take."""
        try:
            answer = self._sns.publish_batch(TopicArn=str(self._topic_arn), PublishBatchRequestEntries=list(entries))  # type: ignore[arg-type]
        except failures() as error:
            logger.error("alerts could not be published", extra={"alerts": len(entries), "reason": code_of(error)})
            return len(entries)
        codes = [refusal.get("Code", "") for refusal in answer.get("Failed", [])]
        if codes:
            reason = ", ".join(sorted(set(codes)))
            logger.error("alerts could not be published", extra={"alerts": len(codes), "reason": reason})
        return len(codes)
