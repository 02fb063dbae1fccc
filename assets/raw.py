"""The raw table of transactions, and whether it is fit to train on.

Belongs here: what arrived, unchanged, and the archived days that join it. Does not: anything made from it (``assets/dataset.py``).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
from pydantic import Field

from assets import columns
from assets.failures import hopeless
from assets.findings import check_result, flaws_of
from fraudit_dagster.archive import ArchivedDay, ArchiveError
from fraudit_dagster.arrivals import why_no_part
from fraudit_dagster.contract import Contract, ContractError
from fraudit_dagster.java import JavaError
from fraudit_dagster.records import RawTable
from fraudit_dagster.staging import stage_table
from fraudit_dagster.synthetic import keep_table
from fraudit_dagster.tables import FORMATS, DatasetSource, TableError, resolve_dataset
from fraudit_dagster.validation import find_duplicates, row_rules, validate_counts, validate_rows
from resources.archive import Archive
from resources.datasets import DatasetError, Datasets
from resources.project import Project
from resources.spark import Spark
from resources.storage import Storage

TRANSACTIONS = dg.AssetKey(["raw", "transactions"])
FIT_TO_TRAIN = dg.AssetCheckSpec(
    "fit_to_train",
    asset=TRANSACTIONS,
    blocking=True,
    description="The table meets every expectation that the data contract makes: columns, types, nulls, finite numbers, "
    "ranges, labels, prevalence.",
)
NO_DUPLICATES = dg.AssetCheckSpec(
    "no_duplicates",
    asset=TRANSACTIONS,
    description="No row repeats another in every column but the id. Only a warning: the published data hold a thousand, and "
    "the split keeps them on one side.",
)


class RawConfig(dg.Config):
    """Which table a run is about."""

    dataset: str | None = Field(
        default=None,
        description="A path, an s3:// URI (a trailing / means all files below it), kaggle, openml or synthetic; none: what "
        "the settings say.",
    )


@dg.asset(
    key=TRANSACTIONS,
    dagster_type=dg.PythonObjectDagsterType(RawTable),
    kinds={"s3", "spark"},
    code_version="3",
    check_specs=[FIT_TO_TRAIN, NO_DUPLICATES],
)
def transactions(
    context: dg.AssetExecutionContext,
    config: RawConfig,
    project: Project,
    storage: Storage,
    datasets: Datasets,
    spark: Spark,
    archive: Archive,
) -> Iterator[dg.MaterializeResult[RawTable]]:
    """The table of card transactions that models are made from, as it arrived, in S3.

    It is what the run or ``FRAUDIT_DATASET`` names, else ``dataset/creditcard.csv`` where it was downloaded, else a
    synthetic table of the same size and schema. The public table of Kaggle or OpenML is fetched where it is not there yet.
    Files below one prefix are one table, and a file that arrived twice is taken once. Where the contract learns from the archive,
    archived transactions whose labels are known join it. Its version is the hash of all that content.
    """
    contract = project.contract
    user_file = Path(project.user_file)
    errors = (ContractError, TableError, DatasetError, JavaError, ArchiveError)
    with hopeless(*errors), project.scratch() as folder, ThreadPoolExecutor(1) as pool:
        session = pool.submit(spark.session)  # a JVM starts while this process reads
        source = resolve_dataset(config.dataset or project.dataset, user_file=user_file)
        context.log.info("data set: %s", source.location or source.kind)
        delivered = _fetch(
            source,
            folder,
            work_dir=Path(project.work_dir),
            user_file=user_file,
            storage=storage,
            datasets=datasets,
        )
        days = matured_days(contract, archive)
        joining = {day.uri_of("transactions"): archive.fetch(day, "transactions", folder / "archive") for day in days}
        files = {**delivered, **{uri: (path, True) for uri, path in joining.items()}}
        staged = stage_table({uri: path for uri, (path, _) in files.items()}, contract, folder / "staged")
        for uri, (path, is_there) in files.items():
            if not is_there:
                storage.upload(path, uri)
        rules = row_rules(contract, weighted=staged.weighted)
        table = session.result().read.parquet(str(staged.folder))
        findings = [*validate_counts(staged.counts, contract), *validate_rows(table, rules)]
        duplicates = find_duplicates(table, contract)
    record = RawTable(
        uris=tuple(uri for uri in files if uri not in staged.repeated),
        sha256=staged.sha256,
        rows=staged.counts.rows,
        frauds=staged.counts.frauds,
        synthetic=source.synthetic,
        source=source.location or source.kind,
        flaws=flaws_of(findings),
    )
    context.log.info("%s: %s rows, %s frauds", ", ".join(record.uris), f"{record.rows:,}", f"{record.frauds:,}")
    if contract.learn_from_archive is not None:
        context.log.info("%s rows of them from %s archived days", f"{staged.archived_rows:,}", len(days))
    yield dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(record.sha256),
        metadata={
            "dagster/row_count": record.rows,
            "delivered_rows": record.rows - staged.archived_rows,
            "archived_rows": staged.archived_rows,
            "archived_days": dg.MetadataValue.json([str(day.day) for day in days]),
            "frauds": record.frauds,
            "prevalence": staged.counts.prevalence,
            "duplicates": duplicates.unexpected,
            "synthetic": record.synthetic,
            "source": record.source,
            "files": dg.MetadataValue.json(list(record.uris)),
            "same_content_left_out": dg.MetadataValue.json(list(staged.repeated)),
            "dagster/column_schema": columns.of_contract(contract),
        },
        check_results=[
            check_result(findings, asset_key=TRANSACTIONS, check_name=FIT_TO_TRAIN.name),
            check_result(
                [duplicates],
                asset_key=TRANSACTIONS,
                check_name=NO_DUPLICATES.name,
                severity=dg.AssetCheckSeverity.WARN,
            ),
        ],
    )


def matured_days(contract: Contract, archive: Archive) -> list[ArchivedDay]:
    """Return the archived days that the contract learns from, the oldest first: those archived when their labels were known.

    Raises:
        WarehouseError: PostgreSQL, which says what is archived, could not be reached.
    """
    learns = contract.learn_from_archive
    if learns is None:
        return []
    return [day for day in archive.days() if day.rows and day.matured(learns.label_age_days)]


def _fetch(
    source: DatasetSource, folder: Path, *, work_dir: Path, user_file: Path, storage: Storage, datasets: Datasets
) -> Mapping[str, tuple[Path, bool]]:
    """Return the table's files on this machine by their URI in S3, each with whether it is there already."""
    match source.kind:
        case "s3":
            return {uri: (path, True) for uri, path in download_files(_uris(source.location, storage), folder, storage)}
        case "kaggle" | "openml":
            path = datasets.download(source.kind, user_file)
        case "synthetic":
            path = keep_table(work_dir)
        case "path":
            path = Path(source.location)
    return {f"s3://{storage.data_bucket}/dataset/{path.name}": (path, False)}


def _uris(location: str, storage: Storage) -> list[str]:
    if not location.endswith("/"):
        return [location]
    found = [
        item.uri
        for item in storage.objects(location)
        if why_no_part(item.uri.removeprefix(location), item.size) is None
    ]
    if not found:
        raise TableError(f"{location}: no table lies below it ({', '.join(FORMATS)})")
    return found


def download_files(uris: list[str], folder: Path, storage: Storage) -> list[tuple[str, Path]]:
    """Download files that may have the same name, and return each with its URI."""
    return [
        (uri, storage.download(uri, folder / "arrived" / str(index) / uri.rsplit("/", 1)[1]))
        for index, uri in enumerate(uris)
    ]


ASSETS = [transactions]
