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
from typing import TYPE_CHECKING, Any, NamedTuple

from chalicelib.aws import MAX_CONNECTIONS, code_of, failures, status_of
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
_PASSING_CODES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "InternalFailure",
    }
)
_SERVER_ERROR = 500
_TAKING = frozenset({"ACTIVE", "UPDATING"})


class StreamNotReadyError(RuntimeError):
    """The stream is being made or deleted."""


class Refusal(NamedTuple):
    """Why Kinesis has not taken an event, and whether that may pass."""

    code: str
    may_pass: bool


TOO_LARGE = Refusal("larger than a record may be", may_pass=False)
LATE = Refusal("no answer within the deadline", may_pass=False)
NOT_UNDERSTOOD = Refusal("not an answer of Kinesis", may_pass=True)


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
            For each event, in order: empty where Kinesis took it; ``["events"]`` where it lies in S3 as a dead letter, a line
            that is byte for byte what Kinesis would have got; ``["events", "dead_letters"]`` where neither took it, so that only the
            caller's answer has it.
        """
        refused = self._put(events, Deadline.after(limits.events_s))
        if not refused:
            return [[] for _ in events]
        failed = (
            ["events"] if self._keep(refused, Deadline.after(limits.dead_letters_s)) else ["events", "dead_letters"]
        )
        refused_ids = {event.event_id for event in refused}
        return [failed if event.event_id in refused_ids else [] for event in events]

    def probe(self) -> None:
        """Ask Kinesis for the stream.

        Raises:
            BotoCoreError, ClientError: There is none, or Kinesis does not answer.
            StreamNotReadyError: It takes no records now.
        """
        stream = self._kinesis.describe_stream(self._stream)["StreamDescriptionSummary"]
        if stream["StreamStatus"] not in _TAKING:
            raise StreamNotReadyError(f"stream {self._stream} is {stream['StreamStatus']}")

    def _put(self, events: Sequence[Event], deadline: Deadline) -> list[Event]:
        """Send events until Kinesis has all, or refuses for good, or attempts or time are used up; return those it has not."""
        waiting = [event for event in events if event.record_bytes <= MAX_RECORD_BYTES]
        refusals = {event: TOO_LARGE for event in events if event.record_bytes > MAX_RECORD_BYTES}
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_s = random.uniform(0, BACKOFF_S * 2**attempt)  # noqa: S311 - jitter, not a secret
                time.sleep(deadline.left_s(pause_s))
            refused = self._put_once(waiting, deadline)
            waiting = [event for event, refusal in refused.items() if refusal.may_pass]
            if not waiting or attempt == ATTEMPTS - 1:
                refusals |= refused
                break
            refusals |= {event: refusal for event, refusal in refused.items() if not refusal.may_pass}
        if refusals:
            reason = ", ".join(sorted({refusal.code for refusal in refusals.values()}))
            extra = {"events": len(refusals), "reason": reason, "stream": self._stream}
            logger.error("Kinesis did not take events", extra=extra)
        return list(refusals)

    def _put_once(self, events: Sequence[Event], deadline: Deadline) -> dict[Event, Refusal]:
        """Send events in as few calls as they fit in; return those that were not taken."""
        refused: dict[Event, Refusal] = {}
        for piece in chunks(
            events, size_of=lambda event: event.record_bytes, max_bytes=MAX_CALL_BYTES, max_items=MAX_RECORDS
        ):
            verdicts = self._put_piece(piece, deadline)
            refused |= {event: verdict for event, verdict in zip(piece, verdicts, strict=True) if verdict}
        return refused

    def _put_piece(self, piece: Sequence[Event], deadline: Deadline) -> Sequence[Refusal | None]:
        if not deadline.left_s():
            return [LATE] * len(piece)
        records = [(event.data, event.partition_key) for event in piece]
        call = self._puts.submit(self._kinesis.put_records, self._stream, records)
        try:
            return _verdicts(call.result(timeout=deadline.left_s()), len(piece))
        except TimeoutError:
            call.cancel()
            return [LATE] * len(piece)
        except failures() as error:
            return [_refusal_of_call(error)] * len(piece)

    def _keep(self, events: Sequence[Event], deadline: Deadline) -> bool:
        """Write events into one object, a line each, and return whether S3 took it: one call, however many they are."""
        call = self._letters.submit(
            self._s3.put_object,
            Bucket=self._bucket,
            Key=f"{DEAD_LETTERS}/{datetime.now(UTC):%Y-%m-%d}/{events[0].event_id}.jsonl",
            Body=b"\n".join(event.data for event in events),
            ContentType="application/jsonl",
        )
        wait([call], timeout=deadline.left_s())
        error: BaseException | None = call.exception() if call.done() else TimeoutError()
        if error is not None:
            call.cancel()
            for event in events:
                names = {"event_id": event.event_id, "transaction_id": event.transaction_id}
                logger.critical("an event is lost", extra={**names, "reason": code_of(error)})
            self._metrics.count("Errors", len(events), code="event_lost")
            return False
        self._metrics.count("DeadLetters", len(events))
        return True


def _verdicts(answer: Any, number: int) -> Sequence[Refusal | None]:
    """Return why each record was refused, or None where Kinesis took it."""
    try:
        codes = [result.get("ErrorCode") for result in answer["Records"]]
    except (KeyError, TypeError, AttributeError):
        codes = []
    if len(codes) != number:
        return [NOT_UNDERSTOOD] * number
    return [Refusal(code, code in _PASSING_CODES) if code else None for code in codes]


def _refusal_of_call(error: Exception) -> Refusal:
    code, status = code_of(error), status_of(error)
    return Refusal(code, may_pass=status is None or status >= _SERVER_ERROR or code in _PASSING_CODES)
