"""What serves now, beside the candidates on the same rows.

Belongs here: asking the champion, comparing. Does not: what follows from it (``fraudit_dagster/gate.py``).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.scoring import Scored, Scorer, score_part
from fraudit_dagster.contract import Contract
from fraudit_dagster.manifest import ROLES, model_spec
from fraudit_dagster.records import Algorithm
from resources.manifests import Manifests
from resources.sagemaker import EndpointError, SageMaker

if TYPE_CHECKING:
    import numpy as np

    from fraudit_dagster.costs import Costs

RESAMPLES = 500
MOST_PROBABLY = 0.5
"""A challenger is worse where it most probably loses more than the margin."""
NO_ANSWER = {"ValidationError", "ModelError", "BadAnswer"}
"""Codes of an endpoint that is gone or whose model fails; any other error may be over at the next try."""


@dataclass(frozen=True, slots=True)
class Champion:
    """What serves now, as it is compared: its scorers by algorithm, or why it cannot be asked."""

    manifest: dict[str, Any]
    scorers: dict[Algorithm, Scorer]
    obstacle: str | None = None


def find_champion(manifests: Manifests, contract: Contract) -> Champion | None:
    """Return what serves and how it is asked, or None where nothing serves."""
    serving = manifests.current()
    return None if serving is None else champion_of(serving.document, contract)


def champion_of(document: dict[str, Any], contract: Contract) -> Champion:
    """Return how the models of a manifest are asked about rows with the inputs of a contract."""
    scorers: dict[Algorithm, Scorer] = {}
    for role, name in ROLES.items():
        model = document[role]
        scorers[name] = Scorer(model["endpoint"], model_spec(model))
    wanted = dict.fromkeys(feature.column for scorer in scorers.values() for feature in scorer.spec.features)
    missing = [column for column in wanted if column not in contract.inputs]
    return Champion(document, scorers, f"it wants {', '.join(missing)}" if missing else None)


def ask_champion(
    champion: Champion | None, folder: Path, contract: Contract, sagemaker: SageMaker
) -> tuple[Scored | None, Champion | None]:
    """Return the champion's scores of a part, and the champion with the obstacle if it could not be asked.

    Raises:
        EndpointError: It could not be asked for a reason that may be over at the next try.
    """
    if champion is None or champion.obstacle is not None:
        return None, champion
    try:
        return score_part(folder, contract, champion.scorers, sagemaker), champion
    except EndpointError as error:
        if error.code not in NO_ANSWER:
            raise
        return None, replace(champion, obstacle=f"it does not answer: {error}")


def compare_with_champion(
    champion: Champion | None,
    champion_scored: Scored | None,
    challenger: Scored,
    *,
    decisions: "np.ndarray",
    margin: float,
    costs: "Costs",
) -> dict[str, Any] | None:
    """Compare candidates with what serves, on the same rows: average precision, which counts, and the decisions' cost.

    Args:
        champion: What serves; None: nothing.
        champion_scored: Its scores; None where it could not be asked.
        challenger: The candidates' scores.
        decisions: The candidates', with their own calibration and thresholds.
        margin: Average precision that may be lost.
        costs: What decisions cost.

    Returns:
        None where nothing serves; else with ``manifest_version`` and ``worse``, and either the comparison or
        ``not_comparable``, the reason.
    """
    from fraudit_dagster.costs import compare_costs, row_costs
    from fraudit_dagster.evaluation import compare
    from fraudit_dagster.policy import Policy, apply_calibration, decide

    if champion is None:
        return None
    version = champion.manifest["manifest_version"]
    if champion_scored is None:
        return {"manifest_version": version, "worse": False, "not_comparable": champion.obstacle}
    label, weight, amount = challenger.label, challenger.weight, challenger.amount
    found = compare(
        champion_scored.scores["xgboost"],
        challenger.scores["xgboost"],
        label,
        weight,
        resamples=RESAMPLES,
        margin=margin,
        seed=0,
    )
    rule = Policy.from_manifest(champion.manifest["policy"])
    its_decisions = decide(
        apply_calibration(champion.manifest["fraud_classifier"]["calibration"], champion_scored.scores["xgboost"]),
        champion_scored.scores["random_cut_forest"],
        rule,
    )
    cost = compare_costs(
        row_costs(its_decisions, label, amount, weight, costs=costs),
        row_costs(decisions, label, amount, weight, costs=costs),
        float(weight.sum()),
        resamples=RESAMPLES,
        seed=0,
    )
    return {
        **found.as_dict(),
        **cost.as_dict(),
        "manifest_version": version,
        "worse": found.probability_worse > MOST_PROBABLY,
    }
