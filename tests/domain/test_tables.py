"""A file becomes a typed table, or an error that says what is wrong with the file."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import Contract, load_contract
from fraudit_dagster.tables import DatasetSource, TableError, count_table, read_table, resolve_dataset

REAL_SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "creditcard_sample.parquet"


@pytest.fixture
def contract() -> Contract:
    return Contract.model_validate(
        {
            "name": "small",
            "inputs": ["V1", "Amount"],
            "label": "Class",
            "amount": "Amount",
            "weight": {"column": "Weight", "optional": True},
            "split": {"by": "random"},
            "models": {"xgboost": {"features": ["V1"]}, "random_cut_forest": {"features": ["V1"]}},
        }
    )


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"Note": ["a", "b", "c"], "V1": [0.5, -1.25, 2.0], "Amount": [1.0, 2.5, 3.0], "Class": [0, 1, 0]}
    )


def save(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame in the format that the name says."""
    text = frame.to_csv(index=False)
    match "".join(path.suffixes):
        case ".csv":
            path.write_text(text)
        case ".csv.gz":
            path.write_bytes(gzip.compress(text.encode()))
        case ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("data/creditcard.csv", text)
        case ".parquet":
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.zip", "t.parquet"])
def test_every_format_reads_alike(tmp_path: Path, frame: pd.DataFrame, contract: Contract, name: str) -> None:
    table = read_table(save(frame, tmp_path / name), contract)
    expected = frame.drop(columns="Note").astype({"V1": "float64", "Amount": "float64", "Class": "int32"})
    pd.testing.assert_frame_equal(table, expected)


def test_quotes_a_byte_order_mark_and_float_labels_are_fine(tmp_path: Path, contract: Contract) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf"V1","Amount","Class"\r\n"1","2","1.0"\r\n')
    assert read_table(path, contract).to_dict("list") == {"V1": [1.0], "Amount": [2.0], "Class": [1]}


def test_an_empty_cell_is_left_to_the_validation(tmp_path: Path, frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[1, "V1"] = np.nan
    for name in ("t.csv", "t.parquet"):
        assert read_table(save(frame, tmp_path / name), contract)["V1"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_roles_have_their_types(tmp_path: Path, frame: pd.DataFrame, contract: Contract, name: str) -> None:
    content = contract.model_dump() | {"id": "tx", "time": "at", "split": {"by": "time"}}
    frame = frame.assign(tx=["001", "002", "003"], at=["2026-01-01 10:00:00", "2026-01-01T11:00:00Z", "2026-01-02"])
    table = read_table(save(frame, tmp_path / name), Contract.model_validate(content))
    assert table["tx"].tolist() == ["001", "002", "003"]
    assert table["at"].dt.hour.tolist() == [10, 11, 0]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.zip", "t.parquet"])
def test_all_missing_columns_are_named(tmp_path: Path, frame: pd.DataFrame, contract: Contract, name: str) -> None:
    path = save(frame.drop(columns=["V1", "Class"]), tmp_path / name)
    with pytest.raises(TableError) as caught:
        read_table(path, contract)
    assert str(caught.value) == f"{path}: columns missing: V1, Class (it has: Note, Amount) (contract 'small')"


def test_text_among_numbers_names_columns_and_lines(tmp_path: Path, frame: pd.DataFrame, contract: Contract) -> None:
    frame = frame.astype(object)
    frame.loc[1, "V1"] = "n.a."
    frame.loc[[0, 2], "Class"] = ["yes", 0.5]
    with pytest.raises(TableError) as csv_error:
        read_table(save(frame, tmp_path / "t.csv"), contract)
    assert str(csv_error.value).splitlines() == [
        f"{tmp_path}/t.csv: column V1: a number is expected; line 3 holds 'n.a.'",
        f"{tmp_path}/t.csv: column Class: a label, 0 or 1, is expected; line 2 holds 'yes', 4 holds '0.5'",
    ]
    with pytest.raises(TableError, match=r"column V1: a number is expected; row 2 holds 'n\.a\.'"):
        read_table(save(frame.astype(str), tmp_path / "t.parquet"), contract)


def test_only_the_first_bad_lines_are_shown(tmp_path: Path, contract: Contract) -> None:
    path = tmp_path / "t.csv"
    path.write_text("V1,Amount,Class\n" + "x,1,0\n" * 10)
    with pytest.raises(TableError, match="line 2 holds 'x', 3 holds 'x', 4 holds 'x' and 7 more"):
        read_table(path, contract)


def test_lines_with_too_few_columns_are_named(tmp_path: Path, contract: Contract) -> None:
    path = tmp_path / "t.csv"
    path.write_text("V1,Amount,Class\n1,2,0\n1,2\n1,2,0,4\n")
    with pytest.raises(TableError, match=r"t\.csv: 3 columns are expected; line 3 has 2, 4 has 4"):
        read_table(path, contract)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.zip", "t.parquet"])
def test_a_file_cut_short_says_so(tmp_path: Path, contract: Contract, name: str) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"V1": rng.normal(size=999), "Amount": rng.random(999), "Class": rng.integers(0, 2, 999)})
    path = save(frame, tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TableError, match=rf"{name}.*damaged.*fetch the file again"):
        read_table(path, contract)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("t.csv", b"", "empty; the first line must name the columns", id="empty"),
        pytest.param("t.csv", b"V1,Amount,Class\n", "no rows", id="header only"),
        pytest.param("t.csv", b"V1;Amount;Class\n1;2;0\n", "columns missing.*it has: V1;Amount;Class", id="semicolons"),
        pytest.param("t.csv", b"V1,V1,Amount,Class\n1,1,2,0\n", "columns named twice: V1", id="column twice"),
        pytest.param("t.csv", b"V1,Amount,Class\n1,2,\n", "column Class: .*line 2 holds None", id="no label"),
        pytest.param("t.csv", b"\xff\xfe\x00V1", "not a csv file in UTF-8", id="not text"),
        pytest.param("t.csv.gz", b"V1,Amount,Class\n", "damaged", id="not gzip"),
        pytest.param("t.zip", b"V1,Amount,Class\n", "damaged", id="not zip"),
        pytest.param("t.parquet", b"V1,Amount,Class\n", "not a parquet file", id="not parquet"),
        pytest.param("t.xlsx", b"", r"unknown kind of file; known are \.csv, \.csv\.gz, \.zip, \.parquet", id="excel"),
    ],
)
def test_a_wrong_file_says_how(tmp_path: Path, contract: Contract, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(path, contract)


def test_a_zip_holds_one_csv(tmp_path: Path, contract: Contract) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(TableError, match=r"one csv file is expected inside, found a\.csv, b\.csv"):
        read_table(path, contract)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, contract: Contract) -> None:
    with pytest.raises(TableError, match=r"no\.csv: no such file"):
        read_table(tmp_path / "no.csv", contract)
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path, contract)


