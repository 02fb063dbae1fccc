"""May a candidate serve? The questions that are answered before the registry approves it and again before the switch.

Belongs here: the decision, on values alone. Does not: asking the registry or the endpoints (``assets/serving.py``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fraudit_dagster.records import Evaluation

GOLDEN_TOLERANCE = 1e-6
"""How far an endpoint's answer may be from the recorded one: beyond rounding, it is another model."""


class GateError(RuntimeError):
    """A candidate may not serve; the message says why. What serves goes on serving."""


def flaws(judged: Evaluation) -> list[str]:
    """Return why a candidate is not good enough to serve, one reason each; empty where it is."""
    from fraudit_dagster.evaluation import calibration_problem

    found = []
    if judged.champion is not None and judged.champion["worse"]:
        found.append(
            f"it is worse than the champion {judged.champion['manifest_version']} on the same rows: average precision "
            f"{judged.champion['difference']:+.3f} (95 % interval {judged.champion['interval'][0]:+.3f} to "
            f"{judged.champion['interval'][1]:+.3f}), and {judged.champion['margin']:g} may be lost"
        )
    if (problem := calibration_problem(judged.reliability)) is not None:
        found.append(problem)
    return found


def staleness(judged: Evaluation, *, serving: str | None, contract_sha256: str) -> list[str]:
    """Return why an evaluation no longer says whether its candidate may serve; empty where it does.

    Args:
        judged: The evaluation.
        serving: Version of the manifest that serves now; None where none does.
        contract_sha256: Of the contract that holds now.
    """
    compared = None if judged.champion is None else judged.champion["manifest_version"]
    found = []
    if compared != serving:
        found.append(
            f"it was compared with {compared or 'no champion'}, but {serving or 'nothing'} serves: "
            "materialize model/evaluation and what follows again"
        )
    if judged.contract_sha256 != contract_sha256:
        found.append("the data contract has changed since it was trained: retrain")
    return found


def wrong_golden_answers(golden: Sequence[Mapping[str, Any]], answers: Mapping[str, Sequence[float]]) -> list[str]:
    """Return how the endpoints' answers to the golden rows differ from the recorded ones; empty where they do not.

    Args:
        golden: Of a manifest: rows with ``pred_proba`` and ``score`` as recorded.
        answers: ``pred_proba`` and ``score`` of the same rows as the endpoints answer now.
    """
    import numpy as np

    found = []
    for key, values in answers.items():
        gaps = np.abs(np.asarray(values) - np.array([row[key] for row in golden]))
        if not (gaps <= GOLDEN_TOLERANCE).all():
            found.append(
                f"the endpoints answer {int((~(gaps <= GOLDEN_TOLERANCE)).sum())} of {len(golden)} golden rows with another "
                f"{key} than recorded (by up to {gaps.max():.3g})"
            )
    return found
