"""Asking the models: both endpoints at once, within a deadline, and what each feature had to do with the answer.

Belongs here: SageMaker requests and replies. Does not: what a score means for the transaction (``decision.py``).
A model that fails, is late or answers nonsense is one that did not answer: it is None in the scores, never an exception.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.aws import MAX_CONNECTIONS, code_of, failures
from chalicelib.limits import chunks
from chalicelib.manifest import Manifest, Model
from chalicelib.observability import Metrics, logger

if TYPE_CHECKING:
    from chalicelib.signed import SageMakerRuntime

MAX_REASONS = 3
MAX_REQUEST_BYTES = (
    6_000_000  # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
)
# Keys of the built-in containers' JSON replies: https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html
_REPLY_KEYS = {"fraud_classifier": ("predictions", "score"), "anomaly_detector": ("scores", "score")}


class ModelError(RuntimeError):
    """An endpoint did not answer, or not with one usable score for each row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One transaction as the models are asked about it: the cells of a CSV row for each, and the values before transforms."""

    features: Mapping[str, float]
    classifier: Sequence[str]
    detector: Sequence[str]

    @classmethod
    def of(cls, manifest: Manifest, features: Mapping[str, float]) -> "Row":
        """Transform one transaction, whose values lie within the domain of every transform: its parser saw to that."""
        return cls(features, manifest.classifier.cells(features), manifest.detector.cells(features))


@dataclass(frozen=True, slots=True)
class Scores:
    """What the models said of one transaction; None: no answer.

    Attributes:
        raw: The classifier's score as it answered it, 0 to 1.
        probability: Calibrated probability of fraud, 0 to 1.
        anomaly: Anomaly score, higher is stranger.
        failed: Names of the models that did not answer.
    """

    raw: float | None
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
    """The two endpoints of a manifest. Each has threads of its own: a model that hangs takes none of the other's."""

    def __init__(self, runtime: "SageMakerRuntime", metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._threads = {name: ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix=name) for name in _REPLY_KEYS}

    def score(self, manifest: Manifest, rows: Sequence[Row], *, timeout_s: float) -> list[Scores]:
        """Ask both models about transactions, in as few requests as their size needs."""
        models = (manifest.classifier, manifest.detector)
        lines = ([",".join(row.classifier) for row in rows], [",".join(row.detector) for row in rows])
        calls = [self._begin(model, of_model) for model, of_model in zip(models, lines, strict=True)]
        wait([call.reply for of_model in calls for call in of_model], timeout=timeout_s)
        answers = (self._scores(model, of_model) for model, of_model in zip(models, calls, strict=True))
        return [
            Scores(
                raw=raw,
                probability=None if raw is None else manifest.calibration.apply(raw),
                anomaly=anomaly,
                failed=tuple(model.name for model, score in zip(models, (raw, anomaly), strict=True) if score is None),
            )
            for raw, anomaly in zip(*answers, strict=True)
        ]

    def explain(
        self, manifest: Manifest, scored: Sequence[tuple[Row, float]], *, timeout_s: float
    ) -> list[list[Reason] | None]:
        """Return the features that raised the classifier's score most, for each transaction and its raw score.

        Occlusion: one row for each feature whose training median is known, with that feature at its median; the rows of all
        transactions go in as few requests as their size needs. None where the classifier did not answer all of them.
        """
        model = manifest.classifier
        lines = [line for row, _ in scored for line in _occluded(model, row.classifier)]
        calls = self._begin(model, lines)
        wait([call.reply for call in calls], timeout=timeout_s)
        scores = iter(self._scores(model, calls))
        return [_reasons(row, raw, {name: next(scores) for name in model.median_cells}) for row, raw in scored]

    def probe(self, model: Model) -> None:
        """Ask one model about a transaction of training medians.

        Raises:
            ModelError: It did not answer with a score.
        """
        self._ask(model, [",".join(model.typical)])

    def _begin(self, model: Model, lines: Sequence[str]) -> list["_Call"]:
        pieces = chunks(lines, size_of=lambda line: len(line) + 1, max_bytes=MAX_REQUEST_BYTES)
        threads = self._threads[model.name]
        return [_Call(len(piece), threads.submit(self._ask, model, piece)) for piece in pieces]

    def _scores(self, model: Model, calls: Sequence["_Call"]) -> list[float | None]:
        """Return the score of each row; those of a request that failed are None."""
        scores: list[float | None] = []
        for call in calls:
            try:
                if not call.reply.done():
                    call.reply.cancel()
                    raise ModelError("no answer within the deadline")  # noqa: TRY301 - one place says what failed
                scores += call.reply.result()
            except ModelError as error:
                scores += [None] * call.rows
                self._metrics.count("Degraded", model=model.name)
                names = {"model": model.name, "endpoint": model.endpoint}
                logger.warning("model did not answer", extra={**names, "reason": str(error)})
        return scores

    def _ask(self, model: Model, lines: Sequence[str]) -> list[float]:
        started = time.perf_counter()
        try:
            content = self._runtime.invoke_endpoint(model.endpoint, "\n".join(lines))
        except failures() as error:
            raise ModelError(f"InvokeEndpoint failed: {code_of(error)}") from error
        self._metrics.duration("ModelLatency", time.perf_counter() - started, model=model.name)
        return _read_reply(model.name, content, rows=len(lines))


@dataclass(frozen=True, slots=True)
class _Call:
    rows: int
    reply: "Future[list[float]]"


def _occluded(model: Model, cells: Sequence[str]) -> list[str]:
    return [
        ",".join([at_median.get(position, cell) for position, cell in enumerate(cells)])
        for at_median in model.median_cells.values()
    ]


def _reasons(row: Row, raw: float, without: Mapping[str, float | None]) -> list[Reason] | None:
    falls = []
    for feature, score in without.items():
        if score is None:
            return None
        falls.append(Reason(feature, row.features[feature], round(raw - score, 6)))
    falls.sort(key=lambda reason: reason.weight, reverse=True)
    return [reason for reason in falls[:MAX_REASONS] if reason.weight > 0]


def _read_reply(name: str, content: bytes, *, rows: int) -> list[float]:
    list_key, score_key = _REPLY_KEYS[name]
    try:
        scores = [float(item[score_key]) for item in json.loads(content)[list_key]]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ModelError(f"the reply is not a list of scores: {type(error).__name__}") from error
    if len(scores) != rows:
        raise ModelError(f"the reply has {len(scores)} scores for {rows} rows")
    if not all(map(math.isfinite, scores)):
        raise ModelError("the reply holds a score that is not finite")
    if name == "fraud_classifier" and not all(0 <= score <= 1 for score in scores):
        raise ModelError("the reply holds a probability outside 0 to 1")
    return scores
