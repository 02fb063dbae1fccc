"""SageMaker's built-in XGBoost 3.0-5, as a program under the container contract.

Belongs here: its hyperparameters, channels, artefact and request formats. Does not: boosting (the library).

The artefact is the real one's: a file ``xgboost-model`` in UBJSON. Unlike the real container this one never unpickles.
Csv is here; libsvm, parquet, RecordIO, cross-validation and distributed training are not.
Source of the behaviour: https://github.com/aws/sagemaker-xgboost-container (``algorithm_mode``).
"""

import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localaws.algorithms import hyperparameters, tabular
from localaws.algorithms.container import Answer, Folder, ModelError, RequestError, UserError, main
from localaws.algorithms.hyperparameters import Hyperparameter, integer, number, one_of, several_of

if TYPE_CHECKING:
    import numpy as np
    import xgboost as xgb
    from numpy.typing import NDArray

ARTEFACT = "xgboost-model"
UBJSON_START = b"{"

METRICS = {
    *("auc", "aucpr", "error", "logloss", "mae", "map", "mape", "merror", "mlogloss", "mphe", "ndcg", "rmse", "rmsle"),
    *("poisson-nloglik", "gamma-deviance", "gamma-nloglik", "tweedie-nloglik"),
}

OBJECTIVES = (
    *("binary:hinge", "binary:logistic", "binary:logitraw", "count:poisson", "multi:softmax", "multi:softprob"),
    *("reg:gamma", "reg:logistic", "reg:pseudohubererror", "reg:squarederror", "reg:squaredlogerror", "reg:tweedie"),
)

BOOSTING = {
    "alpha": Hyperparameter(number(0)),
    "base_score": Hyperparameter(number(0)),
    "booster": Hyperparameter(one_of("gbtree")),
    "colsample_bylevel": Hyperparameter(number(high=1, above=0)),
    "colsample_bynode": Hyperparameter(number(high=1, above=0)),
    "colsample_bytree": Hyperparameter(number(high=1, above=0)),
    "eta": Hyperparameter(number(0, 1)),
    "eval_metric": Hyperparameter(several_of(METRICS)),
    "gamma": Hyperparameter(number(0)),
    "grow_policy": Hyperparameter(one_of("depthwise", "lossguide")),
    "lambda": Hyperparameter(number(0)),
    "max_bin": Hyperparameter(integer(2)),
    "max_delta_step": Hyperparameter(number(0)),
    "max_depth": Hyperparameter(integer(0)),
    "max_leaves": Hyperparameter(integer(0)),
    "min_child_weight": Hyperparameter(number(0)),
    "nthread": Hyperparameter(integer(1)),
    "num_class": Hyperparameter(integer(2)),
    "num_parallel_tree": Hyperparameter(integer(1)),
    "objective": Hyperparameter(one_of(*OBJECTIVES)),
    "scale_pos_weight": Hyperparameter(number(above=0)),
    "seed": Hyperparameter(integer(-(2**31) + 1, 2**31 - 2)),
    "subsample": Hyperparameter(number(high=1, above=0)),
    "tree_method": Hyperparameter(one_of("auto", "exact", "approx", "hist")),
    "tweedie_variance_power": Hyperparameter(number(high=2, above=1)),
    "verbosity": Hyperparameter(integer(0, 3)),
}
JOB = {
    "csv_weights": Hyperparameter(integer(0, 1), default=0),
    "early_stopping_rounds": Hyperparameter(integer(1)),
    "num_round": Hyperparameter(integer(1), required=True),
}

_log = logging.getLogger(__name__)


class XGBoost:
    """Training and loading of boosted trees."""

    def train(self, folder: Folder) -> None:
        """Boost on the ``train`` channel, watching ``validation`` where there is one.

        With ``early_stopping_rounds``, only the trees up to the best iteration of the last metric are saved.

        Raises:
            UserError: A hyperparameter, a channel or its data is wrong.
        """
        import xgboost as xgb

        values = hyperparameters.check(folder.hyperparameters(), {**JOB, **BOOSTING})
        channels = folder.channels()
        _check_channels(channels)
        stop_after = values.get("early_stopping_rounds")
        if stop_after and "validation" not in channels:
            raise UserError("early_stopping_rounds needs a validation channel")
        watched = [(_read(folder, name, weighted=bool(values["csv_weights"])), name) for name in channels]
        callbacks: list[xgb.callback.TrainingCallback] = [xgb.callback.EvaluationMonitor(logger=_log_metrics)]
        if stop_after:
            callbacks.append(xgb.callback.EarlyStopping(stop_after, data_name="validation", save_best=True))
        try:
            booster = xgb.train(
                {name: value for name, value in values.items() if name in BOOSTING},
                watched[0][0],
                num_boost_round=values["num_round"],
                evals=watched,
                callbacks=callbacks,
                verbose_eval=False,
            )
        except xgb.core.XGBoostError as error:
            raise UserError(f"XGBoost refused the job: {_reason(error)}") from error
        (folder.model / ARTEFACT).write_bytes(booster.save_raw("ubj"))

    def load(self, model: Path) -> "BoosterModel":
        """Load the artefact.

        Raises:
            ModelError: There is not exactly one file ``xgboost-model``, or it is a pickle, or broken.
        """
        import xgboost as xgb

        files = [path.name for path in model.iterdir() if not path.name.startswith(".")]
        if files != [ARTEFACT]:
            raise ModelError(f"the artefact must hold one file, {ARTEFACT}; it holds {sorted(files)}")
        content = (model / ARTEFACT).read_bytes()
        if not content.startswith(UBJSON_START):
            raise ModelError(f"{ARTEFACT} is not UBJSON or JSON; pickles are never loaded")
        try:
            booster = xgb.Booster(model_file=bytearray(content))
        except xgb.core.XGBoostError as error:
            raise ModelError(f"{ARTEFACT} cannot be loaded: {_reason(error)}") from error
        booster.set_param({"nthread": 1})
        return BoosterModel(booster)


