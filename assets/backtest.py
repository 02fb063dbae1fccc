"""The newest candidate against what serves, on transactions that have really happened.

Belongs here: which two, and on which days. Does not: comparing (``fraudit_dagster/backtest.py``), whether a candidate may serve
(``assets/serving.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.champion import NO_ANSWER, champion_of
from assets.failures import hopeless
from assets.scoring import Scored, Scorer, score_part, scorers_of
from fraudit_dagster.archive import LABEL, ArchivedDay, ArchiveError, contract_rows
from fraudit_dagster.contract import Contract
from fraudit_dagster.manifest import ManifestError, serves
from fraudit_dagster.records import Algorithm, Evaluation, RawTable
from fraudit_dagster.tables import TableError
from resources.archive import Archive
from resources.manifests import Manifests
from resources.project import Project
from resources.sagemaker import EndpointError, SageMaker

if TYPE_CHECKING:
    import numpy as np


class BacktestConfig(dg.Config):
    """On what the two are compared."""

    days: int = Field(default=7, ge=1, description="So many archived days, the newest ones.")


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two: its endpoints, and how their scores become decisions."""

    name: str
    scorers: dict[Algorithm, Scorer]
    calibration: dict[str, Any]
    thresholds: dict[str, Any]


@dg.asset(
    key=["model", "backtest"],
    ins={"judged": dg.AssetIn(["model", "evaluation"]), "raw": dg.AssetIn(["raw", "transactions"])},
    deps=[["serving", "manifest"], ["analytics", "archive"]],
    kinds={"python"},
    code_version="1",
)
def backtest(
    context: dg.AssetExecutionContext,
    config: BacktestConfig,
    project: Project,
    manifests: Manifests,
    sagemaker: SageMaker,
    archive: Archive,
    judged: Evaluation,
    raw: RawTable,
) -> dg.MaterializeResult:
    """What the newest candidate would have decided on the last archived days, beside what serves: decisions that change, and money.

    Both are asked through their endpoints about every transaction, labelled or not. Where the newest candidate is what serves, it is
    compared with what served before it. Days that the table of the newest candidate has taken in are named: it has seen them.
    """
    from fraudit_dagster import backtest as bt
    from fraudit_dagster.costs import Costs

    costs = Costs(
        review_cost=project.review_cost, false_block_cost=project.false_block_cost, lost_share=project.lost_share
    )
    with (
        hopeless(bt.BacktestError, ArchiveError, ManifestError, TableError, EndpointError),
        project.scratch() as folder,
    ):
        champion, challenger = _contenders(judged, manifests, project.contract)
        days = archive.days()[-config.days :]
        context.log.info("%s against %s on %s archived days", challenger.name, champion.name, len(days))
        learnt = [
            str(day.day) for day in days if raw.sha256 == judged.raw_sha256 and day.uri_of("transactions") in raw.uris
        ]
        if learnt:
            context.log.warning("the newest candidate was trained on %s, which speaks for it here", ", ".join(learnt))
        rows = _rows(days, archive, project.contract, folder)
        found = {who.name: _ask(who, rows, project.contract, sagemaker) for who in (champion, challenger)}
    scored, before = found[champion.name]
    _, after = found[challenger.name]
    cost = bt.money(before, after, scored.label, scored.amount, costs=costs)
    changed = before != after
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(before),
            "champion": champion.name,
            "challenger": challenger.name,
            "days": dg.MetadataValue.json([str(day.day) for day in days]),
            "days_learnt_from": dg.MetadataValue.json(learnt),
            "frauds": int((scored.label == 1).sum()),
            "labelled": cost.transactions if cost else 0,
            "changed": int(changed.sum()),
            "amount_changed": float(scored.amount[changed].sum()),
            "decisions": dg.MetadataValue.md(bt.changes_tables(before, after, scored.label)),
            "money": dg.MetadataValue.md(bt.money_table(cost)),
            **({"cost_difference": cost.difference} if cost else {}),
        }
    )


def _contenders(judged: Evaluation, manifests: Manifests, contract: Contract) -> tuple[Contender, Contender]:
    """Return champion and challenger.

    Raises:
        BacktestError: There are no two.
        ManifestError: What is in S3 is no manifest.
    """
    from fraudit_dagster.backtest import BacktestError

    current = manifests.current()
    if current is None:
        raise BacktestError("nothing serves, so there is no champion to compare with: run the job bootstrap")
    serving = _served(current.document, contract)
    if serves(current.document, judged):
        earlier = [version for version in manifests.history() if version < current.version]
        if not earlier:
            raise BacktestError(
                f"the newest candidate serves as {current.version}, and nothing served before it: there is no other model to compare "
                "it with; run the job retrain"
            )
        return _served(manifests.read(earlier[-1]), contract), serving
    if judged.contract_sha256 != contract.sha256:
        raise BacktestError("the newest candidate was trained by another contract than today's: run the job bootstrap")
    versions = ", ".join(f"{name} {served.version}" for name, served in judged.candidates.items())
    return serving, Contender(
        f"candidate ({versions})", scorers_of(judged.candidates, contract), judged.calibration, judged.policy
    )


def _served(document: dict[str, Any], contract: Contract) -> Contender:
    from fraudit_dagster.backtest import BacktestError

    champion, version = champion_of(document, contract), document["manifest_version"]
    if champion.obstacle is not None:
        raise BacktestError(f"{version} cannot be asked about these transactions: {champion.obstacle}")
    return Contender(version, champion.scorers, document["fraud_classifier"]["calibration"], document["policy"])


def _rows(days: Sequence[ArchivedDay], archive: Archive, contract: Contract, folder: Path) -> Path:
    """Write the transactions of these days as a part with the contract's inputs and label, and return its folder.

    Raises:
        BacktestError: There are none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fraudit_dagster.backtest import BacktestError

    rows = folder / "rows"
    rows.mkdir()
    for day in days:
        path = archive.fetch(day, "transactions", folder / "archive")
        for number, batch in enumerate(contract_rows(path, contract, name=day.uri_of("transactions"), labelled=False)):
            columns = {**{name: batch.column(name) for name in contract.inputs}, contract.label: batch.column(LABEL)}
            pq.write_table(pa.table(columns), rows / f"{day.day}-{number:05}.parquet")
        path.unlink()
    if not any(rows.iterdir()):
        raise BacktestError(
            f"the last {len(days)} archived days have no transaction of the contract {contract.name!r}"
            if days
            else "no day is archived yet: materialize analytics/archive for some days first"
        )
    return rows


def _ask(who: Contender, rows: Path, contract: Contract, sagemaker: SageMaker) -> tuple[Scored, "np.ndarray"]:
    """Return a contender's scores of the rows, and its decisions."""
    from fraudit_dagster.backtest import BacktestError
    from fraudit_dagster.policy import Policy, apply_calibration, decide

    try:
        scored = score_part(rows, contract, who.scorers, sagemaker)
    except EndpointError as error:
        if error.code not in NO_ANSWER:
            raise
        raise BacktestError(
            f"{who.name} does not answer: {error}; the endpoints of rejected and of long replaced models are deleted"
        ) from error
    proba = apply_calibration(who.calibration, scored.scores["xgboost"])
    return scored, decide(proba, scored.scores["random_cut_forest"], Policy.from_manifest(who.thresholds))


ASSETS = [backtest]
