"""What one asset hands to the next survives between runs, and says what is missing where it does not."""

import dagster as dg
import pytest

from fraudit_dagster.records import RawTable
from resources.records import RecordError, RecordIOManager
from resources.storage import Storage
from tests.conftest import unique

RECORD = RawTable(uris=("s3://b/t.csv",), sha256="0" * 64, rows=2, frauds=1, synthetic=False, source="t.csv")


@pytest.fixture
def manager(storage: Storage) -> RecordIOManager:
    return RecordIOManager(storage=storage)


@pytest.fixture
def key() -> dg.AssetKey:
    return dg.AssetKey(["raw", unique("transactions")])


def load(manager: RecordIOManager, key: dg.AssetKey) -> object:
    with dg.build_input_context(asset_key=key, dagster_type=dg.PythonObjectDagsterType(RawTable)) as context:
        return manager.load_input(context)


def test_a_record_comes_back_as_its_type(manager: RecordIOManager, key: dg.AssetKey) -> None:
    with dg.build_output_context(asset_key=key) as context:
        manager.handle_output(context, RECORD)
    assert load(manager, key) == RECORD


def test_an_asset_that_was_never_materialized_is_named(manager: RecordIOManager, key: dg.AssetKey) -> None:
    with pytest.raises(RecordError, match=f"{key.to_user_string()} has no record at s3://.*: materialize it first"):
        load(manager, key)


def test_a_record_of_another_version_is_named(manager: RecordIOManager, key: dg.AssetKey) -> None:
    manager.storage.write(manager._uri(key), b'{"uri": "s3://b/t.csv", "columns": 3}')
    with pytest.raises(RecordError, match=f"{key.to_user_string()}: the record at .* is of another version"):
        load(manager, key)
