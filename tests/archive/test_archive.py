"""A day of the warehouse as files: all of it, proven before the warehouse may drop it, and never replaced by less."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudit_dagster import archive as domain
from fraudit_dagster.archive import ArchivedDay, ArchiveError, Content, Kind, schema_of
from resources import archive as module
from resources.archive import Archive
from resources.storage import Storage
from resources.warehouse import SQL
from tests.archive.conftest import Archived
from tests.graph.conftest import Outcome
from tests.operate.conftest import said
from tests.warehouse.conftest import store

KINDS: tuple[Kind, ...] = domain.KINDS


def fill(archived: Archived, day: str, *, rows: int = 12, quarantined: int = 2) -> None:
    """Store transactions all over a day and one on either side of it, and put events aside."""
    place, first = archived.place, f"timestamptz '{day}T00:00:00Z'"
    each = f"select '{day}-' || n from generate_series(0, {rows - 1}) as n"  # noqa: S608 - of the tests
    store(place, each, f"{first} + split_part(id, '-', 4)::int * interval '1 day' / {rows}", stored_at=first)
    store(place, f"values ('before {day}')", f"{first} - interval '1 microsecond'", stored_at=first)
    store(place, f"values ('after {day}')", f"{first} + interval '1 day'", stored_at=first)
    place.run(
        f"""
        insert into fraud.quarantined_events
        select '{day}', n::text, decode('00ff0a', 'hex'), 'not_json', 'no', {first} + n * interval '1 minute', null, {first}
        from generate_series(1, {quarantined}) as n
        """  # noqa: S608 - of the tests
    )


def label(archived: Archived, transaction: str, source: str, value: int, labelled_at: str) -> None:
    archived.place.run(
        "insert into fraud.fraud_labels (transaction_id, source, label, labelled_at, stored_at) values (%s, %s, %s, %s, %s)",
        (transaction, source, value, labelled_at, labelled_at),
    )


def day_of(archived: Archived, day: str) -> ArchivedDay:
    (found,) = [found for found in archived.resource.days() if found.day == date.fromisoformat(day)]
    return found


def file_of(archived: Archived, day: str, kind: Kind, folder: Path) -> pa.Table:
    """Read a file of an archived day, proven to be what was archived."""
    return pq.read_table(archived.resource.fetch(day_of(archived, day), kind, folder))


def objects(archived: Archived, day: str) -> set[str]:
    return set(archived.deployment.storage.uris(f"s3://{archived.deployment.settings.data_bucket}/archive/{day}/"))


def check_of(outcome: Outcome) -> dg.AssetCheckEvaluation:
    assert outcome.success, outcome.reasons
    (check,) = outcome.result.get_asset_check_evaluations()
    return check


def test_the_files_have_all_that_the_warehouse_has_of_the_day(archived: Archived, tmp_path: Path) -> None:
    day = "2026-08-01"
    fill(archived, day)
    archived.place.run(
        """
        update fraud.fraud_predictions set run_id = '', ip_address = '10.1.2.3', amount = 0.30000000000000000004, features = '{1e-300,NaN,-0}',
            degraded = '{a,"b,c"}', reasons = '[{"feature": "V1"}]', device_type = E'line\\nend', latitude = 52.3, anomaly_score = 1.25
        where transaction_id = '2026-08-01-3'
        """
    )
    outcome = archived.materialize(day)
    assert check_of(outcome).passed

    there = archived.place.warehouse().query(
        "select *, amount::text as amount, reasons::text as reasons from fraud.fraud_predictions where occurred_at >= %(day)s "
        "and occurred_at < %(day)s::timestamptz + interval '1 day' order by occurred_at",
        {"day": f"{day}T00:00:00Z"},
    )
    rows = file_of(archived, day, "transactions", tmp_path).drop_columns(
        ["label", "label_source", "labelled_at", "labels"]
    )
    assert len(there) == 12
    assert repr(sorted_rows(rows.to_pylist())) == repr(sorted_rows(there))
    aside = file_of(archived, day, "quarantined_events", tmp_path).to_pylist()
    assert [(event["sequence_number"], event["raw"]) for event in aside] == [("1", b"\x00\xff\n"), ("2", b"\x00\xff\n")]

    (event,) = outcome.result.asset_materializations_for_node("analytics__archive")
    assert (event.metadata["dagster/row_count"].value, event.metadata["quarantined_events"].value) == (12, 2)


def sorted_rows(rows: list[dict[str, Any]]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Rows that compare by what they hold: moments in UTC, columns by name."""

    def cell(value: Any) -> Any:
        return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value

    return sorted((row["transaction_id"], sorted((name, cell(value)) for name, value in row.items())) for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_have_every_column_of_the_table_in_its_order(archived: Archived, kind: Kind) -> None:
    table = "fraud_predictions" if kind == "transactions" else kind
    columns = archived.place.run(
        "select column_name from information_schema.columns where table_schema = 'fraud' and table_name = %s order by ordinal_position",
        (table,),
    )
    more = ["label", "label_source", "labelled_at", "labels"] if kind == "transactions" else []
    assert schema_of(kind).names == [name for (name,) in columns] + more
    statement = (SQL / module.STATEMENTS[kind]).read_text()
    span = dict.fromkeys(("start", "end", "archived_at"), datetime(2026, 1, 1, tzinfo=UTC))
    with archived.place.warehouse().transaction() as rows:
        rows.execute(statement, span)
        assert [column.name for column in rows.description or ()] == schema_of(kind).names


def test_of_several_labels_the_latest_counts_and_all_are_kept(archived: Archived, tmp_path: Path) -> None:
    day = "2026-08-03"
    fill(archived, day)
    label(archived, f"{day}-1", "customer", 1, "2026-08-05T00:00:00Z")
    label(archived, f"{day}-1", "analyst", 0, "2026-08-06T00:00:00Z")
    for source, value in (("customer", 0), ("analyst", 0), ("chargeback", 1)):
        label(archived, f"{day}-2", source, value, "2026-08-07T00:00:00Z")
    label(archived, f"{day}-3", "analyst", 1, "2026-08-07T00:00:00Z")
    label(archived, f"{day}-3", "customer", 0, "2026-08-07T00:00:00Z")
    check_of(archived.materialize(day))
    rows = {row["transaction_id"]: row for row in file_of(archived, day, "transactions", tmp_path).to_pylist()}
    found = {name: (rows[f"{day}-{name}"]["label"], rows[f"{day}-{name}"]["label_source"]) for name in (0, 1, 2, 3)}
    assert found == {0: (None, None), 1: (0, "analyst"), 2: (1, "chargeback"), 3: (1, "analyst")}
    assert rows[f"{day}-1"]["labelled_at"] == datetime(2026, 8, 6, tzinfo=UTC)
    assert all(source in rows[f"{day}-2"]["labels"] for source in ("customer", "analyst", "chargeback"))


def test_an_archived_day_can_be_dropped_and_is_never_archived_anew_from_what_is_left(
    archived: Archived, tmp_path: Path
) -> None:
    day = "2026-08-05"
    fill(archived, day)
    label(archived, f"{day}-1", "chargeback", 1, "2026-08-07T00:00:00Z")
    check_of(archived.materialize(day))
    before = file_of(archived, day, "transactions", tmp_path)
    assert said("warehouse", "drop-day", day).startswith(f"{day}: 14 rows deleted; they are in s3://")
    left = "select transaction_id from fraud.fraud_predictions where transaction_id like %s"
    assert archived.place.run(left, (f"{day}-%",)) == []
    assert file_of(archived, day, "transactions", tmp_path / "again").equals(before)
    assert before.num_rows == 12

    store(archived.place, f"values ('{day}-late')", f"'{day}T12:00:00Z'")
    outcome = archived.materialize(day)
    assert not outcome.success
    assert f"{day}: deleted from the warehouse since" in outcome.reasons
    assert f"must not replace the archive at {day_of(archived, day).uri}" in outcome.reasons
    assert file_of(archived, day, "transactions", tmp_path / "still").equals(before)


def test_a_range_is_one_run_and_a_day_without_transactions_is_archived_as_such(
    archived: Archived, tmp_path: Path
) -> None:
    fill(archived, "2026-08-08", quarantined=0)
    archived.place.run("delete from fraud.fraud_predictions where transaction_id = 'after 2026-08-08'")
    assert check_of(archived.materialize("2026-08-08", "2026-08-10")).passed
    found = {day: day_of(archived, day) for day in ("2026-08-08", "2026-08-09", "2026-08-10")}
    assert {day: (item.rows, item.quarantined) for day, item in found.items()} == {
        "2026-08-08": (12, 0),
        "2026-08-09": (0, 0),
        "2026-08-10": (0, 0),
    }
    assert file_of(archived, "2026-08-09", "transactions", tmp_path).num_rows == 0
    assert said("warehouse", "drop-day", "2026-08-09").startswith("2026-08-09: 0 rows deleted")


def test_what_came_late_is_told_and_taken_in_by_archiving_again(archived: Archived, tmp_path: Path) -> None:
    day = "2026-08-12"
    fill(archived, day)
    check_of(archived.materialize(day))
    first, files = day_of(archived, day), objects(archived, day)
    archived.materialize(day)
    assert objects(archived, day) == files, "the same content is the same version"

    store(archived.place, f"values ('{day}-late')", f"'{day}T12:00:00Z'")
    archived.place.run("insert into fraud.fraud_labels values (%s, 'chargeback', 1, now(), now())", (f"{day}-1",))
    assert archived.resource.late(day_of(archived, day)) == {"transactions": 1, "labels": 1, "quarantined_events": 0}
    assert check_of(archived.materialize(day)).passed
    second = day_of(archived, day)
    assert (first.rows, second.rows) == (12, 13)
    assert objects(archived, day) == files | {second.uri_of(kind) for kind in KINDS}, "who reads the first may end"
    rows = {row["transaction_id"]: row for row in file_of(archived, day, "transactions", tmp_path).to_pylist()}
    assert rows[f"{day}-1"]["label"] == 1

    store(archived.place, f"values ('{day}-later')", f"'{day}T13:00:00Z'")
    archived.materialize(day)
    assert first.uri_of("transactions") not in objects(archived, day)
    assert len(objects(archived, day)) == 4


class SomethingArrives(Archive):
    """A transaction that is stored while the archive is made."""

    def write(self, day: date, *, archived_at: datetime, folder: Path) -> ArchivedDay:
        done = super().write(day, archived_at=archived_at, folder=folder)
        with self.warehouse.transaction() as rows:
            rows.execute("insert into fraud.fraud_labels values ('2026-08-14-1', 'customer', 1, now())")
        return done


def test_the_check_warns_of_what_came_meanwhile(archived: Archived) -> None:
    fill(archived, "2026-08-14")
    made = archived.resource
    storage, warehouse = made.storage, archived.place.warehouse()
    check = check_of(archived.materialize("2026-08-14", archive=SomethingArrives(storage=storage, warehouse=warehouse)))
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == "Came after the archive: 2026-08-14: 1 labels."


def test_a_day_that_is_not_over_is_refused(archived: Archived) -> None:
    today = datetime.now(UTC).date()
    archive = archived.resource
    with pytest.raises(ArchiveError, match=rf"{today}: not over yet at .* archive it after midnight"):
        archive.check([today - timedelta(days=1), today], archived_at=datetime.now(UTC))
    assert today not in {found.day for found in archive.days()}


class LosesARow(Storage):
    """A transfer after which a file lacks its first row."""

    def upload(self, path: Path, uri: str, **_: Any) -> None:
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
        super().upload(path, uri)


class DiesBeforeNoting(Archive):
    """A run that is killed once the files are there."""

    def _note(self, new: ArchivedDay) -> None:
        raise KeyboardInterrupt(str(new.day))


def test_a_file_that_reads_back_otherwise_is_no_archive(archived: Archived) -> None:
    fill(archived, "2026-08-16")
    made = archived.resource
    storage = LosesARow(**made.storage.model_dump())
    outcome = archived.materialize("2026-08-16", archive=Archive(storage=storage, warehouse=made.warehouse))
    assert not outcome.success
    assert "transactions.parquet: 11 rows with checksum" in outcome.reasons
    assert "where 12 with" in outcome.reasons
    assert date(2026, 8, 16) not in {found.day for found in made.days()}


def test_a_run_that_died_between_the_files_and_the_table_is_repeated(archived: Archived, tmp_path: Path) -> None:
    day = "2026-08-18"
    fill(archived, day)
    made = archived.resource
    dying = DiesBeforeNoting(storage=made.storage, warehouse=made.warehouse)
    with pytest.raises(KeyboardInterrupt):
        dying.write(date.fromisoformat(day), archived_at=made.settled(), folder=tmp_path)
    assert date.fromisoformat(day) not in {found.day for found in made.days()}
    assert len(objects(archived, day)) == 2
    label(archived, f"{day}-1", "analyst", 0, "2026-08-19T00:00:00Z")
    check_of(archived.materialize(day))
    assert objects(archived, day) == {day_of(archived, day).uri_of(kind) for kind in KINDS}


def test_an_object_that_was_changed_is_noticed(archived: Archived, tmp_path: Path) -> None:
    day = "2026-08-20"
    fill(archived, day)
    check_of(archived.materialize(day))
    table = file_of(archived, day, "transactions", tmp_path)
    changed = table.set_column(
        table.schema.get_field_index("label"), "label", pa.array([1] + [None] * 11, pa.int16())
    ).replace_schema_metadata(table.schema.metadata)
    uri = day_of(archived, day).uri_of("transactions")
    pq.write_table(changed, tmp_path / "changed.parquet")
    archived.deployment.storage.upload(tmp_path / "changed.parquet", uri)
    with pytest.raises(ArchiveError, match=f"archive the day anew: fraudit graph daily --first {day}"):
        file_of(archived, day, "transactions", tmp_path)
    archived.deployment.storage.write(uri, b"PAR1")
    with pytest.raises(ArchiveError, match=r"transactions\.parquet is not a Parquet file, or damaged"):
        file_of(archived, day, "transactions", tmp_path)
    check_of(archived.materialize(day))
    assert file_of(archived, day, "transactions", tmp_path).equals(table), "archiving again has mended it"


def test_what_is_being_written_is_waited_for(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is stored at a moment, but is seen only when its transaction ends: such a row must not be missed."""
    monkeypatch.setattr(module, "WRITERS_S", 0.0)
    with archived.place.connect() as writer, writer.cursor() as rows:
        rows.execute("insert into fraud.fraud_labels values ('t', 'analyst', 1, now())")
        with pytest.raises(ArchiveError, match="a transaction has been writing to the database for more than 0 s"):
            archived.resource.settled()
    writer.close()
    assert archived.resource.settled() < datetime.now(UTC)


def test_the_checksum_is_of_the_rows_whatever_their_order() -> None:
    table = pa.table(
        {"name": ["a", "b", None, ""], "x": [0.1, -0.0, float("nan"), None], "list": [[1.5], [], [None], [2.0]]}
    )

    def checksum(rows: pa.Table, *, batch: int = 10) -> str:
        content = Content()
        for part in rows.to_batches(max_chunksize=batch):
            content.add(part)
        return content.checksum

    whole = checksum(table)
    assert checksum(table.take([3, 1, 0, 2]), batch=1) == whole
    assert checksum(table.slice(1)) != whole
    for column, cells in (("name", ["a", "b", "", None]), ("x", [0.1, 0.0, float("nan"), None])):
        other = table.set_column(table.schema.get_field_index(column), column, pa.array(cells))
        assert checksum(other) != whole
