"""The serving manifest: which endpoints are asked, with which features, and what their scores mean.

Belongs here: its types and how it is read from JSON; pure, no I/O. Does not: where it is kept (``manifest_store.py``).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from chalicelib.decision import Decision, Policy

SCHEMA_VERSION = 1
_TRANSFORMS = ("identity", "log1p")
_MIN_KNOTS = 2
_MODELS = ("fraud_classifier", "anomaly_detector")


class ManifestError(ValueError):
    """The manifest is not one that this code can serve; the message names the field."""


class DomainError(ValueError):
    """A value lies outside the domain of a feature's transform."""

    def __init__(self, feature: "Feature") -> None:
        super().__init__(f"{feature.column} lies outside the domain of {feature.transform}")
        self.feature = feature


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a model's request: an input, through a transform of the closed list."""

    column: str
    transform: str

    def cell(self, value: float) -> str:
        """Transform one value and write it with all its digits.

        Raises:
            DomainError: The value lies outside the transform's domain (``log1p``: above -1).
        """
        try:
            return repr(math.log1p(value) if self.transform == "log1p" else value)
        except ValueError:
            raise DomainError(self) from None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps the classifier's raw score to a probability, by linear interpolation between knots.

    Attributes:
        x: Raw scores, ascending; empty for the identity.
        y: The probability at each of them.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def apply(self, score: float) -> float:
        """Return the probability; beyond the first and last knot it is theirs."""
        if not self.x:
            return score
        right = bisect_right(self.x, score)
        if right == 0:
            return self.y[0]
        if right == len(self.x):
            return self.y[-1]
        x0, x1, y0, y1 = self.x[right - 1], self.x[right], self.y[right - 1], self.y[right]
        return y0 + (y1 - y0) * (score - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True)
class Model:
    """One endpoint and what it wants.

    Attributes:
        name: ``fraud_classifier`` or ``anomaly_detector``.
        endpoint: Name of the SageMaker endpoint.
        version: Model version, as a client sees it.
        features: Columns of its request, in order.
        typical: The cells of its request, transformed, for the training median of each input; 0 where none is known.
        median_cells: By input column whose median is known: the positions of its cells, and what they are at the median.
    """

    name: str
    endpoint: str
    version: str
    features: tuple[Feature, ...]
    typical: tuple[str, ...]
    median_cells: Mapping[str, Mapping[int, str]]

    def cells(self, values: Mapping[str, float]) -> list[str]:
        """Return the cells of one CSV row of its request, transformed.

        Raises:
            DomainError: A value lies outside the domain of a transform.
        """
        return [feature.cell(values[feature.column]) for feature in self.features]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is served.

    Attributes:
        logarithmic: Those of the inputs whose ``log1p`` a model takes.
        shown: The document without golden rows and medians, for ``GET /models``.
    """

    version: str
    contract: str
    inputs: tuple[str, ...]
    logarithmic: frozenset[str]
    amount: str
    classifier: Model
    detector: Model
    calibration: Calibration
    policy: Policy
    shown: Mapping[str, Any]

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read a decoded manifest; fields unknown to this code are left alone.

        Raises:
            ManifestError: A field is missing, of the wrong kind, or contradicts another.
        """
        try:
            return cls._read(content)
        except KeyError as error:
            raise ManifestError(f"field {error} is missing") from error
        except (TypeError, AttributeError, ValueError) as error:
            raise ManifestError(str(error)) from error

    @classmethod
    def _read(cls, content: Any) -> Self:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ManifestError(f"schema_version is {content['schema_version']!r}, this code reads {SCHEMA_VERSION}")
        inputs = _inputs(content)
        classifier, detector = (_model(content, name, inputs) for name in _MODELS)
        features = (*classifier.features, *detector.features)
        return cls(
            version=str(content["manifest_version"]),
            contract=str(content["contract"]["name"]),
            inputs=inputs,
            logarithmic=frozenset(feature.column for feature in features if feature.transform == "log1p"),
            amount=content["amount"],
            classifier=classifier,
            detector=detector,
            calibration=_calibration(content["fraud_classifier"]["calibration"]),
            policy=_policy(content["policy"]),
            shown=_shown(content),
        )


