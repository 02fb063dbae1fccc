"""The synthetic table is made once; other code makes another, and what broke off leaves nothing."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fraudit_dagster import synthetic
from fraudit_dagster.synthetic import keep_table, kept_table, write_synthetic


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let a table have 500 rows; returns where one was made."""
    made: list[Path] = []

    def write(path: Path) -> None:
        made.append(path)
        write_synthetic(path, rows=500, frauds=20)

    monkeypatch.setattr(synthetic, "write_synthetic", write)
    return made


def test_the_second_call_makes_nothing(tmp_path: Path, small: list[Path]) -> None:
    path = keep_table(tmp_path)
    written_at = path.stat().st_mtime_ns
    assert keep_table(tmp_path) == path == kept_table(tmp_path)
    assert path.stat().st_mtime_ns == written_at
    assert len(small) == 1
    assert pq.read_metadata(path).num_rows == 500


def test_the_place_is_told_without_making_it(tmp_path: Path) -> None:
    assert not kept_table(tmp_path).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["numpy", "pyarrow"])
def test_another_version_of_a_library_has_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    before = kept_table(tmp_path)
    monkeypatch.setattr(synthetic, "version", lambda name: "0.0.1" if name == library else "1")
    assert kept_table(tmp_path) != before


def test_other_code_has_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept_table(tmp_path)
    code = tmp_path / "synthetic.py"
    code.write_bytes(Path(synthetic.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(synthetic, "__file__", str(code))
    assert kept_table(tmp_path) != before


def test_what_broke_off_leaves_nothing_and_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "write_synthetic", break_off)
        with pytest.raises(KeyboardInterrupt):
            keep_table(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert pq.read_metadata(keep_table(tmp_path)).num_rows == 500
