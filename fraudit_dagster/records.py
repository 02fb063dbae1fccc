"""What one asset hands to the next: small, typed, stored as JSON. The data themselves stay in S3.

Belongs here: the shapes. Does not: how they are stored (``resources/records.py``).
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Algorithm = Literal["xgboost", "random_cut_forest"]


class Record(BaseModel):
    """Base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RawTable(Record):
    """A table of transactions as it arrived.

    Attributes:
        uris: Of its files in S3, each content once.
        sha256: Of the content: of the file's bytes, or of the files' hashes where there are several.
        rows: Transactions in it.
        frauds: Rows labelled as fraud.
        synthetic: Made by us, not observed.
        source: What the user asked for: a path, a URI or ``synthetic``.
        flaws: Expectations that it does not meet, as its check says them: then nothing may be made from it.
    """

    uris: tuple[str, ...]
    sha256: str
    rows: int
    frauds: int
    synthetic: bool
    source: str
    flaws: tuple[str, ...] = ()


class Part(Record):
    """One side of the split.

    Attributes:
        uri: S3 prefix of its Parquet files, with all columns of the contract.
        channels: S3 prefix of the CSV files per algorithm, as its training container wants them.
        rows: Transactions in it.
        frauds: Rows labelled as fraud.
        weighted: Whether the table has the contract's weight column.
        medians: Of every input over its rows, by column; of the train part alone, empty elsewhere.
        raw_sha256: Of the raw table that it comes from.
        flaws: Expectations that it does not meet, as its check says them: then nothing may be learnt from it.
    """

    uri: str
    channels: dict[Algorithm, str]
    rows: int
    frauds: int
    weighted: bool
    medians: dict[str, float]
    raw_sha256: str
    flaws: tuple[str, ...] = ()


class Profile(Record):
    """How a number is distributed over rows.

    Attributes:
        edges: Rising; empty where no row has a value.
        below: Share of the values that lie below each edge, 0 to 1.
        missing: Share of the rows that have no value, 0 to 1.
        rows: How many it is of.
    """

    edges: tuple[float, ...]
    below: tuple[float, ...]
    missing: float
    rows: int


class Profiles(Record):
    """How numbers are distributed, by the name of their column."""

    profiles: dict[str, Profile]


class TrainedModel(Record):
    """A model version in the registry, made by one training job."""

    algorithm: Algorithm
    training_job: str
    artifact_uri: str
    image: str
    package_arn: str
    version: str
    metrics: dict[str, float]


class ServedModel(Record):
    """An endpoint that serves one model version, and that nobody calls before the manifest names it."""

    algorithm: Algorithm
    endpoint: str
    package_arn: str
    version: str


class CostOfThreshold(Record):
    """What a single threshold would cost per transaction, wherever it lies; all lists have the same length.

    Attributes:
        threshold: Probabilities, rising.
        review: Of reviewing from each threshold on and blocking nothing.
        block: Of blocking from each threshold on and reviewing nothing.
        nothing: Of approving everything.
        chosen: Of the thresholds that were chosen, together.
    """

    threshold: tuple[float, ...]
    review: tuple[float, ...]
    block: tuple[float, ...]
    nothing: float
    chosen: float


class Ranking(Record):
    """Precision over recall of one model; both lists have the same length.

    Attributes:
        recall: From 1 down to 0.
        precision: Of what is flagged at that recall.
        prevalence: Precision of a score that knows nothing.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    prevalence: float


class PrecisionOverRecall(Record):
    """How well the models rank, and where the chosen thresholds lie.

    Attributes:
        models: By algorithm.
        points: Recall and precision of what is flagged from a threshold on, by its name (``review``, ``block``).
    """

    models: dict[Algorithm, Ranking]
    points: dict[str, tuple[float, float]]


class Evaluation(Record):
    """How a pair of candidates did on rows that neither has seen.

    Attributes:
        models: Metrics on the test part, by algorithm.
        fused: Cost of the decision that uses both, beside no model and beside the classifier alone, and what it flags.
        reliability: Frauds that the calibrated probability promises beside those that there are.
        policy: Thresholds and their expected cost on the validation part, as the manifest has them.
        calibration: Of the classifier, as the manifest has it.
        medians: Training medians of the classifier's and the forest's inputs, by column.
        golden: Rows with the answers that the endpoints gave, as the manifest has them.
        champion: The comparison with what serves on the same rows, None where nothing serves.
        candidates: What was judged.
        raw_sha256: Of the table that the candidates come from.
        contract_sha256: Of the contract that they were trained by.
        score_profiles: How ``fraud_proba`` and ``anomaly_score`` are distributed on the test part.
        cost_curve: What one threshold alone would cost per transaction of the validation part; None in evaluations of before.
        precision_over_recall: Of both models on the test part; None in evaluations of before.
    """

    models: dict[Algorithm, dict[str, float]]
    fused: dict[str, float]
    reliability: dict[str, float]
    policy: dict[str, Any]
    calibration: dict[str, Any]
    medians: dict[str, float]
    golden: list[dict[str, Any]]
    champion: dict[str, Any] | None
    candidates: dict[Algorithm, ServedModel]
    raw_sha256: str
    contract_sha256: str
    score_profiles: dict[str, Profile] = {}
    cost_curve: CostOfThreshold | None = None
    precision_over_recall: PrecisionOverRecall | None = None


class Registration(Record):
    """The registry's word on a candidate pair."""

    status: Literal["Approved", "PendingManualApproval", "Rejected"]
    reason: str
    evaluation: Evaluation


class Promotion(Record):
    """What the serving manifest was switched to."""

    manifest_version: str
    uri: str
    created_at: datetime
