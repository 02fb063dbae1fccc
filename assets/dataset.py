"""The raw table divided into the rows that train, choose and judge, and whether each part is fit for that.

Belongs here: the three parts, their files, their checks. Does not: who goes to which side (``fraudit_dagster/split.py``).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from assets import columns
from assets.failures import hopeless, refuse_unfit
from assets.findings import check_result, flaws_of
from assets.raw import download_files
from fraudit_dagster.contract import ContractError
from fraudit_dagster.java import JavaError
from fraudit_dagster.records import Algorithm, Part, Profiles, RawTable
from fraudit_dagster.sides import PARTS
from fraudit_dagster.split import SplitError, SplitPart, split_table
from fraudit_dagster.staging import stage_table
from fraudit_dagster.tables import TableError
from fraudit_dagster.validation import row_rules, validate_parts
from resources.project import Project
from resources.spark import Spark
from resources.storage import Storage

DESCRIPTIONS = {
    "train": "Transactions that models are fitted on: the oldest, where the contract splits by time.",
    "validation": "Transactions that choose: when to stop training, the calibration, the thresholds.",
    "test": "Transactions that judge: no choice is made on them.",
}
PROFILE = "train/profile.json"
CHECKS = {"train": "fit_to_learn_from", "validation": "fit_to_choose_by", "test": "fit_to_judge_by"}


@dg.multi_asset(
    outs={
        part: dg.AssetOut(
            key=["dataset", part],
            dagster_type=Part,
            description=text,
            kinds={"spark", "s3", "parquet"},
            code_version="3",
        )
        for part, text in DESCRIPTIONS.items()
    },
    ins={"raw": dg.AssetIn(["raw", "transactions"])},
    check_specs=[
        dg.AssetCheckSpec(
            name,
            asset=["dataset", part],
            blocking=True,
            description="The part meets what the data contract expects of every row, has frauds, shares no row and no group "
            "with another part, and lies in its place in time.",
        )
        for part, name in CHECKS.items()
    ],
)
def split(
    context: dg.AssetExecutionContext, project: Project, storage: Storage, spark: Spark, raw: RawTable
) -> Iterator[dg.MaterializeResult[Part]]:
    """Divide the raw table by Spark: boto3 stages the files, Spark works on them here, boto3 takes the parts back."""
    refuse_unfit("raw/transactions", raw.flaws)
    contract = project.contract
    prefix = _prefix(storage, contract.name, raw_sha256=raw.sha256, contract_sha256=contract.sha256)
    with (
        hopeless(ContractError, TableError, SplitError, JavaError),
        project.scratch() as folder,
        ThreadPoolExecutor(1) as pool,
    ):
        session = pool.submit(spark.session)
        arrived = dict(download_files(list(raw.uris), folder, storage))
        staged = stage_table(arrived, contract, folder / "staged")
        if staged.sha256 != raw.sha256:
            raise TableError(
                f"{', '.join(raw.uris)}: changed since it was validated; materialize raw/transactions again"
            )
        table = session.result().read.parquet(str(staged.folder))
        parts = split_table(table, contract, folder / "parts", rows=staged.counts.rows)
        uploads = [pool.submit(_upload, parts[name], f"{prefix}/{name}", storage=storage) for name in PARTS]
        findings = validate_parts(
            session.result().read.parquet(str(folder / "parts" / "table")),
            contract,
            {name: part.counts for name, part in parts.items()},
            row_rules(contract, weighted=staged.weighted),
        )
        channels = dict(zip(PARTS, (upload.result() for upload in uploads), strict=True))
        profiles = Profiles(profiles=parts["train"].profiles)
        storage.write(f"{prefix}/{PROFILE}", profiles.model_dump_json().encode(), content_type="application/json")
    for name in PARTS:
        counts = parts[name].counts
        part = Part(
            uri=f"{prefix}/{name}/table",
            channels=channels[name],
            rows=counts.rows,
            frauds=counts.frauds,
            weighted=staged.weighted,
            medians=parts[name].medians,
            raw_sha256=raw.sha256,
            flaws=flaws_of(findings[name]),
        )
        context.log.info("%s: %s rows, %s frauds", name, f"{part.rows:,}", f"{part.frauds:,}")
        key = dg.AssetKey(["dataset", name])
        yield dg.MaterializeResult(
            asset_key=key,
            value=part,
            data_version=dg.DataVersion(f"{raw.sha256[:16]}-{contract.sha256[:16]}"),
            metadata={
                "dagster/row_count": part.rows,
                "frauds": part.frauds,
                "prevalence": counts.prevalence,
                "synthetic": raw.synthetic,
                "uri": dg.MetadataValue.url(part.uri),
                "dagster/column_schema": columns.of_contract(contract),
            },
            check_results=[check_result(findings[name], asset_key=key, check_name=CHECKS[name])],
        )


def profile_uri(storage: Storage, contract: str, *, raw_sha256: str, contract_sha256: str) -> str:
    """Return where the profiles of the inputs are that a table and a contract trained on."""
    return f"{_prefix(storage, contract, raw_sha256=raw_sha256, contract_sha256=contract_sha256)}/{PROFILE}"


def _prefix(storage: Storage, contract: str, *, raw_sha256: str, contract_sha256: str) -> str:
    return f"s3://{storage.data_bucket}/split/{contract}/{raw_sha256[:12]}-{contract_sha256[:12]}"


def _upload(part: SplitPart, prefix: str, *, storage: Storage) -> dict[Algorithm, str]:
    """Upload the files of a part, and return the prefix of each algorithm's channel."""
    storage.upload_folder(part.table, f"{prefix}/table", suffix=".parquet")
    for algorithm, folder in part.channels.items():
        storage.upload_folder(folder, f"{prefix}/{algorithm}", suffix=".csv")
    return {algorithm: f"{prefix}/{algorithm}" for algorithm in part.channels}


ASSETS = [split]
