"""What the two containers accept, refuse and answer, without a service around them."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from localaws.algorithms.boosted_trees import CompiledTrees
from localaws.algorithms.container import Folder, ModelError, RequestError, UserError
from localaws.algorithms.random_cut_forest import RandomCutForest
from localaws.algorithms.tabular import parse_csv
from localaws.algorithms.xgboost_container import ARTEFACT, MAX_WALK, XGBoost
from numpy.typing import NDArray

from tests.localaws_sagemaker.cloud import blobs

CSV = {"ContentType": "text/csv"}
SHARDED = {"ContentType": "text/csv;label_size=0", "S3DistributionType": "ShardedByS3Key"}
REPLICATED = {"ContentType": "text/csv;label_size=1", "S3DistributionType": "FullyReplicated"}


def folder_with(
    base: Path,
    hyperparameters: dict[str, str],
    channels: dict[str, dict[str, Any]],
    **tables: NDArray[np.float64] | str,
) -> Folder:
    folder = Folder(base)
    folder.config.mkdir(parents=True)
    folder.model.mkdir()
    (folder.config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (folder.config / "inputdataconfig.json").write_text(json.dumps(channels))
    for channel, table in tables.items():
        folder.data(channel).mkdir(parents=True)
        path = folder.data(channel) / "part-0.csv"
        if isinstance(table, str):
            path.write_text(table)
        else:
            np.savetxt(path, table, delimiter=",")
    return folder


@pytest.mark.parametrize(
    ("hyperparameters", "problem"),
    [
        pytest.param({}, "num_round is required", id="required"),
        pytest.param({"num_round": "0"}, "num_round='0' is not valid: expected an integer at least 1", id="low"),
        pytest.param({"num_round": "1", "subsample": "0"}, "subsample='0' .* above 0 and at most 1", id="open end"),
        pytest.param({"num_round": "1", "max_depth": "deep"}, "max_depth='deep' is not valid", id="no number"),
        pytest.param(
            {"num_round": "1", "objective": "reg:magic"}, "objective='reg:magic' .* one of binary:", id="word"
        ),
        pytest.param({"num_round": "1", "eval_metric": "auc,beauty"}, "eval_metric='auc,beauty'", id="list"),
        pytest.param({"num_round": "1", "eval_metric": "auc@0.5"}, "eval_metric='auc@0.5'", id="threshold"),
        pytest.param(
            {"num_round": "1", "eval_metric": "auc"}, "auc is for binary objectives", id="auc of a regression"
        ),
        pytest.param(
            {"num_round": "1", "objective": "multi:softmax"}, "num_class is required for multi:softmax", id="num_class"
        ),
        pytest.param({"num_round": "1", "learning_rate": "0.1"}, "learning_rate is not known", id="unknown"),
        pytest.param(
            {"num_round": "1", "early_stopping_rounds": "3"}, "needs a validation channel", id="no validation"
        ),
    ],
)
def test_xgboost_refuses_wrong_hyperparameters(tmp_path: Path, hyperparameters: dict[str, str], problem: str) -> None:
    folder = folder_with(tmp_path, hyperparameters, {"train": CSV}, train=blobs(50, seed=1))
    with pytest.raises(UserError, match=problem):
        XGBoost().train(folder)


@pytest.mark.parametrize(
    ("channels", "content", "problem"),
    [
        pytest.param({"test": CSV}, "1,2\n", "takes the channels train and validation", id="channel"),
        pytest.param(
            {"train": {}}, "1,2\n", "ContentType of the train channel must be text/csv", id="libsvm is the default"
        ),
        pytest.param(
            {"train": CSV}, "Class,V1\n1,2\n", "part-0.csv of the train channel is not csv of numbers", id="header"
        ),
        pytest.param({"train": CSV}, "1,2\n1,2,3\n", "part-0.csv of the train channel is not csv", id="ragged"),
        pytest.param({"train": CSV}, "1\n0\n", "no features are left", id="label only"),
        pytest.param(
            {"train": CSV}, "0,1\n2,1\n0,1\n", r"label must be in \[0, 1\].*1 of 3 rows.*row 2", id="label of 2"
        ),
        pytest.param({"train": CSV}, "0,1\n,1\n", "label must be in .*1 of 2 rows.*row 2", id="missing label"),
        pytest.param({"train": CSV}, "", "No data in the train channel", id="empty"),
    ],
)
def test_xgboost_refuses_wrong_data(tmp_path: Path, channels: dict[str, Any], content: str, problem: str) -> None:
    hyperparameters = {"num_round": "1", "objective": "binary:logistic"}
    with pytest.raises(UserError, match=problem):
        XGBoost().train(folder_with(tmp_path, hyperparameters, channels, train=content))


@pytest.mark.parametrize(
    ("label", "accepted"), [("0", True), ("2", True), ("3", False), ("1.5", False), ("-1", False), ("", False)]
)
def test_classes_are_integers_below_num_class(tmp_path: Path, label: str, accepted: bool) -> None:
    hyperparameters = {"num_round": "1", "objective": "multi:softprob", "num_class": "3"}
    folder = folder_with(tmp_path, hyperparameters, {"train": CSV}, train=f"0,1\n1,2\n{label},3\n")
    if accepted:
        XGBoost().train(folder)
        return
    with pytest.raises(UserError, match=r"label must be an integer in \[0, 3\) for multi:softprob.*row 3"):
        XGBoost().train(folder)


@pytest.mark.parametrize("weight", ["-1", "", "nan"])
def test_a_weight_is_there_and_not_negative(tmp_path: Path, weight: str) -> None:
    hyperparameters = {"num_round": "1", "objective": "binary:logistic", "csv_weights": "1"}
    folder = folder_with(tmp_path, hyperparameters, {"train": CSV}, train=f"0,1,5\n1,{weight},6\n")
    with pytest.raises(UserError, match=r"second column must be a weight of at least 0; 1 of 2 rows.*row 2"):
        XGBoost().train(folder)


def test_the_channel_named_first_is_not_taken_for_train(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path,
        {"num_round": "3", "objective": "binary:logistic"},
        {"validation": CSV, "train": CSV},
        validation=blobs(50, seed=1, features=2),
        train=blobs(50, seed=2, features=2),
    )
    alone = folder_with(
        tmp_path / "alone",
        {"num_round": "3", "objective": "binary:logistic"},
        {"train": CSV},
        train=blobs(50, seed=2, features=2),
    )
    for job in (folder, alone):
        XGBoost().train(job)
    assert (folder.model / ARTEFACT).read_bytes() == (alone.model / ARTEFACT).read_bytes()


@pytest.mark.parametrize(
    ("hyperparameters", "channels", "problem"),
    [
        pytest.param({}, {"train": SHARDED}, "feature_dim is required", id="required"),
        pytest.param({"feature_dim": "10001"}, {"train": SHARDED}, "feature_dim='10001'", id="many features"),
        pytest.param(
            {"feature_dim": "2", "eval_metrics": '["beauty"]'}, {"train": SHARDED}, "eval_metrics=", id="eval_metrics"
        ),
        pytest.param({"feature_dim": "2"}, {"train": SHARDED, "validation": SHARDED}, "train and test", id="channel"),
        pytest.param({"feature_dim": "2"}, {"test": REPLICATED}, "train and test", id="no train"),
        pytest.param(
            {"feature_dim": "2"},
            {"train": SHARDED, "test": {**REPLICATED, "S3DistributionType": "ShardedByS3Key"}},
            "of the test channel must be FullyReplicated",
            id="sharded test",
        ),
        pytest.param(
            {"feature_dim": "2"},
            {"train": SHARDED, "test": {**REPLICATED, "ContentType": "text/csv"}},
            "of the test channel must be text/csv;label_size=1",
            id="test type",
        ),
        pytest.param({"feature_dim": "2", "num_trees": "49"}, {"train": SHARDED}, "num_trees='49'", id="few trees"),
        pytest.param(
            {"feature_dim": "2", "num_samples_per_tree": "2049"}, {"train": SHARDED}, "'2049'", id="many samples"
        ),
        pytest.param({"feature_dim": "3"}, {"train": SHARDED}, "2 columns, not 3: feature_dim", id="width"),
        pytest.param(
            {"feature_dim": "2"}, {"train": {**SHARDED, "ContentType": "text/csv"}}, "label_size=0", id="type"
        ),
        pytest.param(
            {"feature_dim": "2"},
            {"train": {**SHARDED, "S3DistributionType": "FullyReplicated"}},
            "ShardedByS3Key",
            id="shards",
        ),
    ],
)
def test_forest_refuses_wrong_jobs(
    tmp_path: Path, hyperparameters: dict[str, str], channels: Any, problem: str
) -> None:
    folder = folder_with(tmp_path, hyperparameters, channels, train="1,2\n3,4\n", test="0,1,2\n1,3,4\n")
    with pytest.raises(UserError, match=problem):
        RandomCutForest().train(folder)


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        pytest.param("1,2\n", "test channel has 2 columns, not 3: feature_dim and the label", id="no label"),
        pytest.param("0,1,2\n2,1,2\n", "label, its first column, must be 0 or 1", id="label of 2"),
        pytest.param(",1,2\n", "label, its first column, must be 0 or 1", id="missing label"),
        pytest.param("0,1,\n", "test channel: .*finite numbers only", id="missing value"),
    ],
)
def test_forest_refuses_a_wrong_test_channel(tmp_path: Path, test: str, problem: str) -> None:
    channels = {"train": SHARDED, "test": REPLICATED}
    folder = folder_with(tmp_path, {"feature_dim": "2"}, channels, train="1,2\n3,4\n", test=test)
    with pytest.raises(UserError, match=problem):
        RandomCutForest().train(folder)


def test_anomalies_of_the_test_channel_are_those_three_sigma_above(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of 100 rows are far out, but three are labelled: precision 1, recall 2/3, F1 0.8, accuracy 0.99."""
    generator = np.random.default_rng(0)
    test = np.column_stack([np.zeros(100), generator.normal(size=(100, 2)).clip(-1, 1)])
    test[:2, 1:] = 50
    test[:3, 0] = 1
    folder = folder_with(
        tmp_path,
        {"feature_dim": "2"},
        {"train": SHARDED, "test": REPLICATED},
        train=generator.normal(size=(2000, 2)).clip(-1, 1),
        test=test,
    )
    with caplog.at_level(logging.INFO):
        RandomCutForest().train(folder)
    log = caplog.text
    assert "train channel: 2000 rows" in log
    assert "test accuracy: 0.990000" in log
    assert "test positive precision: 1.000000, recall: 0.666667, f1: 0.800000" in log
    assert "#quality_metric: host=algo-1, test f1 <score>=0.8" in log


