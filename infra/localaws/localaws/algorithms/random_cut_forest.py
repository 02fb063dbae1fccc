"""SageMaker's built-in Random Cut Forest, as a program under the container contract.

Belongs here: its hyperparameters, channels and request formats. Does not: the forest itself (``forest.py``).

The artefact is this program's own: Amazon's cannot be read outside of its container. Of the request formats, csv and
dense JSON are here; RecordIO is not.
See https://docs.aws.amazon.com/sagemaker/latest/dg/randomcutforest.html.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from localaws.algorithms import hyperparameters, tabular
from localaws.algorithms.container import Answer, Folder, ModelError, RequestError, UserError, main
from localaws.algorithms.forest import Forest, ForestError
from localaws.algorithms.hyperparameters import Hyperparameter, integer, json_list_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARTEFACT = "random_cut_forest.npz"
SEED = 0
"""Amazon's has no seed among its hyperparameters; here one table gives one forest."""

SIGMAS = 3.0
"""A row of the test channel counts as an anomaly where its score is so many standard deviations above their mean
(https://docs.aws.amazon.com/sagemaker/latest/dg/random-cut-forest-tuning.html)."""

HYPERPARAMETERS = {
    "eval_metrics": Hyperparameter(
        json_list_of("accuracy", "precision_recall_fscore"), default=["accuracy", "precision_recall_fscore"]
    ),
    "feature_dim": Hyperparameter(integer(1, 10_000), required=True),
    "num_trees": Hyperparameter(integer(50, 1000), default=100),
    "num_samples_per_tree": Hyperparameter(integer(1, 2048), default=256),
}


CONTENT_TYPES = {"train": "text/csv;label_size=0", "test": "text/csv;label_size=1"}
DISTRIBUTIONS = {"train": "ShardedByS3Key", "test": "FullyReplicated"}

_log = logging.getLogger(__name__)


class RandomCutForest:
    """Training and loading of a forest."""

    def train(self, folder: Folder) -> None:
        """Fit a forest to the ``train`` channel; log how well it finds the anomalies of ``test``, where there is one.

        Raises:
            UserError: A hyperparameter, a channel or its data is wrong.
        """
        values = hyperparameters.check(folder.hyperparameters(), HYPERPARAMETERS)
        channels = folder.channels()
        _check_channels(channels)
        features = values["feature_dim"]
        table = _read(folder, "train", columns=features)
        test = _read(folder, "test", columns=features + 1) if "test" in channels else None
        if test is not None and not np.isin(test[:, 0], (0, 1)).all():
            raise UserError("The test channel: the label, its first column, must be 0 or 1 (an anomaly) in every row")
        try:
            forest = Forest.fit(
                table,
                num_trees=values["num_trees"],
                num_samples_per_tree=values["num_samples_per_tree"],
                seed=SEED,
            )
        except ForestError as error:
            raise UserError(f"The train channel: {error}") from error
        forest.save(folder.model / ARTEFACT)
        _log.info("model saved: %d trees of %d rows", values["num_trees"], forest.trees.mass[0, 0])
        if test is not None:
            try:
                scores = forest.score(test[:, 1:], threads=os.cpu_count() or 1)
            except ForestError as error:
                raise UserError(f"The test channel: {error}") from error
            _log_quality(scores, test[:, 0] == 1, values["eval_metrics"])

    def load(self, model: Path) -> "ForestModel":
        """Load the artefact.

        Raises:
            ModelError: It is missing or broken.
        """
        try:
            forest = Forest.load(model / ARTEFACT)
        except ForestError as error:
            raise ModelError(str(error)) from error
        forest.score(np.zeros((1, forest.feature_dim), np.float32))  # compile now, not in the first request
        _log.info("model loaded: %d trees, %d features", len(forest.trees.mass), forest.feature_dim)
        return ForestModel(forest)


