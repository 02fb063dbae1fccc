"""The raw table divided into the rows that train, choose and judge.

Belongs here: the three parts and their files. Does not: who goes to which side (``fraudit_dagster/split.py``).
"""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import dagster as dg

from assets.failures import hopeless
from fraudit_dagster.contract import ContractError
from fraudit_dagster.java import JavaError
from fraudit_dagster.records import Part, RawTable
from fraudit_dagster.split import PARTS, SplitError, SplitPart, read_spark_table, split_table
from fraudit_dagster.tables import only_csv
from resources.project import Project
from resources.spark import Spark
from resources.storage import Storage

DESCRIPTIONS = {
    "train": "Transactions that models are fitted on: the oldest, where the contract splits by time.",
    "validation": "Transactions that choose: when to stop training, the calibration, the thresholds.",
    "test": "Transactions that judge: no choice is made on them.",
}


@dg.multi_asset(
    outs={
        part: dg.AssetOut(
            key=["dataset", part],
            dagster_type=Part,
            description=text,
            kinds={"spark", "s3", "parquet"},
            code_version="1",
        )
        for part, text in DESCRIPTIONS.items()
    },
    ins={"raw": dg.AssetIn(["raw", "transactions"])},
)
def split(
    context: dg.AssetExecutionContext, project: Project, storage: Storage, spark: Spark, raw: RawTable
) -> Iterator[dg.MaterializeResult[Part]]:
    """Divide the raw table by Spark: boto3 stages the file, Spark works on it here, boto3 takes the parts back."""
    with hopeless(ContractError, SplitError, JavaError), project.scratch() as folder:
        path = _unzipped(storage.download(raw.uri, folder / raw.uri.rsplit("/", 1)[1]))
        table = read_spark_table(spark.session(), path, project.contract)
        weighted = project.contract.weight is not None and project.contract.weight.column in table.columns
        parts = split_table(table, project.contract, folder / "parts")
        prefix = (
            f"s3://{storage.data_bucket}/split/{project.contract.name}/{raw.sha256[:12]}-{project.contract.sha256[:12]}"
        )
        for name in PARTS:
            part = _upload(parts[name], f"{prefix}/{name}", storage=storage, weighted=weighted, raw=raw)
            context.log.info("%s: %s rows, %s frauds", name, f"{part.rows:,}", f"{part.frauds:,}")
            yield dg.MaterializeResult(
                asset_key=["dataset", name],
                value=part,
                data_version=dg.DataVersion(f"{raw.sha256[:16]}-{project.contract.sha256[:16]}"),
                metadata={
                    "dagster/row_count": part.rows,
                    "frauds": part.frauds,
                    "synthetic": raw.synthetic,
                    "uri": dg.MetadataValue.url(part.uri),
                },
            )


def _upload(part: SplitPart, prefix: str, *, storage: Storage, weighted: bool, raw: RawTable) -> Part:
    storage.upload_folder(part.table, f"{prefix}/table", suffix=".parquet")
    channels = {algorithm: f"{prefix}/{algorithm}" for algorithm in part.channels}
    for algorithm, folder in part.channels.items():
        storage.upload_folder(folder, channels[algorithm], suffix=".csv")
    return Part(
        uri=f"{prefix}/table",
        channels=channels,
        rows=part.rows,
        frauds=part.frauds,
        weighted=weighted,
        medians=part.medians,
        raw_sha256=raw.sha256,
    )


def _unzipped(path: Path) -> Path:
    """Return the one file inside a zip archive; Spark reads the other formats itself."""
    if path.suffix.lower() != ".zip":
        return path
    with ZipFile(path) as archive:
        target = path.with_suffix(".csv")
        with archive.open(only_csv(archive, path)) as source, target.open("wb") as file:
            while chunk := source.read(1 << 20):
                file.write(chunk)
    return target


ASSETS = [split]