def test_forest_refuses_missing_values(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"feature_dim": "2"}, {"train": SHARDED}, train="1,2\n3,\n")
    with pytest.raises(UserError, match="finite numbers only"):
        RandomCutForest().train(folder)


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    table = blobs(500, seed=2)
    table[::7, 3] = np.nan
    folder = folder_with(
        tmp_path_factory.mktemp("boosted"),
        {"num_round": "5", "objective": "binary:logistic"},
        {"train": CSV},
        train=table,
    )
    XGBoost().train(folder)
    return folder


def test_xgboost_scores_rows_as_the_library_does(boosted: Folder) -> None:
    rows = blobs(20, seed=3)[:, 1:].astype(np.float32)
    rows[0, 1] = np.nan
    body = "\n".join(",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows)
    expected = xgb.Booster(model_file=bytearray((boosted.model / ARTEFACT).read_bytes())).predict(xgb.DMatrix(rows))
    model = XGBoost().load(boosted.model)

    as_json = model.answer(body.encode(), content_type="text/csv", accept="application/json")
    scores = [prediction["score"] for prediction in json.loads(as_json.body)["predictions"]]
    np.testing.assert_array_equal(np.array(scores, np.float32), expected)

    as_csv = model.answer(body.encode() + b"\n", content_type="text/csv", accept="text/csv")
    assert as_csv.content_type == "text/csv"
    np.testing.assert_array_equal(np.array(as_csv.body.decode().split(","), np.float32), expected)


def served(folder: Folder, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of one request for each row."""
    model = XGBoost().load(folder.model)
    bodies = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows]
    answers = [model.answer(body.encode(), content_type="text/csv", accept="text/csv").body for body in bodies]
    return np.array([float(answer) for answer in answers], np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="as usual"),
        pytest.param({"base_score": "0.9", "max_depth": "1"}, id="a base score, stumps"),
        pytest.param(
            {"max_depth": "12", "min_child_weight": "0", "num_parallel_tree": "3"}, id="deep, several a round"
        ),
        pytest.param({"gamma": "1000"}, id="leaves only"),
        pytest.param({"grow_policy": "lossguide", "max_leaves": "9", "tree_method": "hist"}, id="lossguide"),
    ],
)
def test_one_row_is_scored_by_compiled_trees_bit_for_bit(tmp_path: Path, settings: dict[str, str]) -> None:
    table = blobs(400, seed=5)
    table[::5, 2] = np.nan
    hyperparameters = {"num_round": "20", "objective": "binary:logistic", **settings}
    folder = folder_with(tmp_path, hyperparameters, {"train": CSV}, train=table)
    XGBoost().train(folder)
    booster = xgb.Booster(model_file=bytearray((folder.model / ARTEFACT).read_bytes()))
    trees = CompiledTrees.of(booster)
    assert trees is not None
    rows = np.random.default_rng(1).normal(scale=3, size=(200, 5)).astype(np.float32)
    rows[::3, 1:3] = np.nan
    rows[:50] = table[:50, 1:]
    expected = booster.predict(xgb.DMatrix(rows))
    np.testing.assert_array_equal(trees.score(rows), expected)
    np.testing.assert_array_equal(served(folder, rows[:30]), expected[:30])


def test_a_model_answers_on_one_thread(boosted: Folder) -> None:
    config = json.loads(XGBoost().load(boosted.model)._booster.save_config())
    assert config["learner"]["generic_param"]["nthread"] == "1"


def test_many_rows_are_scored_by_the_library_alike(boosted: Folder) -> None:
    rows = np.random.default_rng(1).normal(size=(MAX_WALK // 5 + 1, 5)).astype(np.float32)
    body = "\n".join(",".join(map(repr, row)) for row in rows.astype(float).tolist())
    answer = XGBoost().load(boosted.model).answer(body.encode(), content_type="text/csv", accept="text/csv")
    np.testing.assert_array_equal(np.array(answer.body.split(b","), np.float32)[:30], served(boosted, rows[:30]))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"objective": "reg:squarederror"}, id="regression"),
        pytest.param({"objective": "binary:hinge"}, id="hinge"),
        pytest.param({"objective": "multi:softmax", "num_class": "2"}, id="classes"),
    ],
)
def test_other_objectives_are_scored_by_the_library(tmp_path: Path, settings: dict[str, str]) -> None:
    folder = folder_with(tmp_path, {"num_round": "3", **settings}, {"train": CSV}, train=blobs(200, seed=5))
    XGBoost().train(folder)
    booster = xgb.Booster(model_file=bytearray((folder.model / ARTEFACT).read_bytes()))
    assert CompiledTrees.of(booster) is None
    rows = blobs(20, seed=6)[:, 1:].astype(np.float32)
    np.testing.assert_array_equal(served(folder, rows), booster.predict(xgb.DMatrix(rows)))


def test_trees_that_lead_astray_are_not_compiled(boosted: Folder) -> None:
    content = json.loads(xgb.Booster(model_file=bytearray((boosted.model / ARTEFACT).read_bytes())).save_raw("json"))

    class Astray:
        """A booster whose trees go in a circle."""

        def save_raw(self, _: str) -> bytes:
            content["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 0
            return json.dumps(content).encode()

    assert CompiledTrees.of(Astray()) is None  # type: ignore[arg-type]


def test_a_body_is_parsed_row_by_row() -> None:
    expected = np.array([[1, np.nan, 0.25], [np.nan, -3, np.inf]], np.float32)
    np.testing.assert_array_equal(parse_csv(b"1, ,2.5e-1\r\nnan,-3,1e39\n"), expected)
    for body in (b"", b"1,2\n\n3,4", b"1,0x10", b"1_000,2", b"1;2"):
        with pytest.raises(ValueError, match=r"no rows|differ|could not convert|no part of a number"):
            parse_csv(body)


def test_xgboost_takes_an_empty_field_and_nan_as_missing(boosted: Folder) -> None:
    model = XGBoost().load(boosted.model)
    answers = {
        model.answer(body, content_type="text/csv", accept="text/csv").body for body in (b"1,,1,1,1", b"1,nan,1,1,1")
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status"),
    [
        pytest.param(b"a,b,c,d,e", "text/csv", "text/csv", 415, id="words"),
        pytest.param(b"1,2,3,4,5\n1,2", "text/csv", "text/csv", 415, id="ragged"),
        pytest.param(b"\xff\xfe", "text/csv", "text/csv", 415, id="not utf-8"),
        pytest.param(b'{"instances":[]}', "application/json", "text/csv", 415, id="json"),
        pytest.param(b"1,2,3,4,5", "text/csv", "image/png", 406, id="accept"),
        pytest.param(b"1,2,3,4", "text/csv", "text/csv", 400, id="width"),
        pytest.param(b"1,2,3,4,inf", "text/csv", "text/csv", 400, id="infinity"),
    ],
)
def test_xgboost_refuses_requests(boosted: Folder, body: bytes, content_type: str, accept: str, status: int) -> None:
    with pytest.raises(RequestError) as error:
        XGBoost().load(boosted.model).answer(body, content_type=content_type, accept=accept)
    assert error.value.status == status


def test_a_weight_counts_as_so_many_rows(tmp_path: Path) -> None:
    """With csv_weights=1 the second column is the weight: 2 gives the model of a row that is there twice."""
    table = blobs(300, seed=9)
    settings = {"num_round": "3", "objective": "binary:logistic", "tree_method": "exact"}
    doubled = folder_with(tmp_path / "doubled", settings, {"train": CSV}, train=np.concatenate([table, table]))
    weights = np.insert(table, 1, 2.0, axis=1)
    weighted = folder_with(tmp_path / "weighted", {**settings, "csv_weights": "1"}, {"train": CSV}, train=weights)
    body = "\n".join(",".join(map(str, row)) for row in table[:, 1:].tolist()).encode()
    scores = []
    for folder in (doubled, weighted):
        XGBoost().train(folder)
        answer = XGBoost().load(folder.model).answer(body, content_type="text/csv", accept="text/csv")
        scores.append(np.array(answer.body.decode().split(","), np.float64))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_xgboost_never_unpickles(tmp_path: Path, boosted: Folder) -> None:
    booster = xgb.Booster(model_file=bytearray((boosted.model / ARTEFACT).read_bytes()))
    (tmp_path / ARTEFACT).write_bytes(pickle.dumps(booster))
    with pytest.raises(ModelError, match="pickles are never loaded"):
        XGBoost().load(tmp_path)


def test_forest_never_unpickles(tmp_path: Path) -> None:
    (tmp_path / "random_cut_forest.npz").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ModelError, match="is not a Random Cut Forest"):
        RandomCutForest().load(tmp_path)
    np.savez(tmp_path / "random_cut_forest.npz", header=np.array([{}], dtype=object))
    with pytest.raises(ModelError, match="is not a Random Cut Forest"):
        RandomCutForest().load(tmp_path)


def test_xgboost_refuses_a_second_file_and_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / ARTEFACT).write_bytes(b"{broken")
    with pytest.raises(ModelError, match="cannot be loaded"):
        XGBoost().load(tmp_path)
    (tmp_path / "notes.txt").write_text("the real container would serve this file as a model, too")
    with pytest.raises(ModelError, match=r"must hold one file.*notes\.txt"):
        XGBoost().load(tmp_path)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = folder_with(
        tmp_path_factory.mktemp("forest"), {"feature_dim": "5"}, {"train": SHARDED}, train=blobs(1000, seed=4)[:, 1:]
    )
    RandomCutForest().train(folder)
    return folder


def test_the_artefact_is_the_same_however_the_rows_lie_in_files(tmp_path: Path) -> None:
    rows = blobs(3000, seed=4)[:, 1:]
    whole = folder_with(tmp_path / "whole", {"feature_dim": "5"}, {"train": SHARDED}, train=rows)
    parts = folder_with(tmp_path / "parts", {"feature_dim": "5"}, {"train": SHARDED})
    parts.data("train").mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.random.default_rng(1).permutation(rows), 7)):
        np.savetxt(parts.data("train") / f"part-{number}.csv", part, delimiter=",")
    for folder in (whole, parts):
        RandomCutForest().train(folder)
    artefacts = {(folder.model / "random_cut_forest.npz").read_bytes() for folder in (whole, parts)}
    assert len(artefacts) == 1


def test_forest_answers_csv_and_json_alike(forest: Folder) -> None:
    model = RandomCutForest().load(forest.model)
    by_csv = model.answer(b"0,0,0,0,0\n9,9,9,9,9", content_type="text/csv", accept="application/json")
    instances = {"instances": [{"features": [0] * 5}, {"features": [9] * 5}]}
    by_json = model.answer(json.dumps(instances).encode(), content_type="application/json", accept="")
    assert by_csv == by_json
    ordinary, odd = (item["score"] for item in json.loads(by_csv.body)["scores"])
    assert ordinary < 1.2 < odd


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status"),
    [
        pytest.param(b"1,2,3,4,5", "text/plain", "", 415, id="content type"),
        pytest.param(b"1,2,3,4,5", "text/csv", "text/csv", 406, id="accept"),
        pytest.param(b"1,2,3,4", "text/csv", "", 400, id="width"),
        pytest.param(b"1,2,3,4,", "text/csv", "", 400, id="missing value"),
        pytest.param(b"{}", "application/json", "", 400, id="no instances"),
        pytest.param(b'{"instances":[]}', "application/json", "", 400, id="empty instances"),
        pytest.param(b'{"instances":[{"features":["x"]}]}', "application/json", "", 400, id="words"),
    ],
)
def test_forest_refuses_requests(forest: Folder, body: bytes, content_type: str, accept: str, status: int) -> None:
    with pytest.raises(RequestError) as error:
        RandomCutForest().load(forest.model).answer(body, content_type=content_type, accept=accept)
    assert error.value.status == status
