"""SageMaker's built-in XGBoost 3.0-5, as a program under the container contract.

Belongs here: its hyperparameters, channels, artefact and request formats. Does not: boosting (the library).

The artefact is the real one's: a file ``xgboost-model`` in UBJSON. Unlike the real container this one never unpickles.
Csv is here; libsvm, parquet, RecordIO, cross-validation and distributed training are not.
Source of the behaviour: https://github.com/aws/sagemaker-xgboost-container (``algorithm_mode``).
"""

import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from localaws.algorithms import hyperparameters, tabular
from localaws.algorithms.container import Answer, Folder, ModelError, RequestError, UserError, main
from localaws.algorithms.hyperparameters import Hyperparameter, integer, number, one_of, several_of

if TYPE_CHECKING:
    import numpy as np
    import xgboost as xgb
    from numpy.typing import NDArray

    from localaws.algorithms.boosted_trees import CompiledTrees

ARTEFACT = "xgboost-model"
UBJSON_START = b"{"
MAX_WALK = 10_000
"""Rows times trees up to which the compiled walk is faster than the library (100 trees: 7 us for one row instead of 240)."""

METRICS = {
    *("auc", "aucpr", "error", "logloss", "mae", "map", "mape", "merror", "mlogloss", "mphe", "ndcg", "rmse", "rmsle"),
    *("poisson-nloglik", "gamma-deviance", "gamma-nloglik", "tweedie-nloglik"),
}

OBJECTIVES = (
    *("binary:hinge", "binary:logistic", "binary:logitraw", "count:poisson", "multi:softmax", "multi:softprob"),
    *("reg:gamma", "reg:logistic", "reg:pseudohubererror", "reg:squarederror", "reg:squaredlogerror", "reg:tweedie"),
)
DEFAULT_OBJECTIVE = "reg:squarederror"

BOOSTING = {
    "alpha": Hyperparameter(number(0)),
    "base_score": Hyperparameter(number(0)),
    "booster": Hyperparameter(one_of("gbtree")),
    "colsample_bylevel": Hyperparameter(number(high=1, above=0)),
    "colsample_bynode": Hyperparameter(number(high=1, above=0)),
    "colsample_bytree": Hyperparameter(number(high=1, above=0)),
    "eta": Hyperparameter(number(0, 1)),
    "eval_metric": Hyperparameter(several_of(METRICS, with_threshold={"error", "map", "ndcg"})),
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
        _check_together(values)
        channels = folder.channels()
        _check_channels(channels)
        stop_after = values.get("early_stopping_rounds")
        if stop_after and "validation" not in channels:
            raise UserError("early_stopping_rounds needs a validation channel")
        watched = [(_read(folder, name, values), name) for name in sorted(channels)]
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
        _log.info("model saved: %d boosting rounds", booster.num_boosted_rounds())

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
        from localaws.algorithms.boosted_trees import CompiledTrees  # numba: 1 s, and only to serve

        trees = CompiledTrees.of(booster)
        _log.info(
            "model loaded: %d boosting rounds, %d features, one row scored by %s",
            booster.num_boosted_rounds(),
            booster.num_features(),
            "the library" if trees is None else "compiled trees",
        )
        return BoosterModel(booster, trees)


class BoosterModel:
    """Boosted trees that answer requests, each on one thread."""

    def __init__(self, booster: "xgb.Booster", trees: "CompiledTrees | None") -> None:
        self._booster = booster
        self._trees = trees
        self._features = booster.num_features()
        self._walkable_rows = 0 if trees is None else MAX_WALK // trees.count

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
            return Answer(orjson.dumps({"predictions": [{"score": score} for score in scores]}), "application/json")
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
        if self._trees is not None and len(rows) <= self._walkable_rows:
            scores = self._trees.score(rows)
        else:
            scores = self._booster.inplace_predict(rows, missing=math.nan, validate_features=False)
        return list(scores.tolist())


def _check_channels(channels: dict[str, dict[str, Any]]) -> None:
    if "train" not in channels or channels.keys() - {"train", "validation"}:
        raise UserError(f"XGBoost takes the channels train and validation; the job has {sorted(channels)}")
    for name, channel in channels.items():
        kind, *options = channel.get("ContentType", "").replace(" ", "").lower().split(";")
        if kind not in {"csv", "text/csv"} or any(
            option.startswith("label_size=") and option != "label_size=1" for option in options
        ):
            raise UserError(f"ContentType of the {name} channel must be text/csv, not {channel.get('ContentType')!r}")


def _check_together(values: dict[str, Any]) -> None:
    """Refuse hyperparameters that are valid alone, but not together."""
    objective = values.get("objective", DEFAULT_OBJECTIVE)
    if objective.startswith("multi:") and "num_class" not in values:
        raise UserError(f"Hyperparameters: num_class is required for {objective}")
    if "auc" in values.get("eval_metric", []) and not objective.startswith("binary:"):
        raise UserError(f"Hyperparameters: eval_metric auc is for binary objectives here, not for {objective}")


def _check_labels(labels: "NDArray[np.float32]", values: dict[str, Any], *, channel: str) -> None:
    import numpy as np

    objective, classes = values.get("objective", DEFAULT_OBJECTIVE), values.get("num_class", 0)
    wrong, wanted = ~np.isfinite(labels), "a finite number"
    if objective.startswith("binary:") or objective == "reg:logistic":
        wrong, wanted = wrong | (labels < 0) | (labels > 1), "in [0, 1]"
    elif objective.startswith("multi:"):
        wrong = wrong | (labels < 0) | (labels >= classes) | (labels != np.floor(labels))
        wanted = f"an integer in [0, {classes})"
    _refuse_rows(wrong, f"the label must be {wanted} for {objective}", channel=channel)


def _refuse_rows(wrong: "NDArray[np.bool_]", problem: str, *, channel: str) -> None:
    if wrong.any():
        raise UserError(
            f"The {channel} channel: {problem}; {wrong.sum():,} of {len(wrong):,} rows, the first of them row "
            f"{wrong.argmax() + 1}"
        )


def _read(folder: Folder, channel: str, values: dict[str, Any]) -> "xgb.DMatrix":
    """Read a channel: label first, then the weight where ``csv_weights`` is 1, then the features."""
    import numpy as np
    import xgboost as xgb

    table = tabular.read_folder(folder.data(channel), channel=channel)
    weighted = values["csv_weights"] == 1
    first = 2 if weighted else 1
    if table.shape[1] <= first:
        raise UserError(
            f"The {channel} channel has {table.shape[1]} columns: no features are left after the first {first}"
        )
    _check_labels(table[:, 0], values, channel=channel)
    if weighted:
        wrong = ~(np.isfinite(table[:, 1]) & (table[:, 1] >= 0))
        _refuse_rows(wrong, "with csv_weights=1 the second column must be a weight of at least 0", channel=channel)
    _log.info("%s channel: %d rows, %d features", channel, len(table), table.shape[1] - first)
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
