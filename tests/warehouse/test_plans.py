"""Of a million transactions a query reads the few that it is about: which index serves what, by EXPLAIN and by what was scanned."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fraudit_stream import replay
from fraudit_stream.events import Reason
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify_record

from assets.drift import DECIDED, NUMBERS
from resources.warehouse import SQL
from tests.stream.conftest import label, prediction
from tests.warehouse.conftest import Place

ROWS, DAYS = 1_000_000, 30
ROWS_PER_DAY = ROWS // DAYS
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAY: dict[str, Any] = {"start": FIRST + timedelta(days=14), "end": FIRST + timedelta(days=15), "ages": [0, 7, 30]}

TRANSACTIONS = f"""
insert into fraud.fraud_predictions (transaction_id, event_id, run_id, occurred_at, scored_at, stored_at, user_id, source, country, hour,
    weekday, amount, amount_band, contract, manifest_version, features, fraud_proba, decision)
select
    't-' || to_char(n, 'FM0000000'), '00000000-0000-0000-0000-000000000000', 'run-' || n / 10000,
    at - case when n % 100 = 0 then n % 30 * interval '1 day' else interval '0' end, at, at + interval '1 second', 'user',
    (array['Web', 'App', 'POS'])[1 + n % 3], (array['DE', 'NL', null])[1 + n % 3], 1, 1, 10 + n % 500, '10-50', 'creditcard', 'v', '{{1}}',
    0.5, case when n % 200 = 0 then 'block' when n % 50 = 0 then 'review' else 'approve' end
