"""The serving manifest: built here, checked against its schema, and nothing else switches what serves.

Belongs here: the document. Does not: writing it to S3, or deciding that it may be (``assets/serving.py``).
"""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import Contract, ModelSpec
from fraudit_dagster.records import Algorithm, Evaluation

if TYPE_CHECKING:
    import pandas as pd

SCHEMAS = Path(__file__).parent / "schemas"
SCHEMA_VERSION = 1
MANIFEST_KEY = "serving/manifest.json"
ROLES: Mapping[str, Algorithm] = {"fraud_classifier": "xgboost", "anomaly_detector": "random_cut_forest"}
"""What a manifest calls its two models, and by which algorithm each is made."""


class ManifestError(ValueError):
    """A manifest is not what its schema asks; the message names every field that is wrong."""


@cache
def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema ``fraudit_dagster/schemas/<name>.json``."""
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return document


def evaluation_key(*, classifier: str, detector: str) -> str:
    """Return where in the model bucket the evaluation of two model versions is kept, for as long as they may be asked about."""
    return f"evaluation/{classifier}-{detector}.json"


def new_version(now: datetime, *, after: str | None = None) -> str:
    """Return a manifest version that sorts after ``after``, also where two are made in one second or clocks differ."""
    moment = now.astimezone(UTC).replace(microsecond=0)
    if after is not None:
        moment = max(moment, datetime.strptime(after.rsplit("-", 1)[0], "%Y-%m-%dT%H:%M:%S%z") + timedelta(seconds=1))
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(2)}"


def build_manifest(
    contract: Contract, evaluation: Evaluation, *, now: datetime, after: str | None, run_id: str, code_version: str
) -> dict[str, Any]:
    """Return the manifest that would serve the candidates of ``evaluation``; its version sorts after ``after``.

    Raises:
        ManifestError: It would not be valid.
    """

    def model(spec: ModelSpec, algorithm: Any) -> dict[str, Any]:
        served = evaluation.candidates[algorithm]
        medians = {feature.column: evaluation.medians[feature.column] for feature in spec.features}
        return {
            "endpoint": served.endpoint,
            "model_version": served.version,
            "features": spec.manifest_features,
            "medians": medians,
        }

    manifest = {
        "schema_version": SCHEMA_VERSION,
        "manifest_version": new_version(now, after=after),
        "created_at": now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "contract": {"name": contract.name, "sha256": contract.sha256},
        "inputs": list(contract.inputs),
        "amount": contract.amount,
        "fraud_classifier": {**model(contract.models.xgboost, "xgboost"), "calibration": evaluation.calibration},
        "anomaly_detector": model(contract.models.random_cut_forest, "random_cut_forest"),
        "policy": evaluation.policy,
        "golden": evaluation.golden,
        "lineage": {"run_id": run_id, "dataset_sha256": evaluation.raw_sha256, "code_version": code_version},
    }
    check_manifest(manifest)
    return manifest


def serves(document: dict[str, Any], judged: Evaluation) -> bool:
    """Whether a manifest names just the candidates of an evaluation."""
    return all(document[role]["endpoint"] == judged.candidates[algorithm].endpoint for role, algorithm in ROLES.items())


def endpoints_of(document: dict[str, Any]) -> set[str]:
    """Return the names of the endpoints that a manifest names."""
    return {document[role]["endpoint"] for role in ROLES}


def model_spec(model: dict[str, Any]) -> ModelSpec:
    """Return what a model of a manifest sees: ``fraud_classifier`` or ``anomaly_detector``."""
    return ModelSpec.model_validate({"features": model["features"]})


def golden_inputs(document: dict[str, Any]) -> "pd.DataFrame":
    """Return the golden rows as a table with the inputs as columns; shape (rows, inputs)."""
    import pandas as pd

    rows = [[float(cell) for cell in row["data"].split(",")] for row in document["golden"]]
    return pd.DataFrame(rows, columns=document["inputs"])


def check_manifest(manifest: Any) -> None:
    """Check a manifest against its schema.

    Raises:
        ManifestError: With every field that is wrong.
    """
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(schema("manifest.v1")).iter_errors(manifest)
    problems = [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]
    if problems:
        raise ManifestError("the manifest is not valid: " + "; ".join(problems))
