"""What the two containers accept, refuse and answer, without a service around them."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from localaws.algorithms.container import Folder, ModelError, RequestError, UserError
from localaws.algorithms.random_cut_forest import RandomCutForest
from localaws.algorithms.xgboost_container import ARTEFACT, XGBoost
from numpy.typing import NDArray

from tests.localaws_sagemaker.cloud import blobs

CSV = {"ContentType": "text/csv"}
SHARDED = {"ContentType": "text/csv;label_size=0", "S3DistributionType": "ShardedByS3Key"}


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
        pytest.param({"train": CSV}, "2,1\n0,1\n0,1\n", "XGBoost refused the job: .*label must be in", id="label of 2"),
        pytest.param({"train": CSV}, "", "No data in the train channel", id="empty"),
    ],
)
def test_xgboost_refuses_wrong_data(tmp_path: Path, channels: dict[str, Any], content: str, problem: str) -> None:
    hyperparameters = {"num_round": "1", "objective": "binary:logistic"}
    with pytest.raises(UserError, match=problem):
        XGBoost().train(folder_with(tmp_path, hyperparameters, channels, train=content))


@pytest.mark.parametrize(
    ("hyperparameters", "channels", "problem"),
    [
        pytest.param({}, {"train": SHARDED}, "feature_dim is required", id="required"),
        pytest.param({"feature_dim": "2", "num_trees": "49"}, {"train": SHARDED}, "num_trees='49'", id="few trees"),
        pytest.param(
            {"feature_dim": "2", "num_samples_per_tree": "2049"}, {"train": SHARDED}, "'2049'", id="many samples"
        ),
        pytest.param({"feature_dim": "3"}, {"train": SHARDED}, "2 columns, feature_dim is 3", id="width"),
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
    folder = folder_with(tmp_path, hyperparameters, channels, train="1,2\n3,4\n")
    with pytest.raises(UserError, match=problem):
        RandomCutForest().train(folder)


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
