"""Days of the warehouse as files: what is kept for good, and what may be deleted from PostgreSQL thereafter.

Belongs here: archiving a day. Does not: how (``resources/archive.py``), deleting (``fraudit warehouse drop-day``), learning from it
(``assets/raw.py``).
"""

from datetime import date

import dagster as dg

from assets.analytics import DAYS
from assets.failures import hopeless
from fraudit_dagster.archive import ArchivedDay, ArchiveError, schema_of
from resources.archive import Archive
from resources.project import Project

ARCHIVE = dg.AssetKey(["analytics", "archive"])
COMPLETE = dg.AssetCheckSpec(
    "complete",
    asset=ARCHIVE,
    description="The warehouse has nothing of the days that came after they were archived: no late event, no later label. Only a "
    "warning: archiving them again takes it in, as long as the warehouse has not dropped them.",
)


def _columns() -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(field.name, str(field.type)) for field in schema_of("transactions")])


@dg.asset(
    key=ARCHIVE,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[["warehouse", "fraud_predictions"]],
    kinds={"s3", "parquet"},
    tags={"personal_data": "yes"},
    check_specs=[COMPLETE],
    code_version="1",
)
def archive(context: dg.AssetExecutionContext, project: Project, archive: Archive) -> dg.MaterializeResult:
    """Transactions of a UTC day with their labels, and its quarantined events, as Parquet in S3.

    A day is archived anew as often as one likes, until the warehouse drops it. ``fraud.archived_days`` says that a day is archived
    once its files were read back and have the rows and the checksum of what the warehouse gave.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    with hopeless(ArchiveError):
        archived_at = archive.settled()
        archive.check(days, archived_at=archived_at)
        archived = []
        for day in days:
            with project.scratch() as folder:
                found = archive.write(day, archived_at=archived_at, folder=folder)
            context.log.info("%s: %s transactions, %s quarantined events", day, f"{found.rows:,}", found.quarantined)
            archived.append(found)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(found.rows for found in archived),
            "quarantined_events": sum(found.quarantined for found in archived),
            "archived_at": dg.MetadataValue.timestamp(archived_at),
            "days": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "day": str(found.day),
                            "transactions": found.rows,
                            "quarantined events": found.quarantined,
                            "files": found.uri,
                        }
                    )
                    for found in archived
                ]
            ),
            "dagster/column_schema": _columns(),
        },
        check_results=[_complete(archived, archive)],
    )


def _complete(archived: list[ArchivedDay], archive: Archive) -> dg.AssetCheckResult:
    late = {str(found.day): archive.late(found) for found in archived}
    behind = {day: counts for day, counts in late.items() if any(counts.values())}
    said = "; ".join(
        f"{day}: {', '.join(f'{count:,} {kind}' for kind, count in counts.items() if count)}"
        for day, counts in behind.items()
    )
    return dg.AssetCheckResult(
        check_name=COMPLETE.name,
        passed=not behind,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Came after the archive: {said}." if behind else "The archive has all that the warehouse has.",
        metadata={"late": dg.MetadataValue.json(behind)},
    )


ASSETS = [archive]
