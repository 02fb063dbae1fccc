"""The models that are judged: through the embedded SageMaker as the graph does it, or by the same library without a container.

Belongs here: fitting and scoring. Does not: how good the scores are (``benchmarks/quality.py``).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import xgboost as xgb
from localaws.algorithms.forest import Forest
from numpy.typing import NDArray

from benchmarks import servers
from benchmarks.quality_data import Parts, Rows, natural_sample
from fraudit_dagster.records import Algorithm
from resources.sagemaker import SageMaker
from resources.storage import Storage

BUCKET = "quality"
ROLE = f"arn:aws:iam::{servers.ACCOUNT}:role/quality"
JOB = {"num_round", "early_stopping_rounds", "csv_weights"}
"""Hyperparameters of the container that are none of the library."""


@dataclass
class Cloud:
    """The embedded SageMaker, and a bucket for its channels."""

    sagemaker: SageMaker
    storage: Storage
    folder: Path
    jobs: int = 0

    def scores(
        self,
        algorithm: Algorithm,
        hyperparameters: Mapping[str, str],
        channels: Mapping[str, NDArray[np.float64]],
        asked: Mapping[str, NDArray[np.float32]],
    ) -> dict[str, NDArray[np.float64]]:
        """Train on the channels' tables, deploy, score tables through the endpoint, and delete it."""
        self.jobs += 1
        name = f"{algorithm.replace('_', '-')}-{self.jobs}"
        forest = algorithm == "random_cut_forest"
        described = {
            "content_type": "text/csv;label_size=0" if forest else "text/csv",
            "distribution": "ShardedByS3Key" if forest else "FullyReplicated",
        }
        result = self.sagemaker.train(
            name=name,
            image=self.sagemaker.image(algorithm),
            hyperparameters=hyperparameters,
            channels={
                key: {"uri": self._uploaded(table, f"{name}/{key}"), **described} for key, table in channels.items()
            },
            output_uri=f"s3://{BUCKET}/models",
            on_status=lambda _: None,
        )
        endpoint = self.sagemaker.deploy(
            algorithm=algorithm,
            version=str(self.jobs),
            image=self.sagemaker.image(algorithm),
            artifact_uri=result.artifact_uri,
        )
        try:
            return {key: self.sagemaker.score(endpoint, table) for key, table in asked.items()}
        finally:
            self.sagemaker.delete_endpoint(endpoint)

    def _uploaded(self, table: NDArray[np.float64], name: str) -> str:
        path = self.folder / f"{name.replace('/', '-')}.csv"
        columns = {str(index): column for index, column in enumerate(table.T)}
        pa_csv.write_csv(pa.table(columns), path, pa_csv.WriteOptions(include_header=False))
        self.storage.upload(path, f"s3://{BUCKET}/{name}/part-0.csv")
        path.unlink()
        return f"s3://{BUCKET}/{name}"


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """Run the embedded S3 and SageMaker until the block is left."""
    with servers.moto(folder) as s3, servers.localaws("sagemaker", folder, AWS_ENDPOINT_URL=s3) as (url, _):
        ours = servers.environment(
            AWS_ENDPOINT_URL=s3, AWS_ENDPOINT_URL_SAGEMAKER=url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=url
        )
        with patch.dict(os.environ, ours):
            servers.client("s3", s3).create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": servers.REGION}
            )
            storage = Storage(region=servers.REGION, data_bucket=BUCKET, stream_bucket=BUCKET, model_bucket=BUCKET)
            yield Cloud(SageMaker(region=servers.REGION, role_arn=ROLE, solution_prefix="quality"), storage, folder)


def channel(rows: Rows, matrix: NDArray[np.float32], part: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a table as the classifier's container takes it: label, weight, features."""
    return np.column_stack([rows.label[part], rows.weight[part], matrix[part]]).astype(np.float64)


def boost(
    rows: Rows,
    matrix: NDArray[np.float32],
    hyperparameters: Mapping[str, Any],
    *,
    train: NDArray[np.int64],
    validation: NDArray[np.int64] | None,
) -> xgb.Booster:
    """Fit boosted trees as the container does; with ``validation``, only the rounds up to the best one are kept."""

    def data(part: NDArray[np.int64]) -> xgb.DMatrix:
        return xgb.DMatrix(matrix[part], rows.label[part], weight=rows.weight[part], nthread=1)

    values = {key: value for key, value in hyperparameters.items() if key not in JOB}
    watched, callbacks = [], []
    if validation is not None:
        watched = [(data(validation), "validation")]
        stop = int(hyperparameters["early_stopping_rounds"])
        callbacks = [xgb.callback.EarlyStopping(rounds=stop, data_name="validation", save_best=True)]
    return xgb.train(
        {**values, "nthread": 1},
        data(train),
        num_boost_round=int(hyperparameters["num_round"]),
        evals=watched,
        callbacks=callbacks,
        verbose_eval=False,
    )


def predict(booster: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities, (n,)."""
    return np.asarray(booster.inplace_predict(matrix), np.float64)


def forest_scores(
    rows: Rows, matrix: NDArray[np.float32], parts: Parts, *, trees: int, samples: int, seed: int
) -> NDArray[np.float64]:
    """Fit a forest on the train part at natural prevalence and return the anomaly scores of the test part."""
    sample = natural_sample(rows, parts.train, seed=seed)
    forest = Forest.fit(matrix[sample], num_trees=trees, num_samples_per_tree=samples, seed=0)
    return forest.score(matrix[parts.test], threads=os.cpu_count() or 1)
