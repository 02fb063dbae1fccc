"""What happens to transactions, one or many: scored, decided, explained, told to Kinesis and SNS.

Belongs here: the order of things, and the answers. Does not: HTTP, reading bodies, and how any single step works.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from chalicelib.alerts import Alerts
from chalicelib.decision import Decision
from chalicelib.errors import ScoringUnavailableError
from chalicelib.events import Event, EventStream, prediction_event, rfc3339
from chalicelib.limits import Deadline, Limits
from chalicelib.manifest import Manifest
from chalicelib.observability import Metrics
from chalicelib.scoring import Models, Reason, Row, Scores
from chalicelib.transactions import Transaction


@dataclass(slots=True)
class Prediction:
    """One transaction with a decision, and everything that its answer holds.

    Attributes:
        degraded: What did not work on the way: models, ``reasons``, ``events``, ``dead_letters``.
    """

    transaction: Transaction
    row: Row
    scores: Scores
    decision: Decision
    reasons: list[Reason] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)

    def answer(self, manifest: Manifest) -> dict[str, Any]:
        """Return the answer of ``POST /predict``."""
        probability = self.scores.probability
        return {
            "transaction_id": self.transaction.transaction_id,
            "decision": self.decision,
            "fraud_classifier": {
                "pred_proba": probability,
                "prediction": None if probability is None else int(manifest.policy.flags(probability)),
                "model_version": manifest.classifier.version,
            },
            "anomaly_detector": {"score": self.scores.anomaly, "model_version": manifest.detector.version},
            "reasons": [asdict(reason) for reason in self.reasons],
            "degraded": self.degraded,
        }

    def alert(self) -> dict[str, Any]:
        """Return what people are told of a block: nothing personal."""
        return {
            "transaction_id": self.transaction.transaction_id,
            "occurred_at": rfc3339(self.transaction.occurred_at),
            "fraud_proba": self.scores.probability,
            "anomaly_score": self.scores.anomaly,
            "decision": self.decision,
        }


class Predictions:
    """Turns transactions into predictions, all by one manifest."""

    def __init__(self, models: Models, events: EventStream, alerts: Alerts, metrics: Metrics) -> None:
        self._models = models
        self._events = events
        self._alerts = alerts
        self._metrics = metrics

    def make(
        self,
        manifest: Manifest,
        transactions: Sequence[tuple[Transaction, Row]],
        *,
        limits: Limits,
        scoring: Deadline,
        started_s: float,
    ) -> list[Prediction | ScoringUnavailableError]:
        """Score, decide, explain and deliver.

        Args:
            manifest: What every one of them is scored by.
            transactions: Each with its row for the models.
            limits: How long each step may take.
            scoring: Until when scores and reasons must be there.
            started_s: When the request came, on ``time.perf_counter``.

        Returns:
            For each transaction, in order: its prediction, or that no model answered.
        """
        rows = [row for _, row in transactions]
        scores = self._models.score(manifest, rows, timeout_s=scoring.left_s(limits.models_s))
        results = [_decided(manifest, *pair, of_pair) for pair, of_pair in zip(transactions, scores, strict=True)]
        made = [result for result in results if isinstance(result, Prediction)]
        self._explain(manifest, made, timeout_s=scoring.left_s(limits.reasons_s))
        self._deliver(manifest, made, limits, started_s)
        for decision, number in Counter(prediction.decision for prediction in made).items():
            self._metrics.count("Decisions", number, decision=decision)
        return results

    def _explain(self, manifest: Manifest, made: Sequence[Prediction], *, timeout_s: float) -> None:
        asked = [(p, p.scores.raw) for p in made if p.decision != Decision.APPROVE and p.scores.raw is not None]
        if not asked:
            return
        answers = self._models.explain(manifest, [(p.row, raw) for p, raw in asked], timeout_s=timeout_s)
        for (prediction, _), reasons in zip(asked, answers, strict=True):
            if reasons is None:
                prediction.degraded.append("reasons")
            else:
                prediction.reasons = reasons

    def _deliver(self, manifest: Manifest, made: Sequence[Prediction], limits: Limits, started_s: float) -> None:
        deadline = Deadline.after(limits.events_s + limits.dead_letters_s)
        alerts = self._alerts.begin([p.alert() for p in made if p.decision == Decision.BLOCK])
        latency_ms = round((time.perf_counter() - started_s) * 1000, 3)
        failed = self._events.deliver([_event(manifest, p, latency_ms) for p in made], limits)
        for prediction, parts in zip(made, failed, strict=True):
            prediction.degraded += parts
        self._alerts.finish(alerts, deadline)


def _decided(
    manifest: Manifest, transaction: Transaction, row: Row, scores: Scores
) -> Prediction | ScoringUnavailableError:
    if scores.probability is None and scores.anomaly is None:
        return ScoringUnavailableError("models_unavailable", "no model answered; try again")
    decision = manifest.policy.decide(probability=scores.probability, anomaly=scores.anomaly)
    return Prediction(transaction, row, scores, decision, degraded=list(scores.failed))


def _event(manifest: Manifest, prediction: Prediction, latency_ms: float) -> Event:
    return prediction_event(
        prediction.transaction,
        manifest,
        prediction.scores,
        decision=prediction.decision,
        reasons=prediction.reasons,
        degraded=prediction.degraded,
        latency_ms=latency_ms,
    )
