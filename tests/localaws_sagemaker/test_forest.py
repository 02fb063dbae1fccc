"""The forest scores and explains as Amazon's own does, whatever the threads and the order of its rows.

Its artefact is trusted in nothing.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from krcf import RandomCutForest as AmazonForest
from localaws.algorithms.forest import Forest, ForestError
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "creditcard_sample.parquet"


def rows_of(count: int, *, seed: int, features: int = 6) -> NDArray[np.float32]:
    """Return rows around one centre, some much farther out than others."""
    generator = np.random.default_rng(seed)
    distance = generator.lognormal(sigma=1, size=(count, 1))
    return (generator.normal(size=(count, features)) * np.linspace(0.5, 3, features) * distance).astype(np.float32)


@pytest.fixture(scope="module")
def forest() -> Forest:
    return Forest.fit(rows_of(4000, seed=1), num_trees=100, num_samples_per_tree=256, seed=0)


@pytest.fixture(scope="module")
def amazons() -> AmazonForest:
    """The package krcf binds aws/random-cut-forest-by-aws; two forests of other seeds agree only up to their sampling noise."""
    forest = AmazonForest(
        {"dimensions": 6, "shingle_size": 1, "num_trees": 100, "sample_size": 256, "random_seed": 7, "output_after": 1}
    )
    for row in np.random.default_rng(3).permutation(rows_of(4000, seed=1)):
        forest.update(row.tolist())
    return forest


def test_scores_agree_with_amazons_own_forest(forest: Forest, amazons: AmazonForest) -> None:
    rows = rows_of(600, seed=2)
    expected = np.array([amazons.score(row.tolist()) for row in rows])
    scores = forest.score(rows)
    assert pd.Series(scores).corr(pd.Series(expected), method="spearman") > 0.98
    assert scores.mean() / expected.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("seed", [pytest.param(2, id="new rows"), pytest.param(1, id="rows of the samples")])
def test_attributions_agree_with_amazons_own_forest(forest: Forest, amazons: AmazonForest, seed: int) -> None:
    rows = rows_of(300, seed=seed)
    expected = np.array(
        [np.add(parts["high"], parts["low"]) for parts in (amazons.attribution(row.tolist()) for row in rows)]
    )
    parts = forest.attribution(rows)
    assert np.corrcoef(parts.ravel(), expected.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(parts.mean(axis=0) / expected.mean(axis=0), 1, atol=0.1)


def test_attributions_of_a_row_sum_to_its_score(forest: Forest) -> None:
    rows = np.concatenate([rows_of(600, seed=2), rows_of(600, seed=1)])
    parts = forest.attribution(rows)
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=1), forest.score(rows), rtol=1e-6)
    np.testing.assert_array_equal(forest.attribution(rows, threads=3), parts)


def test_the_feature_that_is_off_gets_the_score(forest: Forest) -> None:
    row = np.median(rows_of(4000, seed=1), axis=0, keepdims=True)
    row[0, 4] = 60
    parts = forest.attribution(row)[0]
    assert parts.argmax() == 4
    assert parts[4] > 0.8 * parts.sum()


def test_equal_rows_leave_no_feature_to_blame() -> None:
    forest = Forest.fit(np.full((64, 4), 7, np.float32), num_trees=50, num_samples_per_tree=64, seed=0)
    np.testing.assert_allclose(forest.attribution(np.full((1, 4), 7, np.float32)), [[0.125] * 4])


@pytest.mark.parametrize("samples", [pytest.param(20, id="dealt out"), pytest.param(256, id="drawn for each tree")])
def test_neither_files_nor_rows_need_an_order(samples: int) -> None:
    """Spark writes the same rows in another order with each run: the forest must not differ for that."""
    table = rows_of(4000, seed=1)
    table[::10] = table[0]
    table[5] = -0.0
    shuffled = np.random.default_rng(9).permutation(table)
    shuffled[(shuffled == 0).all(axis=1)] = 0.0
    forests = [Forest.fit(rows, num_trees=50, num_samples_per_tree=samples, seed=0) for rows in (table, shuffled)]
    for one, other in zip(forests[0].trees, forests[1].trees, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_forest_that_would_not_fit_into_memory_is_refused() -> None:
    table = np.zeros((2048, 1000), np.float32)
    with pytest.raises(ForestError, match="1000 trees of 2048 rows with 1000 features take 32,"):
        Forest.fit(table, num_trees=1000, num_samples_per_tree=2048, seed=0)


def test_a_row_of_the_sample_scores_by_its_mass() -> None:
    """One distinct row, M times in the sample: (1 - M / 2M) / log2(1 + M) * log2(M + 1) = 1/2."""
    forest = Forest.fit(np.full((64, 3), 7, np.float32), num_trees=50, num_samples_per_tree=64, seed=0)
    np.testing.assert_allclose(forest.score(np.full((1, 3), 7, np.float32)), [0.5])


def test_a_row_outside_of_a_single_point_scores_by_the_mass_alone() -> None:
    """A tree of one leaf: probability of separation 1 at depth 0, so log2(M + 1)."""
    forest = Forest.fit(np.zeros((15, 2), np.float32), num_trees=50, num_samples_per_tree=15, seed=0)
    np.testing.assert_allclose(forest.score(np.ones((1, 2), np.float32)), [4.0])


def test_a_seed_gives_one_forest_on_any_number_of_threads(forest: Forest) -> None:
    again = Forest.fit(rows_of(4000, seed=1), num_trees=100, num_samples_per_tree=256, seed=0)
    other = Forest.fit(rows_of(4000, seed=1), num_trees=100, num_samples_per_tree=256, seed=1)
    rows = rows_of(3000, seed=2)
    scores = forest.score(rows)
    np.testing.assert_array_equal(again.score(rows, threads=3), scores)
    np.testing.assert_array_equal(np.concatenate([forest.score(row[None]) for row in rows[:50]]), scores[:50])
    assert not np.array_equal(other.score(rows), scores)


def test_a_table_smaller_than_a_sample_is_used_whole() -> None:
    forest = Forest.fit(rows_of(20, seed=1), num_trees=50, num_samples_per_tree=256, seed=0)
    assert set(forest.trees.mass[:, 0]) == {20}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_finite_numbers_are_taken(forest: Forest, value: float) -> None:
    row = np.full((1, 6), value, np.float32)
    with pytest.raises(ForestError, match="finite"):
        forest.score(row)
    with pytest.raises(ForestError, match="finite"):
        Forest.fit(row, num_trees=50, num_samples_per_tree=1, seed=0)


def test_a_row_of_another_width_is_refused(forest: Forest) -> None:
    with pytest.raises(ForestError, match="a row has 5 features, the forest was trained on 6"):
        forest.score(np.zeros((1, 5), np.float32))


def test_an_artefact_gives_the_same_scores(forest: Forest, tmp_path: Path) -> None:
    forest.save(tmp_path / "forest.npz")
    rows = rows_of(100, seed=2)
    np.testing.assert_array_equal(Forest.load(tmp_path / "forest.npz").score(rows), forest.score(rows))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("left", 10_000, "points outside", id="child out of range"),
        pytest.param("right", 0, "points outside", id="a cycle"),
        pytest.param("feature", 6, "points outside", id="no such feature"),
    ],
)
def test_an_artefact_that_would_lead_astray_is_refused(
    forest: Forest, tmp_path: Path, field: str, value: int, problem: str
) -> None:
    array = getattr(forest.trees, field).copy()
    array[3, 0] = value
    Forest(forest.trees._replace(**{field: array})).save(tmp_path / "forest.npz")
    with pytest.raises(ForestError, match=problem):
        Forest.load(tmp_path / "forest.npz")


def test_an_artefact_of_another_kind_is_refused(forest: Forest, tmp_path: Path) -> None:
    path = tmp_path / "forest.npz"
    path.write_bytes(b"\x80\x04not an archive")
    with pytest.raises(ForestError, match=r"forest\.npz is not a Random Cut Forest"):
        Forest.load(path)
    np.savez(path, header=np.frombuffer(b"{}", np.uint8), **forest.trees._asdict())
    with pytest.raises(ForestError, match="is not in format"):
        Forest.load(path)
    Forest(forest.trees._replace(mass=forest.trees.mass.astype(np.int64))).save(path)
    with pytest.raises(ForestError, match="mass is int64"):
        Forest.load(path)


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"the real sample is not at {SAMPLE}")
def test_frauds_of_the_real_sample_stand_out() -> None:
    sample = pd.read_parquet(SAMPLE)
    features = (
        sample[[f"V{index}" for index in range(1, 29)]].assign(amount=np.log1p(sample["Amount"])).to_numpy(np.float32)
    )
    natural = np.random.default_rng(0).choice(len(sample), 50_000, p=sample["Weight"] / sample["Weight"].sum())
    forest = Forest.fit(features[natural], num_trees=100, num_samples_per_tree=256, seed=0)
    assert roc_auc_score(sample["Class"], forest.score(features, threads=2), sample_weight=sample["Weight"]) > 0.9
