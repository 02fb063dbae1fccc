"""The synthetic table has the real one's schema, size and difficulty, and depends on its arguments alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster import synthetic
from fraudit_dagster.contract import load_contract
from fraudit_dagster.synthetic import CHUNK_ROWS, SyntheticError, write_synthetic
from fraudit_dagster.tables import read_table


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("synthetic") / "table.parquet"
    write_synthetic(path)
    return read_table(path, load_contract())


def test_it_is_a_table_of_the_shipped_contract(full_size: pd.DataFrame) -> None:
    assert (len(full_size), full_size["Class"].sum()) == (284_807, 492)
    assert 5 <= full_size.duplicated().sum() <= 40
    assert list(full_size) == list(synthetic.COLUMNS)
    assert np.isfinite(full_size.to_numpy()).all()
    assert full_size["Amount"].min() == 0.0
    assert full_size["Amount"].median() == pytest.approx(22, abs=3)


def test_two_days_in_order_busy_by_day_with_frauds_all_over(full_size: pd.DataFrame) -> None:
    time = full_size["Time"]
    assert time.is_monotonic_increasing
    assert time.min() >= 0
    assert 172_000 < time.max() < 2 * 86_400
    per_hour = (time % 86_400 // 3600).value_counts()
    assert per_hour[15] > 5 * per_hour[4]
    frauds_per_tenth = np.add.reduceat(
        full_size["Class"].to_numpy(), np.arange(0, len(full_size), len(full_size) // 10 + 1)
    )
    assert frauds_per_tenth.min() >= 30


def test_it_is_as_hard_as_the_real_data(full_size: pd.DataFrame) -> None:
    import xgboost as xgb
    from localaws.algorithms.forest import Forest
    from sklearn.metrics import average_precision_score, roc_auc_score

    contract = load_contract()
    train, validation, test = full_size[:199_364], full_size[199_364:242_085], full_size[242_085:]
    label = contract.label

    trees = xgb.XGBClassifier(
        n_estimators=80, max_depth=5, learning_rate=0.1, early_stopping_rounds=20, eval_metric="aucpr", n_jobs=2
    )
    matrix = contract.models.xgboost.apply
    trees.fit(matrix(train), train[label], eval_set=[(matrix(validation), validation[label])], verbose=False)
    proba = trees.predict_proba(matrix(test))[:, 1]
    assert 0.7 < average_precision_score(test[label], proba) < 0.9
    assert roc_auc_score(test[label], proba) > 0.95

    matrix = contract.models.random_cut_forest.apply
    forest = Forest.fit(matrix(train).astype(np.float32), num_trees=100, num_samples_per_tree=256, seed=0)
    score = forest.score(matrix(test).astype(np.float32), threads=2)
    assert 0.92 < roc_auc_score(test[label], score) < 0.97
    assert 0.1 < average_precision_score(test[label], score) < 0.35


def test_the_same_arguments_give_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, rows=2_000, frauds=10, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_chunks_add_up_and_stay_in_order(tmp_path: Path) -> None:
    steps: list[int] = []
    write_synthetic(tmp_path / "t", rows=CHUNK_ROWS + 7, frauds=3, progress=steps.append)
    assert steps == [CHUNK_ROWS, CHUNK_ROWS + 7]
    table = pd.read_parquet(tmp_path / "t")
    assert len(table) == CHUNK_ROWS + 7
    assert table["Class"].sum() == 3
    assert table["Time"].is_monotonic_increasing


def test_memory_is_that_of_a_chunk_not_of_the_table(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from fraudit_dagster import synthetic\n"
        "synthetic.CHUNK_ROWS = 4_096\n"
        "synthetic.write_synthetic(Path(sys.argv[1]), rows=int(sys.argv[2]), frauds=0)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks_kb = [
        int(subprocess.check_output([sys.executable, "-c", program, tmp_path / "t", str(rows)], timeout=120))
        for rows in (8_192, 163_840)
    ]
    table_kb = 163_840 * len(synthetic.COLUMNS) * 8 / 1024
    assert peaks_kb[1] - peaks_kb[0] < table_kb / 3


@pytest.mark.parametrize(("rows", "frauds"), [(1, 0), (1, 1), (10, 10), (100, 37)])
def test_small_tables_are_exact_as_well(tmp_path: Path, rows: int, frauds: int) -> None:
    write_synthetic(tmp_path / "t", rows=rows, frauds=frauds)
    table = pd.read_parquet(tmp_path / "t")
    assert (len(table), table["Class"].sum()) == (rows, frauds)


@pytest.mark.parametrize(("rows", "frauds"), [(0, 0), (10, 11), (10, -1)])
def test_an_impossible_table_is_refused(tmp_path: Path, rows: int, frauds: int) -> None:
    with pytest.raises(SyntheticError, match=f"rows={rows}, frauds={frauds}"):
        write_synthetic(tmp_path / "t", rows=rows, frauds=frauds)


def test_a_broken_off_table_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "t", rows=100, frauds=1, progress=stop)
    assert list(tmp_path.iterdir()) == []
