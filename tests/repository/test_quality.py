"""The study of quality: divisions that leak nothing, intervals that do not promise too much, tables as they are written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assets.training import XGBoostConfig
from benchmarks.quality_data import Estimate, Means, Rows, difference, divide, interval, natural_sample, rows_of, shown
from benchmarks.quality_models import boost, predict
from benchmarks.report import Report, markdown
from fraudit_dagster.evaluation import evaluate


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """A small synthetic table of which some rows, frauds among them, are there twice, and good ones count tenfold."""
    with rows_of(None, quick=True) as made:
        twice = made.table.sort_values("Class", ascending=False, kind="stable").head(200)
        table = pd.concat([made.table, twice], ignore_index=True)
        table["Weight"] = np.where(table["Class"] == 1, 1.0, 10.0)
        path = tmp_path_factory.mktemp("quality") / "table.parquet"
        table.to_parquet(path)
    with rows_of(path, quick=True) as given:
        return given


def test_a_division_leaves_no_row_out_and_none_on_two_sides(rows: Rows) -> None:
    parts = divide(rows, seed=0)
    everyone = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(everyone), np.arange(len(rows.table)))
    sides = [set(rows.group[part]) for part in (parts.train, parts.validation, parts.test)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    shares = [rows.label[part].mean() for part in (parts.train, parts.validation, parts.test)]
    assert shares == pytest.approx([rows.label.mean()] * 3, rel=0.35)


def test_a_division_is_its_seeds(rows: Rows) -> None:
    assert np.array_equal(divide(rows, seed=1).test, divide(rows, seed=1).test)
    assert not np.array_equal(divide(rows, seed=1).test, divide(rows, seed=2).test)


def test_the_forest_sees_frauds_as_rarely_as_they_are(rows: Rows) -> None:
    everyone = np.arange(len(rows.table))
    kept = natural_sample(rows, everyone, seed=0)
    good, frauds = (rows.label[kept] == 0).sum(), (rows.label[kept] == 1).sum()
    assert good == (rows.label == 0).sum()
    assert frauds == pytest.approx((rows.label == 1).sum() / 10, rel=0.5)


def test_a_model_fitted_without_a_container_is_early_stopped_and_useful(rows: Rows) -> None:
    parts, matrix = divide(rows, seed=0), rows.classifier_matrix()
    hyperparameters = XGBoostConfig(num_round=40, early_stopping_rounds=5).hyperparameters(weighted=True)
    booster = boost(rows, matrix, hyperparameters, train=parts.train, validation=parts.validation)
    assert booster.num_boosted_rounds() <= 40
    scores = predict(booster, matrix[parts.test])
    assert evaluate(rows.label[parts.test], scores, rows.weight[parts.test]).average_precision > 0.5


def test_an_interval_is_wider_than_that_of_independent_divisions() -> None:
    values = np.random.default_rng(0).normal(5, 1, 10)
    estimate = Estimate.of(values.tolist())
    plain = 2.262 * values.std(ddof=1) / np.sqrt(10)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.high - estimate.mean == pytest.approx(plain * np.sqrt((1 / 10 + 0.15 / 0.7) * 10), rel=1e-3)


def test_means_and_differences_as_they_are_written() -> None:
    ours, other = [{"cost": 11.0}, {"cost": 13.0}], [{"cost": 10.0}, {"cost": 12.0}]
    assert difference(ours, other, "cost") == "+1.000 (+1.000 to +1.000)"
    assert shown(ours, "cost").startswith("12.0 (")
    assert interval([0.5, 0.5]) == "0.500 (0.500 to 0.500)"


def test_a_table_of_means_has_neither_units_nor_goals() -> None:
    table = Means("models", ("average precision",), (), ("A note.",), cells=[["ours", "0.8 (0.7 to 0.9)"]])
    text = markdown(replace(Report("quality", "Quality", ("numpy",), ()), tables=[table]))
    assert "| models | average precision |\n|---|---:|\n| ours | 0.8 (0.7 to 0.9) |\n\n- A note." in text


def test_a_table_made_here_is_called_synthetic(rows: Rows) -> None:
    assert Path(rows.name).suffix == ".parquet"
    with rows_of(None, quick=True) as made:
        assert "synthetic" in made.name
