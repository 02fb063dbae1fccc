"""A report as a demo writes it, with numbers that are told from each other."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def report() -> dict[str, Any]:
    """What ``report.json`` holds: of synthetic data, nothing lost."""
    thresholds = [0.001, 0.01, 0.1, 1.0]
    ranking = {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.9, 0.01], "prevalence": 0.0017}
    return {
        "ended_at": "2026-11-25 12:34 UTC",
        "machine": "Linux x86_64, 2 cores, Python 3.11.9",
        "used_again": ["the synthetic table that the same code made at 2026-11-24 08:00 UTC"],
        "dataset": {"source": "synthetic", "rows": 284_807, "frauds": 492, "synthetic": True},
        "models": {
            "xgboost": {"average_precision": 0.8123, "roc_auc": 0.9712},
            "random_cut_forest": {"average_precision": 0.1341, "roc_auc": 0.9457},
        },
        "policy": {"review_at": 0.0337, "block_at": 0.8, "expected_cost": 2603.97, "cost_without_model": 6179.58},
        "curves": {
            "precision_over_recall": {
                "models": {"xgboost": ranking, "random_cut_forest": ranking},
                "points": {"review": [0.8, 0.7], "block": [0.6, 0.95]},
            },
            "cost": {
                "threshold": thresholds,
                "review": [5.0, 2.0, 1.0, 3.0],
                "block": [9.0, 4.0, 2.0, 3.0],
                "nothing": 3.0,
                "chosen": 0.9,
            },
        },
        "api": {
            "requests": 1_017,
            "errors": 3,
            "p50_ms": 11.27,
            "p99_ms": 45.81,
            "latency_edges_ms": [10.0, 11.0, 12.1],
            "latency_counts": [500, 514],
        },
        "stream": {"sent": 1_014, "stored": 1_013, "duplicates": 4, "quarantined": 7, "p95_delay_ms": 1921.9},
        "daily": [
            {"day": "2026-11-23", "transactions": 506, "flagged": 21},
            {"day": "2026-11-24", "transactions": 508, "flagged": 19},
        ],
        "hours": [
            {"hour": "2026-11-23T00:00:00+00:00", "approve": 480, "review": 15, "block": 6},
            {"hour": "2026-11-23T01:00:00+00:00", "approve": 490, "review": 12, "block": 7},
        ],
        "timings_s": {"setup": 12.3, "services": 17.5, "graph": 68.7, "traffic": 8.1, "daily": 7.3, "total": 116.2},
    }
