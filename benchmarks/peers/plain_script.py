"""The script that people write instead of a graph: pandas, xgboost and the same forest, in one process, no endpoint, no gate.

Usage: ``plain_script.py TABLE``. Prints one JSON object: seconds by step, and the average precision of the classifier.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost as xgb
from localaws.algorithms.forest import Forest
from sklearn.metrics import average_precision_score

FEATURES = [f"V{number}" for number in range(1, 29)]
BOOSTING = {
    "objective": "binary:logistic",
    "eval_metric": "aucpr",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 5,
}


def main(path: Path) -> None:
    """Read, split by time, fit both models, score the test part."""
    threads = os.cpu_count() or 1
    marks = [("", time.perf_counter())]

    def done(step: str) -> None:
        marks.append((step, time.perf_counter()))

    table = pd.read_parquet(path)
    done("read")
    first, second = table["Time"].quantile([0.7, 0.85])
    train = table[table["Time"] < first]
    validation = table[(table["Time"] >= first) & (table["Time"] < second)]
    test = table[table["Time"] >= second]
    done("split")
    columns = [*FEATURES, "Amount"]
    matrices = {
        name: xgb.DMatrix(part[columns], part["Class"])
        for name, part in {"train": train, "validation": validation, "test": test}.items()
    }
    booster = xgb.train(
        BOOSTING,
        matrices["train"],
        num_boost_round=500,
        evals=[(matrices["validation"], "validation")],
        early_stopping_rounds=50,
        verbose_eval=False,
    )
    done("model xgboost")
    seen = {
        name: np.column_stack([part[FEATURES], np.log1p(part["Amount"])]).astype(np.float32)
        for name, part in {"train": train, "test": test}.items()
    }
    forest = Forest.fit(seen["train"], num_trees=100, num_samples_per_tree=256, seed=0)
    done("model random cut forest")
    scores = booster.predict(matrices["test"], iteration_range=(0, booster.best_iteration + 1))
    forest.score(seen["test"], threads=threads)
    precision = float(average_precision_score(test["Class"], scores))
    done("score")
    steps = {step: end - start for (_, start), (step, end) in itertools.pairwise(marks)}
    print(json.dumps({"steps": steps, "average_precision": precision}))  # noqa: T201 - its result


if __name__ == "__main__":
    main(Path(sys.argv[1]))
