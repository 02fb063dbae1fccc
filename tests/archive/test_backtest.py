"""The newest candidate and the champion decide again on what has happened: which decisions change, and what that is worth."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pytest

from assets.backtest import backtest
from fraudit_dagster.backtest import changes, money
from fraudit_dagster.contract import load_contract
from fraudit_dagster.costs import Costs
from fraudit_dagster.manifest import build_manifest
from fraudit_dagster.records import Evaluation, RawTable, Record
from jobs.failures import reasons_of
from resources import archive as module
from resources.deployment import build_resources
from resources.sagemaker import EndpointError, SageMaker
from tests.archive.conftest import Archived, new_archive
from tests.evaluations import judged
from tests.graph.conftest import Outcome

DAYS = ("2026-09-01", "2026-09-02", "2026-09-03")
EACH = 100
INPUTS = load_contract().inputs


class ByAmount(SageMaker):
    """Endpoints that suspect large amounts, each from another one on; some are gone."""

    gone: list[str]

    def score(self, endpoint: str, rows: np.ndarray) -> np.ndarray:
        if endpoint in self.gone:
            raise EndpointError(
                f"cannot score {len(rows)} rows at endpoint {endpoint}: not found", code="ValidationError"
            )
        if "rcf" in endpoint:
            return np.ones(len(rows))
        certain = {"p-xgb-1": 90.0, "p-xgb-2": 50.0}[endpoint]
        return np.clip(rows[:, -1] / certain, 0, 1) * 0.9


def evaluation(version: str, **changed: Any) -> Evaluation:
    return judged(
        version=version,
        policy={"block_at": 0.9, "review_at": 0.799, "anomaly_review_at": None, "when_degraded": "review"},
        **changed,
    )


def fill(archived: Archived, day: str) -> None:
    """Transactions of 0 to 99 euro; those of 60 and 95 are known frauds, that of 70 is known to be good."""
    archived.place.run(
        """
        insert into fraud.fraud_predictions (transaction_id, event_id, occurred_at, scored_at, stored_at, user_id, source, hour, weekday,
            amount, amount_band, contract, manifest_version, features, decision)
        select %(day)s || '-' || n, gen_random_uuid(), day + n * interval '1 minute', day, day, 'u', 'Web', 1, 1, n, '', 'creditcard', 'v',
            array_fill(0.5::float8, array[%(before)s]) || n::float8, 'approve'
        from generate_series(0, %(rows)s - 1) as n cross join (select (%(day)s || 'T00:00:00Z')::timestamptz) as given (day)
        """,
        {"day": day, "rows": EACH, "before": len(INPUTS) - 1},
    )
    for amount, label in ((60, 1), (95, 1), (70, 0)):
        archived.place.run(
            "insert into fraud.fraud_labels values (%s, 'chargeback', %s, %s, %s)", (f"{day}-{amount}", label, day, day)
        )


@pytest.fixture(scope="module")
def past(local_cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """Two archived days and one that is not; version 1 serves, version 2 is the newest candidate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STALL_S", 0.0)
        made = new_archive(patch, local_cloud, FRAUDIT_WORK_DIR=str(tmp_path_factory.mktemp("work")))
        for day in DAYS:
            fill(made, day)
        serve(made, evaluation("1"))
        candidate(made, evaluation("2", contract_sha256=load_contract().sha256))
        record(made, "raw/transactions", table())
        yield made


def serve(archived: Archived, found: Evaluation) -> str:
    manifests = archived.deployment.manifests
    document = build_manifest(
        load_contract(),
        found,
        now=datetime.now(UTC),
        after=max(manifests.history(), default=None),
        run_id="test",
        code_version="0",
    )
    manifests.switch(document, away_from=manifests.current())
    return str(document["manifest_version"])


def candidate(archived: Archived, found: Evaluation) -> None:
    record(archived, "model/evaluation", found)


def table(*uris: str) -> RawTable:
    """The table that the candidates were made from."""
    return RawTable(uris=uris, sha256=evaluation("2").raw_sha256, rows=1, frauds=1, synthetic=False, source="")


def record(archived: Archived, asset: str, content: Record) -> None:
    uri = f"s3://{archived.deployment.settings.model_bucket}/graph/{asset}.json"
    archived.deployment.storage.write(uri, content.model_dump_json().encode())


