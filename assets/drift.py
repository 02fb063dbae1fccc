"""Whether the transactions of a day are like those that the models were trained and judged on.

Belongs here: what a manifest's models knew, a day's counts beside it, the picture. Does not: the distances and their limits
(``fraudit_dagster/drift.py``), what drift leads to (``jobs/triggers.py``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from assets import columns
from assets.analytics import DAYS, shown
from assets.dataset import profile_uri
from assets.evaluation import evaluation_uri
from fraudit_dagster.drift import KS_LIMIT, LEAST_ROWS, PSI_LIMIT, Tally, drifted
from fraudit_dagster.manifest import ROLES, ManifestError, model_spec
from fraudit_dagster.records import Profile, Profiles
from resources.manifests import Manifests
from resources.project import Project
from resources.storage import Storage, StorageError
from resources.warehouse import Warehouse

SCORES = ("fraud_proba", "anomaly_score")
DRAWN_DAYS = 30
BLOCK_BYTES = 1 << 20

DECIDED = """
select (occurred_at at time zone 'UTC')::date as day, contract, manifest_version
from fraud.fraud_predictions
where
    occurred_at >= %(start)s
    and occurred_at < %(end)s
group by 1, 2, 3
order by 1, 2, 3
"""
NUMBERS = """
select {columns}
from fraud.fraud_predictions
where
    occurred_at >= %(start)s
    and occurred_at < %(end)s
    and contract = %(contract)s
    and manifest_version = %(manifest_version)s
"""
REMOVE = """
delete from fraud.daily_feature_drift
where
    day >= (%(start)s::timestamptz at time zone 'UTC')::date
    and day < (%(end)s::timestamptz at time zone 'UTC')::date
"""
ADD = """
insert into fraud.daily_feature_drift (day, contract, manifest_version, feature, rows, missing, mean, psi, ks)
values %s
"""
DRIFT = """
select day::text, contract, manifest_version as manifest, feature, rows, missing, mean, psi, ks
from fraud.daily_feature_drift
where day = any(%(days)s::date[])
order by day desc, contract, manifest_version desc, psi desc nulls last, feature
"""
DRAWN = """
select day, feature, max(psi) as psi
from fraud.daily_feature_drift
where
    day > %(last)s::date - %(days)s
    and day <= %(last)s::date
    and psi is not null
