"""The events of the API and their way to Kinesis, or to S3 as dead letters.

Belongs here: the shape of an event and how hard we try to deliver. Does not: what was decided and why.
"""

import json
import random
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chalicelib.aws import MAX_CONNECTIONS, code_of, failures
from chalicelib.decision import Decision
from chalicelib.feedback_request import Feedback
from chalicelib.limits import Deadline, Limits, chunks
from chalicelib.manifest import Manifest
from chalicelib.observability import Metrics, logger
from chalicelib.scoring import Reason, Scores
from chalicelib.transactions import Transaction

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from chalicelib.signed import Kinesis

SCHEMA_VERSION = 1
DEAD_LETTERS = "dead-letters"
# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
MAX_RECORDS = 500
MAX_CALL_BYTES = 5 * 2**20
MAX_RECORD_BYTES = 2**20
ATTEMPTS = 4
BACKOFF_S = 0.05  # doubled with each attempt; the pause is a random part of it
_PASSING = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
    }
)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One event as Kinesis gets it."""

    event_id: str
    transaction_id: str
    partition_key: str
    data: bytes

    @property
    def record_bytes(self) -> int:
        """Its size as Kinesis counts it."""
        return len(self.data) + len(self.partition_key.encode())


def prediction_event(
    transaction: Transaction,
    manifest: Manifest,
    scores: Scores,
    *,
    decision: Decision,
    reasons: Sequence[Reason],
    degraded: Sequence[str],
    latency_ms: float,
) -> Event:
    """Return the event of one scored transaction, as the stream's schema has it."""
    flagged = None if scores.probability is None else int(manifest.policy.flags(scores.probability))
    return _event(
        str(uuid.uuid4()),
        transaction.transaction_id,
        transaction.customer["user_id"],
        {
            "type": "prediction",
            "run_id": transaction.run_id,
            "occurred_at": rfc3339(transaction.occurred_at),
            "scored_at": rfc3339(datetime.now(UTC)),
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
        },
    )


def label_event(feedback: Feedback) -> Event:
    """Return the event of one label; the same label gives the same event, however often it is sent."""
    content = {"label": feedback.label, "source": feedback.source, "labelled_at": rfc3339(feedback.labelled_at)}
    name = json.dumps([feedback.transaction_id, content["source"], content["labelled_at"], content["label"]])
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    return _event(event_id, feedback.transaction_id, feedback.transaction_id, {"type": "label", **content})


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC to the millisecond, as events have it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(event_id: str, transaction_id: str, partition_key: str, content: dict[str, Any]) -> Event:
    ids = {"schema_version": SCHEMA_VERSION, "event_id": event_id, "transaction_id": transaction_id}
    data = json.dumps({**ids, **content}, separators=(",", ":"), allow_nan=False).encode()
    return Event(event_id, transaction_id, partition_key, data)


