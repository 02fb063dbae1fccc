"""The raw table of transactions, and whether it is fit to train on.

Belongs here: what arrived, unchanged. Does not: anything made from it (``assets/dataset.py``).
"""

import hashlib
from pathlib import Path

import dagster as dg

from assets.failures import hopeless
from fraudit_dagster.contract import Contract, ContractError
from fraudit_dagster.records import RawTable
from fraudit_dagster.synthetic import write_synthetic
from fraudit_dagster.tables import DatasetSource, TableError, profile, read_table, resolve_dataset
from fraudit_dagster.validation import validate_table
from resources.project import Project
from resources.storage import Storage

TRANSACTIONS = dg.AssetKey(["raw", "transactions"])


@dg.asset(key=TRANSACTIONS, kinds={"s3"}, code_version="1")
def transactions(
    context: dg.AssetExecutionContext, project: Project, storage: Storage
) -> dg.MaterializeResult[RawTable]:
    """The table of card transactions that models are made from, as it arrived, in S3.

    It is the file that ``FRAUDIT_DATASET`` names, else ``dataset/creditcard.csv`` where it was downloaded, else a synthetic
    table of the same size and schema. Its version is the hash of its bytes.
    """
    with hopeless(ContractError, TableError), project.scratch() as folder:
        source = resolve_dataset(project.dataset, user_file=Path(project.user_file))
        path = _fetch(source, folder, storage=storage)
        table = read_table(path, project.contract)
        found = profile(table, project.contract)
        uri = source.location if source.kind == "s3" else f"s3://{storage.data_bucket}/dataset/{path.name}"
        if source.kind != "s3":
            storage.upload(path, uri)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    context.log.info("%s: %s rows, %s frauds", uri, f"{found.rows:,}", f"{found.frauds:,}")
    record = RawTable(
        uri=uri,
        sha256=sha256,
        rows=found.rows,
        frauds=found.frauds,
        synthetic=source.synthetic,
        source=source.location or source.kind,
    )
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(sha256),
        metadata={
            "dagster/row_count": found.rows,
            "frauds": found.frauds,
            "prevalence": found.prevalence,
            "duplicates": found.duplicates,
            "synthetic": source.synthetic,
            "source": source.location or source.kind,
            "uri": dg.MetadataValue.url(uri),
            "dagster/column_schema": _column_schema(project.contract),
        },
    )


@dg.asset_check(asset=TRANSACTIONS, blocking=True)
def fit_to_train(project: Project, storage: Storage, transactions: RawTable) -> dg.AssetCheckResult:
    """The table meets every expectation that the data contract makes: columns, types, nulls, labels, prevalence, ranges."""
    with hopeless(ContractError, TableError), project.scratch() as folder:
        path = storage.download(transactions.uri, folder / transactions.uri.rsplit("/", 1)[1])
        findings = validate_table(read_table(path, project.contract), project.contract)
    failed = [finding for finding in findings if not finding.passed]
    return dg.AssetCheckResult(
        passed=not failed,
        description="; ".join(f"{f.column or 'table'}: {f.expectation} (found {f.observed})" for f in failed) or None,
        metadata={
            "expectations": len(findings),
            "failed": len(failed),
            "findings": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "passed": finding.passed,
                            "column": finding.column,
                            "expectation": finding.expectation,
                            "unexpected rows": finding.unexpected,
                            "observed": finding.observed,
                        }
                    )
                    for finding in findings
                ]
            ),
        },
    )


def _fetch(source: DatasetSource, folder: Path, *, storage: Storage) -> Path:
    if source.kind == "s3":
        return storage.download(source.location, folder / source.location.rsplit("/", 1)[1])
    if source.kind == "synthetic":
        path = folder / "synthetic.parquet"
        write_synthetic(path)
        return path
    return Path(source.location)


def _column_schema(contract: Contract) -> dg.TableSchema:
    types = {contract.label: "int"} | dict.fromkeys(contract.number_columns, "float")
    required, optional = contract.columns
    return dg.TableSchema(columns=[dg.TableColumn(name, types.get(name, "string")) for name in (*required, *optional)])


ASSETS = [transactions]
CHECKS = [fit_to_train]
