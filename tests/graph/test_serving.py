"""What serves: promoted by the gate, switched by one write, rolled back, and cleaned up after."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pytest

from fraudit_dagster.manifest import endpoints_of
from fraudit_dagster.records import Evaluation
from jobs.sensors import promote_approved
from resources.manifests import Current, Manifests
from resources.sagemaker import SageMaker
from resources.storage import PreconditionError, Storage, StorageError
from tests.graph.conftest import Deployment

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def only_what_serves_stays(deployment: Deployment) -> Iterator[None]:
    """End the processes of candidates that came to nothing."""
    yield
    history = (deployment.manifests.read(version) for version in deployment.manifests.history()[-2:])
    kept = named(deployment).union(*map(endpoints_of, history))
    for name in deployment.endpoints() - kept:
        deployment.sagemaker.retire(name)


def champion_of(judged: Evaluation) -> set[str]:
    return {served.endpoint for served in judged.candidates.values()}


def named(deployment: Deployment) -> set[str]:
    current = deployment.manifests.current()
    assert current is not None
    return endpoints_of(current.document)


def test_bootstrap_leaves_one_manifest_that_names_what_it_judged(deployment: Deployment) -> None:
    assert named(deployment) == champion_of(deployment.judged())
    assert deployment.serving() in deployment.manifests.history()


def test_an_approved_candidate_serves_and_the_champion_is_remembered(deployment: Deployment) -> None:
    before = deployment.serving()
    candidate = deployment.candidate()
    outcome = deployment.run("promote")
    assert outcome.success, outcome.reasons
    assert named(deployment) == champion_of(candidate)
    assert deployment.manifests.history()[-2:] == [before, deployment.serving()]


def test_promoting_what_serves_changes_nothing(deployment: Deployment) -> None:
    deployment.candidate()
    assert deployment.run("promote").success
    before = deployment.manifests.current()
    outcome = deployment.run("promote")
    assert outcome.success
    assert deployment.manifests.current() == before
    (event,) = outcome.result.get_asset_materialization_events()
    assert event.materialization.metadata["manifest_version"].value == deployment.serving()


def test_a_candidate_that_waits_for_a_person_is_left_waiting(deployment: Deployment) -> None:
    before = deployment.serving()
    candidate = deployment.candidate(status="PendingManualApproval")
    outcome = deployment.run("promote")
    assert outcome.success
    assert outcome.result.get_asset_materialization_events() == []
    assert deployment.serving() == before
    assert champion_of(candidate) <= deployment.endpoints()


class Changed(SageMaker):
    """Endpoints behind which there is another model."""

    def score(self, endpoint: str, rows: np.ndarray) -> np.ndarray:
        return super().score(endpoint, rows) + 0.001


class Broken(Storage):
    """S3 that fails when the manifest is written, and works else."""

    def write_if(self, uri: str, body: bytes, *, etag: str | None) -> None:
        if uri.endswith("serving/manifest.json"):
            raise StorageError(f"cannot write {uri}: SlowDown", code="SlowDown")
        super().write_if(uri, body, etag=etag)


class Late(Manifests):
    """Somebody else promotes between the look and the write."""

    def switch(self, document: dict[str, Any], *, away_from: Current | None) -> None:
        assert away_from is not None
        other = {**away_from.document, "manifest_version": "2026-01-01T00:00:00Z-0000"}
        self.storage.write(self.uri, json.dumps(other).encode())
        try:
            super().switch(document, away_from=away_from)
        finally:
            self.storage.write(self.uri, away_from.body)


def test_a_rejected_candidate_does_not_serve(deployment: Deployment) -> None:
    before = deployment.serving()
    deployment.candidate(deployed=False, status="Rejected")
    outcome = deployment.run("promote")
    assert not outcome.success
    assert "Rejected in the registry" in outcome.reasons
    assert "the champion stays" in outcome.reasons
    assert deployment.serving() == before


def test_a_candidate_judged_worse_does_not_serve_though_it_was_approved(deployment: Deployment) -> None:
    before = deployment.serving()
    worse = {
        "manifest_version": before,
        "worse": True,
        "difference": -0.3,
        "interval": (-0.4, -0.2),
        "margin": 0.02,
    }
    deployment.candidate(deployed=False, champion=worse)
    outcome = deployment.run("promote")
    assert "worse than the champion" in outcome.reasons
    assert deployment.serving() == before


def test_a_candidate_compared_with_an_earlier_champion_does_not_serve(deployment: Deployment) -> None:
    before = deployment.serving()
    deployment.candidate(deployed=False, champion=None)
    outcome = deployment.run("promote")
    assert f"compared with no champion, but {before} serves" in outcome.reasons
    assert deployment.serving() == before


def test_golden_rows_answered_otherwise_keep_the_champion(deployment: Deployment) -> None:
    before = deployment.serving()
    deployment.candidate()
    changed = Changed(**deployment.sagemaker.model_dump())
    outcome = deployment.run("promote", sagemaker=changed)
    assert "golden rows with another" in outcome.reasons
    assert deployment.serving() == before


def test_an_endpoint_that_is_gone_keeps_the_champion(deployment: Deployment) -> None:
    before = deployment.serving()
    candidate = deployment.candidate()
    deployment.sagemaker.delete_endpoint(candidate.candidates["xgboost"].endpoint)
    outcome = deployment.run("promote")
    assert not outcome.success
    assert candidate.candidates["xgboost"].endpoint in outcome.reasons
    assert deployment.serving() == before


def test_s3_failing_at_the_manifest_keeps_the_champion_and_the_next_run_heals(deployment: Deployment) -> None:
    before, history = deployment.serving(), deployment.manifests.history()
    candidate = deployment.candidate()
    outcome = deployment.run("promote", manifests=Manifests(storage=Broken(**deployment.storage.model_dump())))
    assert not outcome.success
    assert "SlowDown" in outcome.reasons
    assert deployment.serving() == before
    assert deployment.manifests.history() == history, "what never served is in no history"
    assert deployment.run("promote").success
    assert named(deployment) == champion_of(candidate)


def test_a_switch_that_was_cut_short_is_remembered_by_the_next_one(deployment: Deployment) -> None:
    deployment.candidate()
    assert deployment.run("promote").success
    cut_short = deployment.serving()
    prefix = f"s3://{deployment.storage.model_bucket}/serving/manifests/{cut_short}.json"
    deployment.storage._client.delete_object(Bucket=deployment.storage.model_bucket, Key=prefix.split("/", 3)[3])
    deployment.candidate()
    assert deployment.run("promote").success
    assert deployment.manifests.read(cut_short)["manifest_version"] == cut_short


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(deployment: Deployment) -> None:
    before = deployment.serving()
    deployment.candidate()
    outcome = deployment.run("promote", manifests=Late(storage=deployment.storage))
    assert not outcome.success
    assert "changed by somebody else" in outcome.reasons
    assert deployment.serving() == before


def test_a_write_whose_answer_was_lost_counts_as_done(deployment: Deployment) -> None:
    class Echo(Storage):
        """The first answer is lost, the retry finds its own bytes."""

        def write_if(self, uri: str, body: bytes, *, etag: str | None) -> None:
            super().write_if(uri, body, etag=etag)
            if uri.endswith("serving/manifest.json"):
                raise PreconditionError(f"{uri} was changed", code="PreconditionFailed")

    candidate = deployment.candidate()
    outcome = deployment.run("promote", manifests=Manifests(storage=Echo(**deployment.storage.model_dump())))
    assert outcome.success, outcome.reasons
    assert named(deployment) == champion_of(candidate)


def rollback(deployment: Deployment, to: str | None = None) -> Any:
    return deployment.run("rollback", config={"ops": {"roll_back": {"config": {"to": to}}}})


def test_rollback_lets_the_one_before_serve_and_rejects_what_is_left(deployment: Deployment) -> None:
    before = deployment.manifests.current()
    candidate = deployment.candidate()
    assert deployment.run("promote").success
    left = deployment.serving()
    outcome = rollback(deployment)
    assert outcome.success, outcome.reasons
    current = deployment.manifests.current()
    assert current is not None
    assert before is not None
    assert current.document == before.document
    (event,) = [event for event in outcome.result.all_events if event.is_step_materialization]
    assert event.materialization.metadata["rolled_back_from"].value == left
    assert event.asset_key == dg.AssetKey(["serving", "manifest"])
    for served in candidate.candidates.values():
        assert deployment.sagemaker.approval(served.package_arn) == "Rejected"
    assert "Rejected in the registry" in deployment.run("promote").reasons, "nothing promotes it again"


def test_rollback_deploys_again_what_was_retired(deployment: Deployment) -> None:
    old = deployment.serving()
    names = named(deployment)
    deployment.candidate()
    assert deployment.run("promote").success
    for name in names:
        deployment.sagemaker.delete_endpoint(name)
    outcome = rollback(deployment, to=old)
    assert outcome.success, outcome.reasons
    assert named(deployment) == names <= deployment.endpoints()


@pytest.mark.parametrize(
    ("to", "said"), [("2020-01-01T00:00:00Z-0000", "no manifest '2020-01-01T00:00:00Z-0000' has served")]
)
def test_rollback_to_what_never_served_says_what_has(deployment: Deployment, to: str, said: str) -> None:
    before = deployment.serving()
    outcome = rollback(deployment, to=to)
    assert said in outcome.reasons
    assert before in outcome.reasons
    assert deployment.serving() == before


def test_rollback_to_what_serves_brings_back_an_endpoint_that_was_lost(deployment: Deployment) -> None:
    serves, history = deployment.serving(), deployment.manifests.history()
    lost = min(named(deployment))
    deployment.sagemaker.delete_endpoint(lost)
    outcome = rollback(deployment, to=serves)
    assert outcome.success, outcome.reasons
    assert lost in deployment.endpoints()
    assert (deployment.serving(), deployment.manifests.history()) == (serves, history)


def test_rollback_to_a_rejected_model_is_refused_until_it_is_approved_again(deployment: Deployment) -> None:
    deployment.candidate()
    assert deployment.run("promote").success
    newer = deployment.serving()
    assert rollback(deployment).success
    assert "approve it there first" in rollback(deployment, to=newer).reasons
    document = deployment.manifests.read(newer)
    for role, algorithm in (("fraud_classifier", "xgboost"), ("anomaly_detector", "random_cut_forest")):
        package = deployment.sagemaker.package(algorithm, document[role]["model_version"])  # type: ignore[arg-type]
        deployment.sagemaker.set_approval(package.arn, status="Approved", reason="a test", properties={})
    assert rollback(deployment, to=newer).success
    assert deployment.serving() == newer


def test_rollback_passes_over_what_was_itself_gone_back_from(deployment: Deployment) -> None:
    good = deployment.serving()
    deployment.candidate()
    assert deployment.run("promote").success
    assert rollback(deployment).success
    deployment.candidate()
    assert deployment.run("promote").success
    outcome = rollback(deployment)
    assert outcome.success, outcome.reasons
    assert deployment.serving() == good


def test_rollback_whose_write_fails_goes_back_one_step_when_it_is_run_again(deployment: Deployment) -> None:
    before = deployment.serving()
    deployment.candidate()
    assert deployment.run("promote").success
    broken = Manifests(storage=Broken(**deployment.storage.model_dump()))
    assert not deployment.run("rollback", manifests=broken).success
    assert rollback(deployment).success
    assert deployment.serving() == before


def test_clean_up_deletes_the_rejected_and_keeps_the_last_two(deployment: Deployment) -> None:
    one_before = named(deployment)
    deployment.candidate()
    assert deployment.run("promote").success
    rejected = deployment.candidate(status="Rejected")
    outcome = deployment.run("clean_up")
    assert outcome.success, outcome.reasons
    left = deployment.endpoints()
    assert named(deployment) <= left
    assert one_before <= left
    assert not champion_of(rejected) & left


def test_clean_up_leaves_alone_what_is_not_in_the_registry(deployment: Deployment) -> None:
    deployment.candidate()
    current = deployment.manifests.current()
    assert current is not None
    package = deployment.sagemaker.package("xgboost", current.document["fraud_classifier"]["model_version"])
    stranger = deployment.sagemaker.deploy(
        algorithm="xgboost", version="9999", image=package.image, artifact_uri=package.artifact_uri
    )
    assert deployment.run("clean_up").success
    assert stranger in deployment.endpoints()
    deployment.sagemaker.delete_endpoint(stranger)


def tick(deployment: Deployment) -> Any:
    using = {"io_manager": deployment.records, "manifests": deployment.manifests, "sagemaker": deployment.sagemaker}
    with dg.build_sensor_context(resources=using) as context:
        return promote_approved(context)


def test_an_approval_in_the_registry_requests_a_promotion_once(deployment: Deployment) -> None:
    candidate = deployment.candidate(status="PendingManualApproval")
    waiting = tick(deployment)
    assert isinstance(waiting, dg.SkipReason)
    assert "PendingManualApproval" in str(waiting.skip_message)
    for served in candidate.candidates.values():
        deployment.sagemaker.set_approval(served.package_arn, status="Approved", reason="by me", properties={})
    first, second = tick(deployment), tick(deployment)
    assert isinstance(first, dg.RunRequest)
    assert first.run_key == second.run_key, "Dagster takes each run key once"
    assert deployment.run("promote").success
    assert isinstance(tick(deployment), dg.SkipReason)


def test_the_manifest_says_when_it_was_switched(deployment: Deployment) -> None:
    deployment.candidate()
    assert deployment.run("promote").success
    switched_at = deployment.manifests.switched_at()
    assert switched_at is not None
    assert datetime.now(UTC) - switched_at < timedelta(minutes=1)
