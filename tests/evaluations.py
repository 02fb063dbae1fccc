"""An evaluation of two candidates, as the graph makes it, for tests of what follows from it."""

from typing import Any

from fraudit_dagster.contract import load_contract
from fraudit_dagster.records import Evaluation, ServedModel


def judged(*, version: str = "2", prefix: str = "p", **changed: Any) -> Evaluation:
    """A pair of candidates of one version that answer 0.25 and 1.5 to every row."""
    contract = load_contract()
    row = ",".join("0.5" for _ in contract.inputs)
    fields: dict[str, Any] = {
        "models": {"xgboost": {"average_precision": 0.8}, "random_cut_forest": {"average_precision": 0.2}},
        "fused": {},
        "reliability": {
            "expected": 50.0,
            "observed": 50.0,
            "ratio": 1.0,
            "ratio_low": 0.7,
            "ratio_high": 1.4,
            "doubtful_ratio": 1.0,
            "doubtful_ratio_low": 0.6,
            "roc_auc_low": 0.9,
        },
        "policy": {"block_at": 0.8, "review_at": 0.2, "anomaly_review_at": None, "when_degraded": "review"},
        "calibration": {"kind": "none", "x": [], "y": []},
        "medians": dict.fromkeys(contract.inputs, 0.0),
        "golden": [{"data": row, "pred_proba": 0.25, "score": 1.5}],
        "champion": None,
        "candidates": {
            "xgboost": ServedModel(
                algorithm="xgboost", endpoint=f"{prefix}-xgb-{version}", package_arn=f"x/{version}", version=version
            ),
            "random_cut_forest": ServedModel(
                algorithm="random_cut_forest",
                endpoint=f"{prefix}-rcf-{version}",
                package_arn=f"r/{version}",
                version=version,
            ),
        },
        "raw_sha256": "0" * 64,
        "contract_sha256": contract.sha256,
    }
    return Evaluation.model_validate({**fields, **changed})
