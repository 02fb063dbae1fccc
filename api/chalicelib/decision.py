"""What becomes of a transaction, from its scores: pure rules, no I/O."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """What to do with a transaction, mildest first."""

    APPROVE = "approve"
    REVIEW = "review"
    BLOCK = "block"


_BY_SEVERITY = list(Decision)


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds of the serving manifest.

    Attributes:
        block_at: Calibrated probability from which a transaction is blocked.
        review_at: Calibrated probability from which a person looks at it.
        anomaly_review_at: Anomaly score from which a person looks at it; None: the score takes no part.
        when_degraded: The mildest decision while a model is missing; never ``approve``.
    """

    block_at: float
    review_at: float
    anomaly_review_at: float | None
    when_degraded: Decision

    def decide(self, *, probability: float | None, anomaly: float | None) -> Decision:
        """Decide on one transaction; None is the score of a model that did not answer."""
        decision = self._by_thresholds(probability, anomaly)
        if probability is None or anomaly is None:
            return max(decision, self.when_degraded, key=_BY_SEVERITY.index)
        return decision

    def flags(self, probability: float) -> bool:
        """Whether the classifier alone calls it fraud (``fraud_prediction`` = 1)."""
        return probability >= self.review_at

    def _by_thresholds(self, probability: float | None, anomaly: float | None) -> Decision:
        if probability is not None and probability >= self.block_at:
            return Decision.BLOCK
        if probability is not None and probability >= self.review_at:
            return Decision.REVIEW
        if anomaly is not None and self.anomaly_review_at is not None and anomaly >= self.anomaly_review_at:
            return Decision.REVIEW
        return Decision.APPROVE
