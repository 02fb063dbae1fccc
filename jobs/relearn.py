"""Training again by itself: on the table that was taken last, and on what has been archived since.

Belongs here: how such a run is configured. Does not: when (``jobs/schedules.py``, ``jobs/triggers.py``).
"""

from typing import Any

from assets.raw import TRANSACTIONS
from fraudit_dagster.records import RawTable
from resources.records import RecordIOManager


def same_table(records: RecordIOManager) -> dict[str, Any]:
    """Return the configuration of ``bootstrap`` that takes the table from where it was taken last, whatever the settings say.

    Raises:
        RecordError: No table was taken yet.
        StorageError: S3 could not be reached.
    """
    source = records.load(TRANSACTIONS, RawTable).source
    return {"ops": {"raw__transactions": {"config": {"dataset": source}}}}