from generate_series(0, {ROWS - 1}) as n
cross join lateral (select timestamptz '{FIRST}' + n * interval '{DAYS} days' / {ROWS}) as moment (at)
"""  # noqa: S608 - of the tests
LABELS = """
insert into fraud.fraud_labels (transaction_id, source, label, labelled_at)
select 't-' || to_char(n, 'FM0000000'), 'chargeback', 1, now() from generate_series(0, 999999, 50) as n
"""
QUARANTINE = """
insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at)
select 'shard', to_char(n, 'FM0000000'), '', 'not_json', '', now() - n * interval '1 minute' from generate_series(1, 20000) as n
"""


@pytest.fixture(scope="module")
def million(migrated: Place) -> Place:
    """A month of transactions in the order of their arrival; one in a hundred came up to 29 days late."""
    # Without a log they are there in seconds; the plans are the same.
    migrated.run("alter table fraud.fraud_predictions set unlogged")
    for statement in (TRANSACTIONS, LABELS, QUARANTINE):
        migrated.run(statement)
    migrated.run("analyze fraud.fraud_predictions, fraud.fraud_labels, fraud.quarantined_events")
    return migrated


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def explained(place: Place, query: str) -> tuple[set[str], set[str], int]:
    """Run a query as the analyst; return the indexes it used, the tables it read from end to end, and the pages it touched."""
    ((plans,),) = place.run(f"explain (analyze, buffers, format json) {query}", DAY, role="analyst")
    plan = plans[0]["Plan"]
    indexes = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
    return indexes, scanned, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def selection(path: Path) -> str:
    """The query in the file of a daily table, without what is done with its rows."""
    _, query = re.split(r"\n\)\n(?=select|with)", path.read_text(), maxsplit=1)
    return query


QUERIES = {
    "the day of a daily table": (
        selection(SQL / "daily_fraud_summary.sql"),
        {"fraud_predictions_occurred_at"},
        ROWS_PER_DAY // 10,
    ),
    "the labels of a day, for its performance": (
        selection(SQL / "daily_model_performance.sql"),
        {"fraud_predictions_occurred_at"},
        ROWS_PER_DAY // 10,
    ),
    "the manifests of a day, for its drift": (DECIDED, {"fraud_predictions_occurred_at"}, ROWS_PER_DAY // 10),
    "the numbers of a day, for its drift": (
        NUMBERS.format(columns="fraud_proba, features[1]")
        .replace("%(contract)s", "'creditcard'")
        .replace("%(manifest_version)s", "'v'"),
        {"fraud_predictions_occurred_at"},
        ROWS_PER_DAY // 10,
    ),
    "the newest": (
        "select * from fraud.fraud_predictions order by occurred_at desc limit 50",
        {"fraud_predictions_occurred_at"},
        100,
    ),
    "the review queue, newest first": (
        (
            "select * from fraud.fraud_predictions as p where decision <> 'approve' and not exists (select from fraud.fraud_labels as l "
            "where l.transaction_id = p.transaction_id and l.source = 'analyst') order by occurred_at desc limit 50"
        ),
        {"fraud_predictions_flagged"},
        1_000,
    ),
    "one transaction and what is known of it": (
        "select * from fraud.fraud_predictions left join fraud.fraud_labels using (transaction_id) where transaction_id = 't-0500000'",
        {"fraud_predictions_pkey", "fraud_labels_pkey"},
        20,
    ),
    "what a run of the simulator left": (
        "select count(*) from fraud.fraud_predictions where run_id = 'run-50'",
        {"fraud_predictions_run_id"},
        2_000,
    ),
    "when a transaction was last stored": (
        "select max(stored_at) from fraud.fraud_predictions",
        {"fraud_predictions_stored_at"},
        20,
    ),
    "what came into quarantine in an hour": (
        "select reason, count(*) from fraud.quarantined_events where arrived_at > now() - interval '1 hour' group by 1",
        {"quarantined_events_arrived_at"},
        20,
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_reads_by_its_index(million: Place, name: str) -> None:
    query, indexes, pages = QUERIES[name]
    used, scanned, touched = explained(million, query)
    assert used >= indexes
    assert "fraud_predictions" not in scanned
    assert touched < pages


def test_every_index_serves_a_query_or_keeps_a_key(million: Place) -> None:
    there = million.run(
        "select indexname from pg_indexes where schemaname = 'fraud' and indexname !~ '_pkey$' and tablename <> 'stream_batches'"
    )
    assert {name for (name,) in there} == {
        index for _, indexes, _ in QUERIES.values() for index in indexes if not index.endswith("_pkey")
    }


@pytest.fixture
def scans(million: Place) -> Callable[[], int]:
    """Counts how often the table of transactions was read from end to end."""

    def count() -> int:
        ((number,),) = million.run(
            "select coalesce(sum(seq_scan), 0) from pg_stat_user_tables where schemaname = 'fraud' and relname = 'fraud_predictions'"
        )
        return int(number)

    return count


def test_the_stream_looks_up_what_it_knows_by_key(million: Place, scans: Callable[[], int]) -> None:
    before, at = scans(), datetime.now(UTC)
    events = [*(prediction(f"t-{number:07}") for number in range(1_000)), label("t-0000001")]
    records = [classify_record("shard-1", str(n), at, json.dumps(event).encode()) for n, event in enumerate(events)]
    counts = Sink(million.database()).write(records, query_id=str(uuid.uuid4()), batch_id=0)
    assert counts.quarantined == {"conflict": 1_000}
    list(replay.replay(million.database(), reasons=[Reason.INVALID], dry_run=True))
    assert scans() == before


def test_the_daily_table_and_the_end_of_a_day_touch_that_day_only(million: Place, scans: Callable[[], int]) -> None:
    before, analyst, day = scans(), million.warehouse("analyst"), date(2026, 10, 20)
    analyst.replace_days("daily_fraud_summary", start=DAY["start"], end=DAY["end"])
    ((rows,),) = million.run(
        "select count(*) from fraud.fraud_predictions where (occurred_at at time zone 'UTC')::date = %s", (day,)
    )
    own_scans = scans() - before
    million.run(
        "insert into fraud.archived_days values (%s, 's3://b/k', %s, 0, 'x', now())", (day, rows), role="analyst"
    )
    assert sum(analyst.drop_day(day)) == rows
    assert scans() == before + own_scans
