"""SageMaker's built-in Random Cut Forest, as a program under the container contract.

Belongs here: its hyperparameters, channels and request formats. Does not: the forest itself (``forest.py``).

The artefact is this program's own: Amazon's cannot be read outside of its container. Of the request formats, csv and
dense JSON are here; RecordIO and the test channel are not.
See https://docs.aws.amazon.com/sagemaker/latest/dg/randomcutforest.html.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from localaws.algorithms import hyperparameters, tabular
from localaws.algorithms.container import Answer, Folder, ModelError, RequestError, UserError, main
from localaws.algorithms.forest import Forest, ForestError
from localaws.algorithms.hyperparameters import Hyperparameter, integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARTEFACT = "random_cut_forest.npz"
SEED = 0
"""Amazon's has no seed among its hyperparameters; here one table gives one forest."""

HYPERPARAMETERS = {
    "feature_dim": Hyperparameter(integer(1, 10_000), required=True),
    "num_trees": Hyperparameter(integer(50, 1000), default=100),
    "num_samples_per_tree": Hyperparameter(integer(1, 2048), default=256),
}


class RandomCutForest:
    """Training and loading of a forest."""

    def train(self, folder: Folder) -> None:
        """Fit a forest to the ``train`` channel.

        Raises:
            UserError: A hyperparameter, the channel or its data is wrong.
        """
        values = hyperparameters.check(folder.hyperparameters(), HYPERPARAMETERS)
        _check_channels(folder.channels())
        table = tabular.read_folder(folder.data("train"), channel="train")
        if table.shape[1] != values["feature_dim"]:
            raise UserError(f"The train channel has {table.shape[1]} columns, feature_dim is {values['feature_dim']}")
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
        reply = {"scores": [{"score": score} for score in scores.tolist()]}
        return Answer(json.dumps(reply, separators=(",", ":")).encode(), "application/json")


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
        rows = np.array([instance["features"] for instance in json.loads(body)["instances"]], np.float32)
    except (KeyError, TypeError) as error:
        raise ValueError(f'expected {{"instances": [{{"features": [...]}}, ...]}}: {error!r}') from error
    if rows.ndim != np.ndim([[]]):
        raise ValueError("expected at least one instance, and flat lists of features")
    return rows


def _check_channels(channels: dict[str, dict[str, Any]]) -> None:
    if set(channels) != {"train"}:
        raise UserError(f"Random Cut Forest takes one channel here, train; the job has {sorted(channels)}")
    train = channels["train"]
    if train.get("S3DistributionType") != "ShardedByS3Key":
        raise UserError("S3DataDistributionType of the train channel must be ShardedByS3Key")
    if train.get("ContentType", "").replace(" ", "").lower() != "text/csv;label_size=0":
        raise UserError(
            f"ContentType of the train channel must be text/csv;label_size=0, not {train.get('ContentType')!r}"
        )


if __name__ == "__main__":
    sys.exit(main(RandomCutForest(), name="random_cut_forest", unused=("scipy",)))
