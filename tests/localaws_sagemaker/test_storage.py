"""A model.tar.gz is trusted in nothing: it can leave files in its own folder, not too many and not too large, and no more."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from localaws.sagemaker import storage
from localaws.sagemaker.storage import extract


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as content:
        for member, data in members:
            content.addfile(member, io.BytesIO(data))
    return path


def file(name: str, data: bytes = b"x", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member, data


def test_files_and_folders_are_extracted_without_their_modes(tmp_path: Path) -> None:
    folder = file("code", b"", type=tarfile.DIRTYPE)
    archive = archive_of(tmp_path / "a.tar.gz", file("./xgboost-model", b"12", mode=0o4777), folder, file("code/a.py"))
    extract(archive, tmp_path / "model")
    assert {path.name: path.stat().st_size for path in (tmp_path / "model").rglob("*") if path.is_file()} == {
        "xgboost-model": 2,
        "a.py": 1,
    }
    assert not (tmp_path / "model" / "xgboost-model").stat().st_mode & 0o7111


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        pytest.param(file("/escaped"), "leads out", id="absolute"),
        pytest.param(file("../escaped"), "leads out", id="up"),
        pytest.param(file("a/../../escaped"), "leads out", id="down and up"),
        pytest.param(file("a", b"", type=tarfile.SYMTYPE, linkname="../escaped"), "neither", id="symlink"),
        pytest.param(file("a", b"", type=tarfile.SYMTYPE, linkname="b"), "neither", id="symlink within"),
        pytest.param(file("a", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "neither", id="hard link"),
        pytest.param(file("a", b"", type=tarfile.CHRTYPE), "neither", id="device"),
        pytest.param(file("a", b"", type=tarfile.FIFOTYPE), "neither", id="pipe"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], problem: str
) -> None:
    archive = archive_of(tmp_path / "a.tar.gz", file("good"), member)
    with pytest.raises(tarfile.TarError, match=problem):
        extract(archive, tmp_path / "inner" / "model")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in (["a.tar.gz", "good"], ["good", "a.tar.gz"])


def test_a_file_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        extract(archive_of(tmp_path / "a.tar.gz", file("a"), file("a", b"other")), tmp_path / "model")


def test_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_MODEL_FILES", 3)
    extract(archive_of(tmp_path / "3.tar.gz", *(file(str(number)) for number in range(3))), tmp_path / "3")
    with pytest.raises(tarfile.TarError, match=r"more than .* 3 members"):
        extract(archive_of(tmp_path / "4.tar.gz", *(file(str(number)) for number in range(4))), tmp_path / "4")


def test_much_content_is_refused_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(tarfile.TarError, match=r"more than 1,000 bytes"):
        extract(archive_of(tmp_path / "a.tar.gz", file("a", b"0" * 600), file("b", b"0" * 600)), tmp_path / "model")
    assert not (tmp_path / "model" / "b").exists()


def claiming(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("name")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(10 * 512)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(lambda: claiming(tarfile.GNUTYPE_LONGNAME, 3 * 1024**3), "a header claims", id="a name of 3 GB"),
        pytest.param(lambda: claiming(tarfile.XHDTYPE, 3 * 1024**3), "a header claims", id="attributes of 3 GB"),
        pytest.param(lambda: claiming(tarfile.REGTYPE, 3 * 1024**3), "more than", id="a file of 3 GB"),
        pytest.param(lambda: claiming(tarfile.REGTYPE, 10**15), "more than", id="a file of a petabyte"),
        pytest.param(lambda: claiming(tarfile.REGTYPE, 10**6), "unexpected end", id="a file longer than the archive"),
    ],
)
def test_an_archive_that_lies_about_its_size_costs_no_memory(
    tmp_path: Path, content: Callable[[], bytes], problem: str
) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(content()))
    with pytest.raises(tarfile.TarError, match=problem):
        extract(archive, tmp_path / "model")


@pytest.mark.parametrize(
    "content", [b"", b"not gzip", gzip.compress(b"not tar" * 200)], ids=["empty", "not gzip", "not tar"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(content)
    with pytest.raises((tarfile.TarError, OSError)):
        extract(archive, tmp_path / "model")


def test_half_an_archive_is_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar.gz", file("a", random.Random(0).randbytes(100_000)))  # noqa: S311 - only bytes that do not compress
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(EOFError):
        extract(archive, tmp_path / "model")