class ForestModel:
    """A forest that answers requests."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest

    def answer(self, body: bytes, *, content_type: str, accept: str) -> Answer:
        """Score the rows of a request as ``{"scores": [{"score": s}, ...]}``.

        Raises:
            RequestError: 415 or 406 for a media type, 400 for a body, that is not supported.
        """
        if accept not in {"", "*/*", "application/json"}:
            raise RequestError(406, f"accept type {accept} not supported; supported: application/json")
        try:
            rows = _parse(body, content_type)
            scores = self._forest.score(rows, threads=os.cpu_count() or 1)
        except ValueError as error:
            raise RequestError(400, f"unable to evaluate payload provided: {error}") from error
        return Answer(orjson.dumps({"scores": [{"score": score} for score in scores.tolist()]}), "application/json")


def _parse(body: bytes, content_type: str) -> "NDArray[np.float32]":
    match content_type:
        case "text/csv":
            return tabular.parse_csv(body)
        case "application/json":
            return _parse_instances(body)
        case _:
            raise RequestError(
                415, f"content-type {content_type or 'absent'} not supported; supported: text/csv, application/json"
            )


def _parse_instances(body: bytes) -> "NDArray[np.float32]":
    try:
        rows = np.array([instance["features"] for instance in orjson.loads(body)["instances"]], np.float32)
    except (KeyError, TypeError) as error:
        raise ValueError(f'expected {{"instances": [{{"features": [...]}}, ...]}}: {error!r}') from error
    if rows.ndim != np.ndim([[]]):
        raise ValueError("expected at least one instance, and flat lists of features")
    return rows


def _check_channels(channels: dict[str, dict[str, Any]]) -> None:
    if "train" not in channels or channels.keys() - CONTENT_TYPES.keys():
        raise UserError(f"Random Cut Forest takes the channels train and test; the job has {sorted(channels)}")
    for name, channel in channels.items():
        if channel["S3DistributionType"] != DISTRIBUTIONS[name]:
            raise UserError(f"S3DataDistributionType of the {name} channel must be {DISTRIBUTIONS[name]}")
        if channel.get("ContentType", "").replace(" ", "").lower() != CONTENT_TYPES[name]:
            raise UserError(
                f"ContentType of the {name} channel must be {CONTENT_TYPES[name]}, not {channel.get('ContentType')!r}"
            )


def _read(folder: Folder, channel: str, *, columns: int) -> "NDArray[np.float32]":
    table = tabular.read_folder(folder.data(channel), channel=channel)
    if table.shape[1] != columns:
        raise UserError(
            f"The {channel} channel has {table.shape[1]} columns, not {columns}: feature_dim"
            f"{' and the label' if channel == 'test' else ''}"
        )
    _log.info("%s channel: %d rows", channel, len(table))
    return table


def _log_quality(scores: "NDArray[np.float64]", anomalies: "NDArray[np.bool_]", metrics: list[str]) -> None:
    """Log how the three-sigma rule on (n,) scores agrees with (n,) labels; only F1 is a metric of the job, as on AWS."""
    found = scores > scores.mean() + SIGMAS * scores.std()
    if "accuracy" in metrics:
        _log.info("test accuracy: %.6f", (found == anomalies).mean())
    if "precision_recall_fscore" in metrics:
        negative, positive = _precision_recall_f1(~found, ~anomalies), _precision_recall_f1(found, anomalies)
        _log.info("test negative precision: %.6f, recall: %.6f, f1: %.6f", *negative)
        _log.info("test positive precision: %.6f, recall: %.6f, f1: %.6f", *positive)
        _log.info("#quality_metric: host=algo-1, test f1 <score>=%s", positive[2])


def _precision_recall_f1(found: "NDArray[np.bool_]", actual: "NDArray[np.bool_]") -> tuple[float, float, float]:
    hits, all_found, all_actual = int((found & actual).sum()), int(found.sum()), int(actual.sum())
    return hits / max(all_found, 1), hits / max(all_actual, 1), 2 * hits / max(all_found + all_actual, 1)


if __name__ == "__main__":
    sys.exit(main(RandomCutForest(), name="random_cut_forest", unused=("pandas", "scipy")))
