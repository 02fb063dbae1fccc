"""Tables and models to measure with.

Belongs here: what more than one subject needs. Does not: real transactions; speed depends on the shape, not on who paid.
"""

from pathlib import Path

import numpy as np
import xgboost as xgb
from localaws.algorithms.forest import Forest
from localaws.algorithms.random_cut_forest import ARTEFACT as FOREST_ARTEFACT
from localaws.algorithms.xgboost_container import ARTEFACT as XGBOOST_ARTEFACT
from numpy.typing import NDArray

FEATURES = 30
TREES = 100
SAMPLES = 256
BOOSTING_ROUNDS = 100
MODEL_ROWS = 20_000


def table(rows: int, *, seed: int) -> NDArray[np.float32]:
    """Return (rows, 30): around one centre with a scale for each feature, some rows much farther out than others."""
    generator = np.random.default_rng(seed)
    distance = generator.lognormal(sigma=0.7, size=(rows, 1))
    scales = np.linspace(0.5, 3, FEATURES)
    return (generator.normal(size=(rows, FEATURES)) * scales * distance).astype(np.float32)


def write_models(folder: Path) -> None:
    """Write ``forest/`` and ``xgboost/`` below a folder, each as a training job leaves its model."""
    rows = table(MODEL_ROWS, seed=1)
    (folder / "forest").mkdir(parents=True)
    Forest.fit(rows, num_trees=TREES, num_samples_per_tree=SAMPLES, seed=0).save(folder / "forest" / FOREST_ARTEFACT)
    distance = np.linalg.norm(rows, axis=1)
    labels = (distance + rows[:, 0] > np.quantile(distance, 0.9)).astype(np.float32)
    booster = xgb.train(
        {"objective": "binary:logistic", "max_depth": 5, "nthread": 2, "seed": 0},
        xgb.DMatrix(rows, label=labels),
        BOOSTING_ROUNDS,
    )
    (folder / "xgboost").mkdir()
    (folder / "xgboost" / XGBOOST_ARTEFACT).write_bytes(booster.save_raw("ubj"))