class BoosterModel:
    """Boosted trees that answer requests, each on one thread."""

    def __init__(self, booster: "xgb.Booster") -> None:
        self._booster = booster
        self._features = booster.num_features()

    def answer(self, body: bytes, *, content_type: str, accept: str) -> Answer:
        """Score the rows of a request: JSON ``{"predictions": [{"score": p}, ...]}``, or csv ``p,p,...``.

        Raises:
            RequestError: 415 for a body that is not csv of numbers, 406 for another reply than JSON or csv, 400 for rows that
                do not fit the model.
        """
        if content_type not in {"", "text/csv"}:
            raise RequestError(
                415, f"Content-type {content_type} not supported here. Supported content-type is text/csv"
            )
        if accept not in {"", "*/*", "text/csv", "application/json"}:
            raise RequestError(406, f"Accept type {accept} is not supported. Supported: application/json, text/csv")
        try:
            rows = tabular.parse_csv(body)
        except ValueError as error:
            raise RequestError(
                415, f"Loading csv data failed with Exception, please ensure data is in csv format: {error}"
            ) from error
        scores = self._predict(rows)
        if accept == "application/json":
            reply = {"predictions": [{"score": score} for score in scores]}
            return Answer(json.dumps(reply, separators=(",", ":")).encode(), "application/json")
        return Answer(",".join(map(str, scores)).encode(), "text/csv")

    def _predict(self, rows: "NDArray[np.float32]") -> list[Any]:
        import numpy as np

        if rows.shape[1] != self._features:
            raise RequestError(
                400,
                f"Unable to evaluate payload provided: Feature size of csv inference data {rows.shape[1]} is not consistent "
                f"with feature size of trained model {self._features}.",
            )
        if np.isinf(rows).any():
            raise RequestError(400, "Unable to evaluate payload provided: Input data contains `inf`")
        scores: list[Any] = self._booster.inplace_predict(rows, missing=math.nan, validate_features=False).tolist()
        return scores


def _check_channels(channels: dict[str, dict[str, Any]]) -> None:
    if "train" not in channels or channels.keys() - {"train", "validation"}:
        raise UserError(f"XGBoost takes the channels train and validation; the job has {sorted(channels)}")
    for name, channel in channels.items():
        kind, *options = channel.get("ContentType", "").replace(" ", "").lower().split(";")
        if kind not in {"csv", "text/csv"} or any(
            option.startswith("label_size=") and option != "label_size=1" for option in options
        ):
            raise UserError(f"ContentType of the {name} channel must be text/csv, not {channel.get('ContentType')!r}")


def _read(folder: Folder, channel: str, *, weighted: bool) -> "xgb.DMatrix":
    """Read a channel: label first, then the weight where ``csv_weights`` is 1, then the features."""
    import xgboost as xgb

    table = tabular.read_folder(folder.data(channel), channel=channel)
    first = 2 if weighted else 1
    if table.shape[1] <= first:
        raise UserError(
            f"The {channel} channel has {table.shape[1]} columns: no features are left after the first {first}"
        )
    try:
        return xgb.DMatrix(table[:, first:], label=table[:, 0], weight=table[:, 1] if weighted else None)
    except xgb.core.XGBoostError as error:
        raise UserError(f"The {channel} channel cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what XGBoost's check found, without its time, source file and stack trace."""
    first_line = str(error).partition("\n")[0]
    return first_line.rpartition("Check failed: ")[2]


def _log_metrics(line: str) -> None:
    """Log one round as CloudWatch shows the container's: a tab reads ``#011``."""
    _log.info("%s", line.rstrip("\n").replace("\t", "#011"))


if __name__ == "__main__":
    sys.exit(main(XGBoost(), name="xgboost_container", unused=("pandas", "sklearn")))
