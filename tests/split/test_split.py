"""Who goes to which side, and what each model's container finds in its channel."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import Contract
from fraudit_dagster.drift import profile_of
from fraudit_dagster.sides import PARTS
from fraudit_dagster.split import SplitError, SplitPart, split_table
from fraudit_dagster.staging import stage_table
from fraudit_dagster.tables import TableError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark's collect() leaves its local socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

ROWS = 200


def contract(by: str, **roles: Any) -> Contract:
    return Contract.model_validate(
        {
            "name": "small",
            "inputs": ["V1", "Amount"],
            "label": "Class",
            "amount": "Amount",
            "weight": {"column": "Weight", "optional": True},
            "split": {"by": by, "validation": 0.2, "test": 0.1},
            "models": {
                "xgboost": {"features": ["V1", "Amount"]},
                "random_cut_forest": {"features": [{"log1p": "Amount"}]},
            },
            **roles,
        }
    )


def transactions(rows: int = ROWS) -> pd.DataFrame:
    """Every second one a fraud, in an order that is not that of time."""
    number = np.random.default_rng(0).permutation(rows)
    return pd.DataFrame({"V1": number / 8, "Amount": number % 50 + 0.25, "Class": number % 2, "at": number})


def save(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame in the format that the name says."""
    if path.name.lower().endswith(".parquet"):
        frame.to_parquet(path)
    else:
        text = frame.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def split(
    spark: "SparkSession",
    frame: pd.DataFrame,
    how: Contract,
    folder: Path,
    *,
    name: str = "table.csv",
    shuffled: int = 0,
    files: int = 1,
) -> dict[str, SplitPart]:
    """Split a frame that arrived as so many files, and that Spark reads in so many partitions."""
    arrived = {}
    for index in range(files):
        (folder / str(index)).mkdir()
        arrived[str(index)] = save(frame[index::files], folder / str(index) / name)
    staged = stage_table(arrived, how, folder / "staged")
    table = spark.read.parquet(str(staged.folder))
    return split_table(
        table.repartition(shuffled) if shuffled else table, how, folder / "parts", rows=staged.counts.rows
    )


def table_of(part: SplitPart) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in part.table.glob("*.parquet")], ignore_index=True)


def csv_of(folder: Path) -> list[tuple[float, ...]]:
    tables = [pd.read_csv(path, header=None) for path in folder.glob("*.csv")]
    return sorted(pd.concat(tables).itertuples(index=False, name=None))


def values(part: SplitPart, column: str = "V1") -> set[Any]:
    return set(table_of(part)[column])


def test_by_time_the_oldest_train_and_the_newest_judge(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions()
    parts = split(spark, frame, contract("time", time="at"), tmp_path)
    oldest_first = frame.sort_values("at")
    for name, first, last in (("train", 0, 140), ("validation", 140, 180), ("test", 180, 200)):
        expected = oldest_first[first:last]
        assert values(parts[name]) == set(expected["V1"])
        assert (parts[name].counts.rows, parts[name].counts.frauds) == (len(expected), expected["Class"].sum())

    train = oldest_first[:140]
    assert csv_of(parts["train"].channels["xgboost"]) == sorted(
        zip(train["Class"], train["V1"], train["Amount"], strict=True)
    )
    logarithms = [row[0] for row in csv_of(parts["train"].channels["random_cut_forest"])]
    assert logarithms == pytest.approx(sorted(np.log1p(train["Amount"])), rel=1e-14)
    assert len(csv_of(parts["validation"].channels["xgboost"])) == 40
    assert set(parts["validation"].channels) == {"xgboost"}
    assert not parts["test"].channels


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("table.csv", "ISO 8601"),
        ("table.csv", "seconds"),
        ("table.parquet", "seconds"),
        ("table.parquet", "datetime64[ns, UTC]"),
        ("table.parquet", "datetime64[us]"),
    ],
)
def test_time_is_seconds_or_a_timestamp(spark: "SparkSession", tmp_path: Path, name: str, kind: str) -> None:
    frame = transactions()
    oldest = set(frame[frame["at"] < 140]["V1"])
    if kind != "seconds":
        frame["at"] = pd.to_datetime("2026-01-01T00:00:00Z") + pd.to_timedelta(frame["at"], unit="h")
        frame["at"] = (
            frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ") if kind == "ISO 8601" else frame["at"].dt.tz_convert(None)
        )
        if kind.startswith("datetime"):
            frame["at"] = frame["at"].dt.tz_localize("UTC" if "UTC" in kind else None).astype(kind)
    assert values(split(spark, frame, contract("time", time="at"), tmp_path, name=name)["train"]) == oldest