class EventStream:
    """Puts events on Kinesis; what Kinesis does not take becomes a dead letter in S3.

    However slow Kinesis is, it holds up an answer no longer than ``Limits.events_s``, and S3 no longer than
    ``Limits.dead_letters_s`` after that: what is late then counts as not taken. A call given up may still arrive, so that an
    event can be both on Kinesis and a dead letter: its ``event_id`` tells that they are one.
    """

    def __init__(self, kinesis: "Kinesis", s3: "S3Client", metrics: Metrics, *, stream: str, bucket: str) -> None:
        self._kinesis = kinesis
        self._s3 = s3
        self._metrics = metrics
        self._stream = stream
        self._bucket = bucket
        self._puts = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="kinesis")
        self._letters = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="dead-letters")

    def deliver(self, events: Sequence[Event], limits: Limits) -> list[list[str]]:
        """Deliver events and return what failed on the way of each.

        Returns:
            For each event, in order: empty where Kinesis took it; ``["events"]`` where it lies in S3 as a dead letter, byte
            for byte as Kinesis would have got it; ``["events", "dead_letters"]`` where neither took it, so that only the
            caller's answer has it.
        """
        refused = self._put(events, Deadline.after(limits.events_s))
        lost = self._bury(refused, Deadline.after(limits.dead_letters_s)) if refused else set()
        refused_ids = {event.event_id for event in refused}
        return [
            ["events", "dead_letters"]
            if event.event_id in lost
            else ["events"]
            if event.event_id in refused_ids
            else []
            for event in events
        ]

    def probe(self) -> None:
        """Ask Kinesis for the stream.

        Raises:
            BotoCoreError, ClientError: There is none, or Kinesis does not answer.
        """
        self._kinesis.describe_stream(self._stream)

    def _put(self, events: Sequence[Event], deadline: Deadline) -> list[Event]:
        """Send events until Kinesis has all, or refuses for good, or attempts or time are used up; return those it has not."""
        too_large = [event for event in events if event.record_bytes > MAX_RECORD_BYTES]
        waiting = [event for event in events if event.record_bytes <= MAX_RECORD_BYTES]
        reasons = {"too_large"} if too_large else set()
        for attempt in range(ATTEMPTS):
            if not waiting:
                break
            if attempt:
                pause_s = random.uniform(0, BACKOFF_S * 2**attempt)  # noqa: S311 - jitter, not a secret
                time.sleep(deadline.left_s(pause_s))
            if not deadline.left_s():
                break
            waiting, reasons, for_good = self._put_once(waiting, deadline)
            if for_good:
                break
        if refused := too_large + waiting:
            extra = {"events": len(refused), "reason": ", ".join(sorted(reasons)), "stream": self._stream}
            logger.error("Kinesis did not take events", extra=extra)
        return refused

    def _put_once(self, events: Sequence[Event], deadline: Deadline) -> tuple[list[Event], set[str], bool]:
        """Return the events that were not taken, why, and whether it is useless to send them again."""
        refused: list[Event] = []
        reasons: set[str] = set()
        for_good = False
        for piece in chunks(
            events, size_of=lambda event: event.record_bytes, max_bytes=MAX_CALL_BYTES, max_items=MAX_RECORDS
        ):
            records = [(event.data, event.partition_key) for event in piece]
            call = self._puts.submit(self._kinesis.put_records, self._stream, records)
            try:
                results = call.result(timeout=deadline.left_s())["Records"]
                codes = [result.get("ErrorCode") for result in results]
                if len(codes) != len(piece):
                    raise KeyError("Records")  # noqa: TRY301 - answered, but not as Kinesis does
            except TimeoutError:
                codes = ["no answer within the deadline"] * len(piece)
            except KeyError:
                codes = ["unexpected answer"] * len(piece)
            except failures() as error:
                codes = [code_of(error)] * len(piece)
                for_good = for_good or _is_for_good(error)
            refused += [event for event, code in zip(piece, codes, strict=True) if code]
            reasons |= {code for code in codes if code}
        return refused, reasons, for_good

    def _bury(self, events: Sequence[Event], deadline: Deadline) -> set[str]:
        """Write dead letters, all at the same time; return the ids of the events that S3 did not take."""
        folder = f"{DEAD_LETTERS}/{datetime.now(UTC):%Y-%m-%d}"
        calls = [
            self._letters.submit(
                self._s3.put_object,
                Bucket=self._bucket,
                Key=f"{folder}/{event.event_id}.json",
                Body=event.data,
                ContentType="application/json",
            )
            for event in events
        ]
        wait(calls, timeout=deadline.left_s())
        lost = set()
        for event, call in zip(events, calls, strict=True):
            error: BaseException | None = TimeoutError() if not call.done() else call.exception()
            if error is None:
                continue
            call.cancel()
            lost.add(event.event_id)
            names = {"event_id": event.event_id, "transaction_id": event.transaction_id}
            logger.critical("an event is lost", extra={**names, "reason": type(error).__name__})
        if lost:
            self._metrics.count("Errors", len(lost), code="event_lost")
        if len(events) > len(lost):
            self._metrics.count("DeadLetters", len(events) - len(lost))
        return lost


def _is_for_good(error: Exception) -> bool:
    """Whether Kinesis refused a call as wrong, so that the same call would be refused again."""
    response = getattr(error, "response", None)
    if response is None:
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
    return status < _SERVER_ERROR and code_of(error) not in _PASSING