def test_a_table_is_counted_with_its_weights(tmp_path: Path, frame: pd.DataFrame, contract: Contract) -> None:
    again = pd.concat([frame, frame.iloc[[1]]])
    assert count_table(save(again, tmp_path / "t.csv"), contract).prevalence == 0.5
    weighted = count_table(save(again.assign(Weight=[9.0, 1.0, 9.0, 1.0]), tmp_path / "w.csv"), contract)
    assert (weighted.rows, weighted.frauds, weighted.prevalence) == (4, 2, 0.1)


def test_the_real_sample_reads(tmp_path: Path) -> None:
    if not REAL_SAMPLE.exists():
        pytest.skip(f"the real sample is not at {REAL_SAMPLE}")
    contract = load_contract()
    table = read_table(REAL_SAMPLE, contract)
    found = count_table(REAL_SAMPLE, contract)
    assert (found.rows, found.frauds) == (14_597, 492)
    assert found.prevalence == pytest.approx(492 / 284_807, rel=1e-4)
    part = table.head(1000)
    pd.testing.assert_frame_equal(read_table(save(part, tmp_path / "part.csv.gz"), contract), part)


def test_the_data_set_is_the_setting_else_the_users_file_else_synthetic(tmp_path: Path) -> None:
    user_file = tmp_path / "creditcard.csv"
    assert resolve_dataset(None, user_file=user_file) == DatasetSource("synthetic")
    assert resolve_dataset("", user_file=user_file).synthetic
    user_file.touch()
    assert resolve_dataset(None, user_file=user_file) == DatasetSource("path", str(user_file))
    for word in ("kaggle", "openml", "synthetic"):
        assert resolve_dataset(word, user_file=user_file).kind == word
    assert resolve_dataset("s3://bucket/key.csv", user_file=user_file) == DatasetSource("s3", "s3://bucket/key.csv")
    other = tmp_path / "other.csv"
    other.touch()
    assert resolve_dataset(str(other), user_file=user_file) == DatasetSource("path", str(other))


def test_a_data_set_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"'typo\.csv': no such file; give a file, an s3:// URI, kaggle, openml or synthetic"
    ):
        resolve_dataset("typo.csv", user_file=tmp_path / "creditcard.csv")