group by 1, 2
order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the models of a manifest see, and how it was distributed when they were trained and judged.

    Attributes:
        contract: Name.
        manifest_version: That decided.
        inputs: Those that a model sees, by name: the place of each in ``features``, from 1 on.
        profiles: By name; of some or all there may be none.
        gap: Why there are none, in words; empty where nothing is missing.
    """

    contract: str
    manifest_version: str
    inputs: Mapping[str, int]
    profiles: Mapping[str, Profile]
    gap: str


@dg.asset(
    key=["analytics", "daily_feature_drift"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[["warehouse", "fraud_predictions"], ["dataset", "train"], ["model", "evaluation"]],
    kinds={"postgres", "table"},
    code_version="1",
    metadata={
        "dagster/column_schema": columns.of_table("daily_feature_drift"),
        "dagster/table_name": "fraud.daily_feature_drift",
    },
    check_specs=[
        dg.AssetCheckSpec(
            "stable",
            asset=["analytics", "daily_feature_drift"],
            description=f"No input and no score has a population stability index of {PSI_LIMIT:g} or a Kolmogorov-Smirnov distance of "
            f"{KS_LIMIT:g} on a day of at least {LEAST_ROWS} transactions.",
        )
    ],
)
def daily_feature_drift(
    context: dg.AssetExecutionContext, project: Project, warehouse: Warehouse, storage: Storage, manifests: Manifests
) -> dg.MaterializeResult:
    """How far each input of the models and each score was from what the models that decided were trained and judged on.

    Inputs are compared with the train part, scores with those of the test part. Where the manifest changed within a day, there is
    a set of rows for each.
    """
    window = context.partition_time_window
    decided = warehouse.query(DECIDED, {"start": window.start, "end": window.end})
    served = {(row["contract"], row["manifest_version"]) for row in decided}
    known = {each: known_of(*each, manifests=manifests, storage=storage) for each in sorted(served)}
    gaps = [f"{each.manifest_version}: {each.gap}" for each in known.values() if each.gap]
    for gap in gaps:
        context.log.warning("not compared: %s", gap)
    with project.scratch() as folder:
        found = [
            feature
            for row in decided
            for feature in compare(
                known[row["contract"], row["manifest_version"]], warehouse, day=row["day"], path=folder / "numbers.csv"
            )
        ]
    replace(found, warehouse, start=window.start, end=window.end)

    days = list(context.partition_keys)
    rows = warehouse.query(DRIFT, {"days": days})
    moved = _moved(rows)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found),
            "manifests": len(known),
            "not_compared": "; ".join(gaps) or "none",
            "drifted": len(moved),
            "by_feature": shown(rows),
            "heat_map": _heat_map(warehouse.query(DRAWN, {"last": days[-1], "days": DRAWN_DAYS})),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="stable",
                passed=not moved,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(moved) or "nothing has drifted",
                metadata={"psi_limit": PSI_LIMIT, "ks_limit": KS_LIMIT, "least_rows": LEAST_ROWS},
            )
        ],
    )


def known_of(contract: str, manifest_version: str, *, manifests: Manifests, storage: Storage) -> Known:
    """Return what the models of a manifest see and knew.

    Raises:
        StorageError: S3 could not be reached.
    """
    try:
        document = manifests.read(manifest_version)
    except ManifestError as error:
        return Known(contract, manifest_version, {}, {}, str(error))
    seen = {feature.column for role in ROLES for feature in model_spec(document[role]).features}
    inputs = {name: place for place, name in enumerate(document["inputs"], start=1) if name in seen}
    sources = {
        "profiles": profile_uri(
            storage,
            document["contract"]["name"],
            raw_sha256=document["lineage"]["dataset_sha256"],
            contract_sha256=document["contract"]["sha256"],
        ),
        "score_profiles": evaluation_uri(
            storage,
            classifier=document["fraud_classifier"]["model_version"],
            detector=document["anomaly_detector"]["model_version"],
        ),
    }
    read = {uri: _profiles(storage, uri, field) for field, uri in sources.items()}
    profiles = {name: profile for found in read.values() for name, profile in found.items() if profile.edges}
    gaps = [uri for uri, found in read.items() if not found]
    gap = f"no profiles at {' and '.join(gaps)}, which are there from the next retraining on" if gaps else ""
    return Known(contract, manifest_version, inputs, profiles, gap)


def compare(known: Known, warehouse: Warehouse, *, day: date, path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``daily_feature_drift`` of one UTC day and one of the manifests that decided on it.

    PostgreSQL gives the numbers as they are, and NumPy counts them: counting in SQL takes 6 to 15 times as long
    (docs/analytics.md).

    Args:
        known: What the manifest's models knew.
        warehouse: Has the day.
        day: With at least one transaction of the manifest.
        path: Where the numbers of the day have room: 0.6 GB for 1 million rows of 30 inputs.

    Raises:
        WarehouseError: The warehouse could not be reached, or was too slow.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    names = [*SCORES, *known.inputs]
    expressions = [*SCORES, *(f"features[{place}]" for place in known.inputs.values())]
    start = datetime.combine(day, time(), UTC)
    span = {"start": start, "end": start + timedelta(days=1)}
    wanted = {"contract": known.contract, "manifest_version": known.manifest_version}
    warehouse.to_csv(NUMBERS.format(columns=", ".join(expressions)), {**span, **wanted}, path=path)
    tallies = {name: Tally.of(known.profiles.get(name)) for name in names}
    with pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64())),
    ) as batches:
        for batch in batches:
            for name, tally in tallies.items():
                tally.add(batch.column(name).to_numpy(zero_copy_only=False))
    for name, tally in tallies.items():
        psi, ks = tally.distances()
        yield day, known.contract, known.manifest_version, name, tally.rows, tally.missing, tally.mean, psi, ks


def replace(found: Sequence[tuple[Any, ...]], warehouse: Warehouse, *, start: datetime, end: datetime) -> None:
    """Put the rows of the UTC days of [start, end) in place of those that are there, in one transaction."""
    from psycopg2.extras import execute_values

    with warehouse.replacing(start=start, end=end) as rows:
        rows.execute(REMOVE, {"start": start, "end": end})
        execute_values(rows, ADD, found, page_size=1_000)


def _profiles(storage: Storage, uri: str, field: str) -> dict[str, Profile]:
    """Return the profiles in a field of a JSON object; none where the object or the field is not there."""
    try:
        document = json.loads(storage.read(uri))
    except StorageError as error:
        if error.code != "NoSuchKey":
            raise
        return {}
    return Profiles.model_validate({"profiles": document.get(field, {})}).profiles


def _moved(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of each day and manifest what drifted, the newest first."""
    sets: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        sets.setdefault((row["day"], row["contract"], row["manifest"]), []).append(row)
    named = {key: drifted(of_set) for key, of_set in sets.items()}
    return [f"{day}, {manifest}: {', '.join(names)}" for (day, _, manifest), names in named.items() if names]


def _heat_map(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Draw the index of each feature over the days up to the last, those that moved most on top."""
    import numpy as np

    from fraudit_dagster import figures

    if not rows:
        return dg.MetadataValue.md("nothing was compared")
    first, last = rows[0]["day"], rows[-1]["day"]
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    by_feature: dict[str, Any] = {}
    for row in rows:
        by_feature.setdefault(row["feature"], np.full(len(days), np.nan))[(row["day"] - first).days] = row["psi"]
    features = sorted(by_feature, key=lambda name: (-np.nanmax(by_feature[name]), name))
    psi = np.stack([by_feature[name] for name in features])
    return dg.MetadataValue.md(
        figures.drift(psi, features, [f"{day:%d %b}" for day in days], limit=PSI_LIMIT).markdown()
    )


ASSETS = [daily_feature_drift]