def _inputs(content: Mapping[str, Any]) -> tuple[str, ...]:
    inputs = content["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise ManifestError("inputs must be a list of names")
    if len(set(inputs)) != len(inputs) or content["amount"] not in inputs:
        raise ManifestError(f"inputs must differ from each other and hold amount {content['amount']!r}")
    for position, row in enumerate(content.get("golden", ())):
        if len(row["data"].split(",")) != len(inputs):
            raise ManifestError(f"golden[{position}].data is no row of the {len(inputs)} inputs")
    return tuple(inputs)


def _shown(content: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in content.items() if name != "golden"}
    for name in _MODELS:
        shown[name] = {field: value for field, value in content[name].items() if field != "medians"}
    return shown


def _model(content: Mapping[str, Any], name: str, inputs: Sequence[str]) -> Model:
    part = content[name]
    features = tuple(_feature(item, f"{name}.features") for item in part["features"])
    unknown = [feature.column for feature in features if feature.column not in inputs]
    if not features or unknown:
        raise ManifestError(f"{name}.features {unknown or 'is empty: it'} must name some of the inputs")
    medians = {column: _number(value, f"{name}.medians.{column}") for column, value in part["medians"].items()}
    if strangers := [column for column in medians if column not in inputs]:
        raise ManifestError(f"{name}.medians {strangers} must name some of the inputs")
    try:
        typical = tuple(feature.cell(medians.get(feature.column, 0.0)) for feature in features)
    except DomainError as error:
        raise ManifestError(f"{name}.medians: {error}") from error
    median_cells = {
        column: {at: typical[at] for at, feature in enumerate(features) if feature.column == column}
        for column in dict.fromkeys(feature.column for feature in features)
        if column in medians
    }
    return Model(name, str(part["endpoint"]), str(part["model_version"]), features, typical, median_cells)


def _feature(item: Any, where: str) -> Feature:
    if isinstance(item, str):
        return Feature(item, "identity")
    if isinstance(item, dict) and len(item) == 1:
        ((transform, column),) = item.items()
        if transform in _TRANSFORMS:
            return Feature(str(column), transform)
    raise ManifestError(f"{where}: {item!r} is neither a column nor one of the transforms {', '.join(_TRANSFORMS)}")


def _calibration(part: Mapping[str, Any]) -> Calibration:
    if part["kind"] == "none":
        return Calibration((), ())
    if part["kind"] not in {"isotonic", "sigmoid"}:
        raise ManifestError(f"fraud_classifier.calibration.kind {part['kind']!r} is not none, isotonic or sigmoid")
    x = tuple(_number(value, "fraud_classifier.calibration.x") for value in part["x"])
    y = tuple(_number(value, "fraud_classifier.calibration.y") for value in part["y"])
    if len(x) != len(y) or len(x) < _MIN_KNOTS or list(x) != sorted(x) or not all(0 <= value <= 1 for value in y):
        raise ManifestError(
            f"fraud_classifier.calibration needs x ascending and y within 0 to 1, both of the same {_MIN_KNOTS} or more knots"
        )
    return Calibration(x, y)


def _policy(part: Mapping[str, Any]) -> Policy:
    if part["when_degraded"] not in {Decision.REVIEW, Decision.BLOCK}:
        raise ManifestError(
            f"policy.when_degraded is {part['when_degraded']!r}; it must be review or block, never approve"
        )
    limits = {name: _number(part[name], f"policy.{name}") for name in ("block_at", "review_at")}
    anomaly_review_at = part["anomaly_review_at"]
    if anomaly_review_at is not None:
        anomaly_review_at = _number(anomaly_review_at, "policy.anomaly_review_at")
    return Policy(**limits, anomaly_review_at=anomaly_review_at, when_degraded=Decision(part["when_degraded"]))


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ManifestError(f"{where} is {value!r}, not a finite number")
    return float(value)
