"""Asking the models: both endpoints at once, within a deadline, and what each feature had to do with the answer.

Belongs here: SageMaker requests and replies. Does not: what a score means for the transaction (``decision.py``).
A model that fails, is late or answers nonsense is one that did not answer: it is None in the scores, never an exception.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.errors import InvalidRequestError
from chalicelib.manifest import Manifest, Model
from chalicelib.observability import Metrics, logger

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

MAX_REASONS = 3
# Keys of the built-in containers' JSON replies: https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html
_REPLY_KEYS = {"fraud_classifier": ("predictions", "score"), "anomaly_detector": ("scores", "score")}


class ModelError(RuntimeError):
    """An endpoint did not answer, or not with one usable score for each row."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the models said of one transaction; None: no answer.

    Attributes:
        probability: Calibrated probability of fraud, 0 to 1.
        anomaly: Anomaly score, higher is stranger.
        failed: Names of the models that did not answer.
    """

    probability: float | None
    anomaly: float | None
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """How far the classifier's raw score falls when one feature is set to its training median."""

    feature: str
    value: float
    weight: float


class Models:
    """The two endpoints of a manifest."""

    def __init__(
        self,
        runtime: "SageMakerRuntimeClient",
        pool: Executor,
        metrics: Metrics,
        *,
        deadline_s: float,
        reasons_deadline_s: float,
    ) -> None:
        self._runtime = runtime
        self._pool = pool
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._reasons_deadline_s = reasons_deadline_s

    def score(self, manifest: Manifest, features: Mapping[str, float]) -> Scores:
        """Ask both models about one transaction.

        Raises:
            InvalidRequestError: A value lies outside the domain of a transform; no model was asked.
        """
        models = (manifest.classifier, manifest.detector)
        rows = [model_row(model, features) for model in models]
        calls = [self._pool.submit(self._ask, model, [row]) for model, row in zip(models, rows, strict=True)]
        wait(calls, timeout=self._deadline_s)
        raw, anomaly = (self._one_score(model, call) for model, call in zip(models, calls, strict=True))
        return Scores(
            probability=None if raw is None else manifest.calibration.apply(raw),
            anomaly=anomaly,
            failed=tuple(model.name for model, score in zip(models, (raw, anomaly), strict=True) if score is None),
        )

    def explain(self, manifest: Manifest, features: Mapping[str, float]) -> list[Reason] | None:
        """Return the features that raised the classifier's score most, or None where it did not answer.

        Occlusion, in one request of d + 1 rows: the transaction itself, then one row for each of the d features
        whose training median is known, with that feature at its median.
        """
        model = manifest.classifier
        columns = [feature.column for feature in model.features if feature.column in model.medians]
        rows = [model_row(model, features)]
        rows += [model_row(model, {**features, column: model.medians[column]}) for column in columns]
        call = self._pool.submit(self._ask, model, rows)
        wait([call], timeout=self._reasons_deadline_s)
        scores = self._scores(model, call)
        if scores is None:
            return None
        falls = [Reason(c, features[c], round(scores[0] - s, 6)) for c, s in zip(columns, scores[1:], strict=True)]
        falls.sort(key=lambda reason: reason.weight, reverse=True)
        return [reason for reason in falls[:MAX_REASONS] if reason.weight > 0]

    def _one_score(self, model: Model, call: "Future[list[float]]") -> float | None:
        scores = self._scores(model, call)
        return None if scores is None else scores[0]

    def _scores(self, model: Model, call: "Future[list[float]]") -> list[float] | None:
        try:
            if not call.done():
                call.cancel()
                raise ModelError("no answer within the deadline")  # noqa: TRY301 - one place says what failed
            return call.result()
        except ModelError as error:
            self._metrics.count("Degraded", model=model.name)
            logger.warning(
                "model did not answer", extra={"model": model.name, "endpoint": model.endpoint, "reason": str(error)}
            )
            return None

    def _ask(self, model: Model, rows: Sequence[Sequence[float]]) -> list[float]:
        from botocore.exceptions import BotoCoreError, ClientError

        started = time.perf_counter()
        body = "\n".join(",".join(map(repr, row)) for row in rows)
        try:
            reply = self._runtime.invoke_endpoint(
                EndpointName=model.endpoint, ContentType="text/csv", Accept="application/json", Body=body
            )
            content = reply["Body"].read()
        except ClientError as error:
            # Not the whole message: a container may quote the row it choked on.
            raise ModelError(f"InvokeEndpoint answered {error.response['Error']['Code']}") from error
        except BotoCoreError as error:
            raise ModelError(f"InvokeEndpoint failed: {type(error).__name__}") from error
        self._metrics.duration("ModelLatency", time.perf_counter() - started, model=model.name)
        return _read_reply(model.name, content, rows=len(rows))


def model_row(model: Model, features: Mapping[str, float]) -> list[float]:
    """Return one row of the model's request: its features, in order, transformed.

    Raises:
        InvalidRequestError: A value lies outside the domain of a transform.
    """
    row = []
    for feature in model.features:
        try:
            row.append(feature.apply(features[feature.column]))
        except ValueError:
            where = f"data.{feature.column}"
            message = f"{where} lies outside the domain of {feature.transform}"
            raise InvalidRequestError("out_of_range", message, field=where) from None
    return row


def _read_reply(name: str, content: bytes, *, rows: int) -> list[float]:
    list_key, score_key = _REPLY_KEYS[name]
    try:
        scores = [float(item[score_key]) for item in json.loads(content)[list_key]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the reply is not a list of scores: {type(error).__name__}") from error
    if len(scores) != rows:
        raise ModelError(f"the reply has {len(scores)} scores for {rows} rows")
    if not all(math.isfinite(score) for score in scores):
        raise ModelError("the reply holds a score that is not finite")
    if name == "fraud_classifier" and not all(0 <= score <= 1 for score in scores):
        raise ModelError("the reply holds a probability outside 0 to 1")
    return scores