def test_a_time_that_is_neither_is_shown(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().assign(at="yesterday")
    with pytest.raises(TableError, match="column at: seconds or a timestamp are expected; line 2 holds 'yesterday'"):
        split(spark, frame, contract("time", time="at"), tmp_path)


@pytest.fixture(scope="module")
def random_sides(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    parts = split(spark, transactions(), contract("random"), tmp_path_factory.mktemp("random"))
    return {name: values(part) for name, part in parts.items()}


def test_a_random_split_keeps_its_shares(random_sides: dict[str, set[int]]) -> None:
    assert [len(random_sides[name]) for name in PARTS] == pytest.approx([140, 40, 20], abs=15)
    assert set.union(*random_sides.values()) == set(transactions()["V1"])


@pytest.mark.parametrize(("name", "shuffled"), [("table.csv.gz", 0), ("TABLE.PARQUET", 0), ("table.csv", 7)])
def test_a_row_has_its_side_whatever_the_format_the_order_and_the_partitions(
    spark: "SparkSession", tmp_path: Path, random_sides: dict[str, set[int]], name: str, shuffled: int
) -> None:
    frame = transactions().iloc[::-1].rename(columns={"at": "ignored"})
    parts = split(spark, frame, contract("random"), tmp_path, name=name, shuffled=shuffled)
    assert {side: values(part) for side, part in parts.items()} == random_sides


def test_more_rows_move_no_row_to_another_side(
    spark: "SparkSession", tmp_path: Path, random_sides: dict[str, set[int]]
) -> None:
    more = transactions(2 * ROWS)
    parts = split(spark, more, contract("random"), tmp_path)
    known = set(transactions()["V1"])
    assert {side: values(part) & known for side, part in parts.items()} == random_sides


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_group_stays_together_and_so_do_exact_duplicates(spark: "SparkSession", tmp_path: Path, name: str) -> None:
    frame = transactions().assign(card=lambda rows: rows["at"] % 60)
    frame = pd.concat([frame, frame[:50]])
    by_random = split(spark, frame, contract("random", group="card"), tmp_path, name=name)
    cards = {side: values(part, "card") for side, part in by_random.items()}
    assert sum(map(len, cards.values())) == 60
    assert "17" in set.union(*cards.values())


def test_exact_duplicates_share_a_side_without_a_group(spark: "SparkSession", tmp_path: Path) -> None:
    frame = pd.concat([transactions(), transactions()])
    parts = split(spark, frame, contract("random"), tmp_path)
    assert sum(len(values(part)) for part in parts.values()) == ROWS


def test_by_time_a_group_goes_where_its_first_transaction_goes(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().assign(card=lambda rows: rows["at"] // 10 % 19)
    parts = split(spark, frame, contract("time", time="at", group="card"), tmp_path)
    cards = {side: {int(card) for card in values(part, "card")} for side, part in parts.items()}
    assert cards == {"train": set(range(14)), "validation": set(range(14, 18)), "test": {18}}


def test_a_column_decides(spark: "SparkSession", tmp_path: Path) -> None:
    sides = np.resize(["train", "train", "validation", "validation", "test", "test"], ROWS)
    frame = transactions().sort_values("at").assign(side=sides)
    parts = split(spark, frame, contract("side"), tmp_path)
    for name in PARTS:
        assert values(parts[name]) == set(frame[frame["side"] == name]["V1"])


def test_every_wrong_side_is_said_at_once(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().sort_values("at")
    frame["side"] = np.where(frame["Class"] == 1, "train", "validation")
    frame.loc[frame["at"] < 10, "side"] = [f"hold-out-{number}" for number in range(10)]
    with pytest.raises(SplitError) as caught:
        split(spark, frame, contract("side"), tmp_path)
    assert str(caught.value) == (
        "the split fails: 'hold-out-0', 'hold-out-1', 'hold-out-2' and others: no side (train, validation or test)"
    )


def test_a_side_without_rows_and_one_without_frauds_are_said_at_once(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions()
    frame["side"] = np.where(frame["Class"] == 1, "train", "validation")
    with pytest.raises(SplitError) as caught:
        split(spark, frame, contract("side"), tmp_path)
    assert str(caught.value) == "the split fails: test has no rows; validation has no frauds among its 100 rows"


def test_a_row_without_a_time_has_no_side(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().astype({"at": float})
    frame.loc[[3, 5], "at"] = None
    with pytest.raises(SplitError, match="column at: 2 rows have no time"):
        split(spark, frame, contract("time", time="at"), tmp_path)


def test_a_value_outside_a_transform_is_shown(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().assign(Amount=lambda rows: rows["Amount"] - 2)
    with pytest.raises(SplitError, match=r"log1p\(Amount\): log1p needs values above -1, the table holds -1.75"):
        split(spark, frame, contract("random"), tmp_path)


def test_weights_reach_the_classifier_and_give_the_forest_the_natural_prevalence(
    spark: "SparkSession", tmp_path: Path
) -> None:
    frame = transactions(6000).assign(Weight=lambda rows: np.where(rows["Class"] == 1, 1.0, 10.0))
    frame["Amount"] = frame["Class"] + 1  # so that the forest's rows tell what they are
    parts = split(spark, frame, contract("random"), tmp_path)
    train = table_of(parts["train"])
    assert parts["train"].counts.prevalence == pytest.approx(1 / 11, rel=0.05)
    weighted = zip(train["Class"], train["Weight"], train["V1"], train["Amount"], strict=True)
    assert csv_of(parts["train"].channels["xgboost"]) == sorted(weighted)

    amount = parts["train"].profiles["Amount"]
    assert amount.edges[1] == 1.5
    assert amount.below[1] == pytest.approx(10 / 11, rel=0.01), "rows count with their weight"

    kept = [round(float(np.expm1(row[0]))) for row in csv_of(parts["train"].channels["random_cut_forest"])]
    good, frauds = (train["Class"] == 0).sum(), (train["Class"] == 1).sum()
    assert kept.count(1) == good
    assert kept.count(2) == pytest.approx(frauds / 10, rel=0.2)


def test_weights_that_some_files_lack_are_refused(tmp_path: Path) -> None:
    first = save(transactions().assign(Weight=2.0), tmp_path / "first.csv")
    second = save(transactions(), tmp_path / "second.csv")
    with pytest.raises(TableError) as caught:
        stage_table({"first": first, "second": second}, contract("random"), tmp_path / "staged")
    assert str(caught.value) == (
        "second: not the columns of first: Weight is absent and was double; files of one table must be alike"
    )


def in_order(folder: Path) -> list[str]:
    """The text of every file, by its name."""
    return [f"{path.name}\n{path.read_text()}" for path in sorted(folder.glob("*.csv"))]


@pytest.mark.parametrize("by", ["time", "random", "side"])
@pytest.mark.parametrize("grouped", [False, True], ids=["", "group"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weight"])
@pytest.mark.parametrize("named", [False, True], ids=["", "id"])
def test_the_same_table_gives_the_same_files_whatever_its_order_files_and_partitions(
    spark: "SparkSession",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    grouped: bool,
    weighted: bool,
    named: bool,
) -> None:
    monkeypatch.setattr("fraudit_dagster.split.ROWS_PER_FILE", 100)
    frame = transactions().assign(
        card=lambda rows: rows["at"] // 4, side=lambda rows: np.resize(np.repeat(PARTS, 4), ROWS)[rows["at"]]
    )
    if weighted:
        frame["Weight"] = 1.0 + frame["Class"]
    frame = pd.concat([frame, frame[::9]], ignore_index=True).assign(tx=lambda rows: [f"t{n}" for n in rows.index])
    roles = {"time": "at"} | ({"group": "card"} if grouped else {}) | ({"id": "tx"} if named else {})
    how = contract(by, **roles)

    def written(name: str, rows: pd.DataFrame, **layout: int) -> dict[Any, Any]:
        (tmp_path / name).mkdir()
        parts = split(spark, rows, how, tmp_path / name, **layout)  # type: ignore[arg-type]
        found: dict[Any, Any] = {
            (side, a): in_order(csv) for side, part in parts.items() for a, csv in part.channels.items()
        }
        sides = [values(part) for part in parts.values()]
        assert sum(map(len, sides)) == ROWS, "a row and its duplicate are on one side"
        cards = [values(part, "card") for part in parts.values()] if grouped else []
        assert not cards or sum(map(len, cards)) == 50, "a card is on one side"
        return {**found, "sides": sides, "medians": parts["train"].medians}

    once = written("once", frame)
    assert len(once["train", "xgboost"]) == 3
    assert written("again", frame.sample(frac=1, random_state=1), shuffled=7, files=3) == once


def test_training_rows_are_not_in_the_order_of_time(spark: "SparkSession", tmp_path: Path) -> None:
    parts = split(spark, transactions().sort_values("at"), contract("time", time="at"), tmp_path)
    moments = table_of(parts["train"])["at"]
    assert abs(moments.corr(pd.Series(range(len(moments))))) < 0.3


def test_ties_at_a_border_are_on_one_side(spark: "SparkSession", tmp_path: Path) -> None:
    frame = transactions().assign(at=lambda rows: rows["at"] // 30)
    parts = split(spark, frame, contract("time", time="at"), tmp_path)
    moments = [values(part, "at") for part in parts.values()]
    assert sum(map(len, moments)) == frame["at"].nunique()


def test_medians_and_profiles_are_those_of_the_training_rows(spark: "SparkSession", tmp_path: Path) -> None:
    parts = split(spark, transactions(), contract("random"), tmp_path)
    train = table_of(parts["train"])[["V1", "Amount"]]
    medians = {name: part.medians for name, part in parts.items()}
    assert medians == {"train": train.median().to_dict(), "validation": {}, "test": {}}
    profiles = {name: part.profiles for name, part in parts.items()}
    assert profiles == {
        "train": {name: profile_of(train[name]) for name in ("V1", "Amount")},
        "validation": {},
        "test": {},
    }
