"""``raw/transactions`` of a contract that learns: which archived days join the delivered table, and what stops it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from assets.raw import TRANSACTIONS
from fraudit_dagster.contract import SHIPPED_CONTRACT, load_contract
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.records import RawTable
from fraudit_dagster.synthetic import write_synthetic
from jobs.failures import reasons_of
from jobs.schedules import archive_matured
from resources import archive as module
from resources.deployment import build_resources
from resources.project import Project
from tests.archive.conftest import Archived, new_archive
from tests.graph.conftest import Outcome

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

ROWS = 600
MATURED, YOUNG = "2026-08-01", "2026-08-02"


@pytest.fixture(scope="module")
def learning(
    local_cloud: dict[str, str], spark: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    """Two days with three labelled transactions of four, archived now; the second as if on the day after."""
    del spark  # the one session of this process: the graph's own would be the same
    folder = tmp_path_factory.mktemp("learning")
    (folder / "contract.yaml").write_text(f"{SHIPPED_CONTRACT.read_text()}learn_from_archive: {{label_age_days: 30}}\n")
    write_synthetic(folder / "table.parquet", rows=ROWS, frauds=30, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STALL_S", 0.0)
        made = new_archive(
            patch,
            local_cloud,
            FRAUDIT_CONTRACT=str(folder / "contract.yaml"),
            FRAUDIT_DATASET=str(folder / "table.parquet"),
            FRAUDIT_WORK_DIR=str(folder / "work"),
        )
        for day in (MATURED, YOUNG):
            fill(made, day, pd.read_parquet(folder / "table.parquet")[:4])
        outcome = made.materialize(MATURED, YOUNG)
        assert outcome.success, outcome.reasons
        made.place.run("update fraud.archived_days set archived_at = '2026-08-03T01:30:00Z' where day = %s", (YOUNG,))
        yield made


def fill(archived: Archived, day: str, table: pd.DataFrame) -> None:
    for number, row in enumerate(table[list(load_contract().inputs)].to_numpy() + 0.125):
        archived.place.run(
            """
            insert into fraud.fraud_predictions (transaction_id, event_id, occurred_at, scored_at, stored_at, user_id, source, hour,
                weekday, amount, amount_band, contract, manifest_version, features, decision)
            values (%s, gen_random_uuid(), %s, %s, %s, 'u', 'Web', 1, 1, 1, '', 'creditcard', 'v', %s, 'approve')
            """,
            (f"{day}-{number}", day, day, day, list(map(float, row))),
        )
        if number:
            archived.place.run(
                "insert into fraud.fraud_labels values (%s, 'analyst', %s, %s, %s)",
                (f"{day}-{number}", number % 2, day, day),
            )


def raw(archived: Archived) -> Outcome:
    job = (
        build_defs(archived.deployment.settings).resolve_job_def("bootstrap").get_subset(asset_selection={TRANSACTIONS})
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        return Outcome(result.success, "\n".join(reasons_of(instance, result.run_id)), result)


def test_what_was_archived_once_its_labels_were_known_joins(learning: Archived) -> None:
    outcome = raw(learning)
    assert outcome.success, outcome.reasons
    (event,) = outcome.result.asset_materializations_for_node("raw__transactions")
    shown: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert (shown["dagster/row_count"], shown["delivered_rows"], shown["archived_rows"]) == (ROWS + 3, ROWS, 3)
    assert shown["archived_days"] == [MATURED]
    record = learning.deployment.records.load(TRANSACTIONS, RawTable)
    (day, _) = learning.resource.days()
    assert record.uris[-1] == day.uri_of("transactions")


def test_an_archive_that_was_changed_is_not_learnt_from(learning: Archived, tmp_path: Path) -> None:
    (day, other) = learning.resource.days()
    uri, storage = day.uri_of("transactions"), learning.deployment.storage
    whole = storage.download(uri, tmp_path / "whole.parquet")
    storage.upload(storage.download(other.uri_of("transactions"), tmp_path / "other.parquet"), uri)
    outcome = raw(learning)
    storage.upload(whole, uri)
    assert not outcome.success
    assert f"{uri}: 4 rows with checksum" in outcome.reasons


def ask(project: Project) -> Any:
    """What the schedule asks for on the morning after the youngest transaction of the day got 30 days old."""
    at = datetime(2026, 9, 1, 2, tzinfo=UTC)
    with dg.build_schedule_context(scheduled_execution_time=at, resources={"project": project}) as context:
        return archive_matured(context)


def test_a_day_is_archived_anew_when_its_labels_are_known(learning: Archived) -> None:
    request = ask(build_resources(learning.deployment.settings)["project"])
    assert request.partition_key == MATURED


def test_a_contract_that_does_not_learn_asks_for_no_archive(learning: Archived) -> None:
    settings = learning.deployment.settings.model_copy(update={"contract": None})
    skipped = ask(build_resources(settings)["project"])
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "the contract 'creditcard' does not learn from the archive"
