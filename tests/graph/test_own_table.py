"""A table of one's own, with other names, a group, another prevalence and timestamps, goes the whole way by its contract alone.

The contract is the one of the README.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.manifest import endpoints_of
from fraudit_dagster.records import Part
from fraudit_dagster.settings import PROJECT_DIR
from scripts.pages import blocks
from tests.graph.conftest import Deployment, new_deployment

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

(CONTRACT,) = (block.text for block in blocks(PROJECT_DIR / "README.md") if block.info == ("yaml",))
ROWS = 8_000
CUSTOMERS = 900


def orders() -> pd.DataFrame:
    """Orders of a shop, made here; one in fourteen is charged back."""
    rng = np.random.default_rng(11)
    fraud = rng.random(ROWS) < 0.07
    return pd.DataFrame(
        {
            "order_id": [f"o{number:06d}" for number in rng.permutation(ROWS)],
            "ordered_at": pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(np.arange(ROWS) * 7, unit="min"),
            "customer": [f"c{number}" for number in rng.integers(0, CUSTOMERS, ROWS)],
            "basket_eur": np.round(np.exp(rng.normal(3.5 + fraud, 0.8)), 2),
            "items": rng.poisson(2, ROWS) + 1.0,
            "minutes_since_signup": np.exp(rng.normal(9 - 4 * fraud, 2)),
            "distance_km": np.exp(rng.normal(2 + 2.5 * fraud, 1)),
            "failed_logins": rng.poisson(0.2 + 1.5 * fraud).astype(float),
            "charged_back": fraud.astype(int),
            "a column that the contract does not name": "x",
        }
    )


@pytest.fixture(scope="module")
def shop(
    local_cloud: dict[str, str], spark: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, pd.DataFrame]]:
    """A deployment that has learnt from the orders."""
    del spark
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.yaml").write_text(CONTRACT)
    table = orders()
    table.to_csv(folder / "orders.csv.gz", index=False)
    with pytest.MonkeyPatch.context() as patch:
        made = new_deployment(
            patch,
            local_cloud,
            FRAUDIT_CONTRACT=str(folder / "shop.yaml"),
            FRAUDIT_DATASET=str(folder / "orders.csv.gz"),
            FRAUDIT_WORK_DIR=str(folder / "work"),
        )
        outcome = made.run("bootstrap")
        assert outcome.success, outcome.reasons
        yield made, table
        made.close()


def part(shop: Deployment, name: str, folder: Path) -> pd.DataFrame:
    record = shop.records.load(dg.AssetKey(["dataset", name]), Part)
    return pd.concat(map(pd.read_parquet, shop.storage.download_folder(record.uri, folder / name)))


def test_the_manifest_speaks_the_names_of_the_table(shop: tuple[Deployment, pd.DataFrame]) -> None:
    current = shop[0].manifests.current()
    assert current is not None
    manifest = current.document
    assert manifest["contract"]["name"] == "web-shop"
    assert manifest["inputs"] == ["basket_eur", "items", "minutes_since_signup", "distance_km", "failed_logins"]
    assert manifest["amount"] == "basket_eur"
    assert {"log1p": "distance_km"} in manifest["anomaly_detector"]["features"]
    assert endpoints_of(manifest) <= shop[0].endpoints()


def test_the_models_have_learnt_what_there_is_to_learn(shop: tuple[Deployment, pd.DataFrame]) -> None:
    judged = shop[0].judged()
    assert judged.models["xgboost"]["average_precision"] > 0.8
    assert judged.models["random_cut_forest"]["average_precision"] > judged.models["xgboost"]["prevalence"]
    assert judged.fused["expected_cost"] < judged.fused["cost_without_model"]


def test_no_customer_is_on_two_sides_and_no_order_is_lost(
    shop: tuple[Deployment, pd.DataFrame], tmp_path: Path
) -> None:
    made, table = shop
    parts = {name: part(made, name, tmp_path) for name in ("train", "validation", "test")}
    orders_of = [set(frame["order_id"]) for frame in parts.values()]
    assert sum(map(len, orders_of)) == ROWS
    assert set.union(*orders_of) == set(table["order_id"])
    customers = [set(frame["customer"]) for frame in parts.values()]
    assert sum(map(len, customers)) == len(set.union(*customers))


def test_it_retrains_against_its_own_champion(shop: tuple[Deployment, pd.DataFrame]) -> None:
    made, _ = shop
    before = made.serving()
    outcome = made.run("retrain")
    assert outcome.success, outcome.reasons
    champion = made.judged().champion
    assert champion is not None
    assert champion["manifest_version"] == before
    assert made.serving() > before
