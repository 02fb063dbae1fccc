"""A contract says what a table is; a wrong one says every mistake at once, with its line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import Contract, ContractError, Feature, ModelSpec, load_contract

SMALL = """\
name: mine
inputs: [Time, V1, ..., V3, Amount]
label: Class
amount: Amount
time: Time
split: {by: time}
models:
  xgboost: {features: [V1, ..., V3, Amount]}
  random_cut_forest: {features: [V1, ..., V3, {log1p: Amount}]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_the_shipped_contract_is_the_credit_card_data_set() -> None:
    contract = load_contract()
    assert contract.name == "creditcard"
    assert contract.inputs == ("Time", *(f"V{i}" for i in range(1, 29)), "Amount")
    assert contract.columns.required == (*contract.inputs, "Class")
    assert contract.columns.optional == ("Weight",)
    assert [len(spec.features) for spec in (contract.models.xgboost, contract.models.random_cut_forest)] == [29, 29]
    assert contract.models.random_cut_forest.manifest_features[-2:] == ["V28", {"log1p": "Amount"}]


def test_a_feature_reads_back_from_its_manifest_form() -> None:
    for feature in (Feature(column="V1"), Feature(column="Amount", transform="log1p")):
        assert Feature.model_validate(feature.manifest_form) == feature


def test_apply_gives_the_models_matrix() -> None:
    spec = ModelSpec.model_validate({"features": ["V1", {"log1p": "Amount"}]})
    frame = pd.DataFrame({"Amount": [0.0, np.e - 1], "V2": [9, 9], "V1": [1.5, 2.5]})
    np.testing.assert_allclose(spec.apply(frame), [[1.5, 0.0], [2.5, 1.0]])
    assert spec.apply(frame).dtype == np.float64
    with pytest.raises(ContractError, match=r"log1p\(Amount\).*above -1.*-3"):
        spec.apply(frame.assign(Amount=[-3.0, 1.0]))


def test_the_hash_is_of_the_content_not_of_the_layout(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path, SMALL))
    reworded = SMALL.replace("V1, ..., V3", "V1, V2, V3") + "# a comment\n"
    assert load_contract(write(tmp_path, reworded)).sha256 == contract.sha256
    assert load_contract(write(tmp_path, SMALL.replace("name: mine", "name: other"))).sha256 != contract.sha256
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_every_mistake_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
name: My Data
inputs: [Time, V1, ..., V3, V1, Amount]
label: Amount
time: Time
wieght: {column: Weight}
split: {by: time, validation: 0.6, test: 0.5}
checks:
  Amount: {min: 2, max: 1}
  Country: {min: 0}
models:
  xgboost:
    features: [V1, ..., V3,
               V99]
  random_cut_forest: {features: [{sqrt: Amount}]}
"""
    problems = problems_of(tmp_path, text)
    assert [problem.split(": ", 2)[:2] for problem in problems] == [
        ["1", "amount"],
        ["1", "name"],
        ["2", "inputs"],
        ["3", "label"],
        ["5", "wieght"],
        ["6", "split"],
        ["8", "checks.Amount"],
        ["9", "checks.Country"],
        ["13", "models.xgboost.features"],
        ["14", "models.random_cut_forest.features.transform"],
    ]
    assert problems[0] == "1: amount: is missing"
    assert problems[8] == "13: models.xgboost.features: 'V99' is not one of the inputs"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param("time: Time\n", "", "5: split.by: a split by time needs the field 'time'", id="time is needed"),
        pytest.param("V1, ..., V3, Amount]\nl", "V1, ..., W3, Amount]\nl", "2: inputs: 'V1, ..., W3' is not a range such as V1, ..., V28", id="range of two names"),
        pytest.param("[Time, V1, ..., V3", "[..., Time, V1, V2, V3", "2: inputs: '..., Time' is not a range such as V1, ..., V28", id="range without a start"),
        pytest.param("amount: Amount", "amount: Sum", "4: amount: 'Sum' is not one of the inputs", id="amount"),
        pytest.param("label: Class", "label: V2", "3: label: 'V2' is one of the inputs: the model would see it", id="label leaks"),
        pytest.param("label: Class", "label: Class\nlabel: Klass", "4: label: is given twice", id="field twice"),
        pytest.param("label: Class", "label: Class\nid: Class", "4: id: 'Class' is the label already", id="column twice"),
        pytest.param("by: time", "by: time, test: 1.5", "6: split.test: input should be less than 1, found 1.5", id="share"),
        pytest.param("label: Class", "label:", "3: label: is empty", id="empty"),
        pytest.param("{features: [V1, ..., V3, Amount]}", "V1", "8: models.xgboost: must be a mapping, found 'V1'", id="not a mapping"),
        pytest.param("[V1, ..., V3, Amount]", "[]", "8: models.xgboost.features: names no column", id="no features"),
        pytest.param("label: Class", "label: [Class", "4: not YAML: ", id="not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_and_where(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in SMALL
    (found,) = problems_of(tmp_path, SMALL.replace(old, new, 1))
    assert found.startswith(problem)


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n"])
def test_something_else_than_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, text) == ["1: a contract is a mapping of fields (name, inputs, label, ...)"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"nowhere\.yaml: cannot be read"):
        load_contract(tmp_path / "nowhere.yaml")


def test_rules_hold_for_a_contract_made_in_code(tmp_path: Path) -> None:
    content = load_contract(write(tmp_path, SMALL)).model_dump()
    with pytest.raises(ValueError, match="'V1' is one of the inputs"):
        Contract.model_validate({**content, "label": "V1"})


def test_columns_in_other_roles_are_read_as_text(tmp_path: Path) -> None:
    text = SMALL.replace("split: {by: time}", "id: tx\ngroup: card\nweight: {column: w}\nsplit: {by: part}")
    contract = load_contract(write(tmp_path, text))
    assert contract.text_columns == ("tx", "card", "part")
    assert contract.columns.required == ("Time", "V1", "V2", "V3", "Amount", "Class", "tx", "card", "part", "w")
    assert contract.number_columns[-1] == "w"