def run(archived: Archived, *, days: int = 7, gone: tuple[str, ...] = ()) -> Outcome:
    made = build_resources(archived.deployment.settings)
    made["sagemaker"] = ByAmount(**made["sagemaker"].model_dump(), gone=list(gone))
    with dg.DagsterInstance.ephemeral() as instance:
        upstream = [
            dg.AssetSpec(key).with_io_manager_key("io_manager")
            for key in (["model", "evaluation"], ["raw", "transactions"])
        ]
        result = dg.materialize(
            [backtest, *upstream],
            instance=instance,
            resources={name: made[name] for name in ("archive", "project", "manifests", "sagemaker", "io_manager")},
            run_config={"ops": {"model__backtest": {"config": {"days": days}}}},
            raise_on_error=False,
        )
        return Outcome(result.success, "\n".join(reasons_of(instance, result.run_id)), result)


def shown(outcome: Outcome) -> dict[str, Any]:
    assert outcome.success, outcome.reasons
    (event,) = outcome.result.asset_materializations_for_node("model__backtest")
    return {name: value.value for name, value in event.metadata.items()}


def test_without_archived_days_it_says_so(past: Archived) -> None:
    assert "no day is archived yet" in run(past).reasons


def test_decisions_that_change_are_counted_by_label_and_priced(past: Archived) -> None:
    """The champion is certain from 90 euro on and reviews from 80; the challenger from 50, and reviews from 45."""
    assert past.materialize(*DAYS[:2]).success
    found = shown(run(past))
    assert (found["dagster/row_count"], found["labelled"], found["frauds"]) == (200, 6, 4)
    assert (found["changed"], found["days"]) == (90, list(DAYS[:2]))
    assert found["champion"] == past.deployment.serving()
    assert found["challenger"] == "candidate (xgboost 2, random_cut_forest 2)"
    whole, fraud, good, unknown = found["decisions"].split("\n\n")
    assert whole.splitlines()[2:] == ["| approve | 90 | 10 | 60 |", "| review | 0 | 0 | 20 |", "| block | 0 | 0 | 20 |"]
    assert fraud.splitlines()[2:] == ["| approve | 0 | 0 | 2 |", "| review | 0 | 0 | 0 |", "| block | 0 | 0 | 2 |"]
    assert good.splitlines()[2] == "| approve | 0 | 0 | 2 |"
    assert unknown.splitlines()[2] == "| approve | 90 | 10 | 56 |"
    assert "| fraud | 120.00 | 0.00 | -120.00 |" in found["money"]
    assert "| good | 0.00 | 50.00 | +50.00 |" in found["money"]
    assert found["cost_difference"] == -70


def test_the_newest_days_are_taken(past: Archived) -> None:
    found = shown(run(past, days=1))
    assert (found["days"], found["days_learnt_from"], found["dagster/row_count"]) == (["2026-09-02"], [], EACH)


def test_days_that_the_candidate_was_trained_on_are_named(past: Archived) -> None:
    (first, _) = past.resource.days()
    record(past, "raw/transactions", table("s3://bucket/table.csv", first.uri_of("transactions")))
    found = shown(run(past))
    record(past, "raw/transactions", table())
    assert (found["days"], found["days_learnt_from"]) == (list(DAYS[:2]), [DAYS[0]])


def test_a_candidate_whose_endpoints_are_gone_is_named(past: Archived) -> None:
    reasons = run(past, gone=("p-xgb-2",)).reasons
    assert "candidate (xgboost 2, random_cut_forest 2) does not answer: cannot score" in reasons
    assert "the endpoints of rejected and of long replaced models are deleted" in reasons


def test_a_candidate_of_another_contract_is_refused(past: Archived) -> None:
    candidate(past, evaluation("2", contract_sha256="another"))
    assert "was trained by another contract than today's" in run(past).reasons


def test_a_candidate_that_serves_is_compared_with_what_served_before(past: Archived) -> None:
    first = past.deployment.serving()
    candidate(past, evaluation("1"))
    assert f"the newest candidate serves as {first}, and nothing served before it" in run(past).reasons
    second = serve(past, evaluation("2"))
    candidate(past, evaluation("2"))
    found = shown(run(past, days=1))
    assert (found["champion"], found["challenger"], found["changed"]) == (first, second, 45)


def test_money_is_of_labelled_rows_also_where_they_are_all_frauds() -> None:

    amount, costs = np.array([10.0, 20.0, 40.0]), Costs(review_cost=5, false_block_cost=25, lost_share=0.5)
    before, after = np.array(["approve"] * 3), np.array(["block", "review", "approve"])
    found = money(before, after, np.array([1, 1, -1], np.int8), amount, costs=costs)
    assert found is not None
    assert (found.champion, found.challenger) == ({"fraud": 15.0, "good": 0.0}, {"fraud": 5.0, "good": 0.0})
    assert (found.difference, found.transactions) == (-10.0, 2)
    assert money(before, after, np.full(3, -1, np.int8), amount, costs=costs) is None
    assert changes(before, after).tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
