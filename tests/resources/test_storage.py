"""Objects in S3, and what a user reads when S3 says no."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.storage import PreconditionError, Storage, StorageError, split_uri
from tests.resources.conftest import REGION


def test_what_is_written_is_read(storage: Storage, prefix: str) -> None:
    uri = f"{prefix}/a.json"
    assert not storage.exists(uri)
    storage.write(uri, b"{}", content_type="application/json")
    assert storage.exists(uri)
    assert storage.read(uri) == b"{}"


@pytest.mark.parametrize("key", ["a b.csv", "100%.csv", "card?#1.csv", "a//b.csv", "é.csv"])
def test_a_key_may_hold_any_character(storage: Storage, prefix: str, key: str) -> None:
    storage.write(f"{prefix}/{key}", b"x")
    assert list(storage.uris(f"{prefix}/")) == [f"{prefix}/{key}"]
    assert storage.read(f"{prefix}/{key}") == b"x"


@pytest.mark.parametrize("uri", ["", "bucket/key", "https://bucket/key", "s3:///key", "s3:/bucket/key"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=r"is not an s3://bucket/key URI") as caught:
        split_uri(uri)
    assert caught.value.code == "InvalidURI"


def test_an_object_that_is_not_there_is_named(storage: Storage, prefix: str) -> None:
    with pytest.raises(StorageError, match=f"cannot read {prefix}/none: ") as caught:
        storage.read(f"{prefix}/none")
    assert caught.value.code == "NoSuchKey"


def test_a_bucket_that_is_not_there_is_said_whatever_is_done(storage: Storage, tmp_path: Path) -> None:
    uri, file = "s3://no-bucket-of-ours/x", tmp_path / "x"
    file.write_bytes(b"x")
    for act in (
        lambda: storage.read(uri),
        lambda: storage.write(uri, b"x"),
        lambda: storage.write_if(uri, b"x", etag=None),
        lambda: storage.upload(file, uri),
        lambda: list(storage.uris(uri)),
    ):
        with pytest.raises(StorageError, match=r"s3://no-bucket-of-ours/x.*NoSuchBucket"):
            act()


@pytest.mark.usefixtures("nobody_answers")
def test_an_s3_that_does_not_answer_is_said_whatever_is_done(tmp_path: Path) -> None:
    storage = Storage(region=REGION, data_bucket="d", stream_bucket="s", model_bucket="m")
    uri, file = "s3://bucket/x", tmp_path / "x"
    file.write_bytes(b"x")
    for act in (
        lambda: storage.read(uri),
        lambda: storage.exists(uri),
        lambda: storage.upload(file, uri),
        lambda: storage.download(uri, tmp_path / "y"),
    ):
        with pytest.raises(StorageError, match=r"s3://bucket/x: Could not connect to the endpoint URL") as caught:
            act()
        assert caught.value.code == "Unreachable"


def test_a_request_that_is_none_is_not_called_unreachable(storage: Storage) -> None:
    with pytest.raises(StorageError, match="parameter Key") as caught:
        storage.read(f"s3://{storage.data_bucket}")
    assert caught.value.code == "InvalidRequest"


def test_a_conditional_write_creates_once_and_replaces_only_what_was_read(storage: Storage, prefix: str) -> None:
    uri = f"{prefix}/manifest.json"
    storage.write_if(uri, b"1", etag=None)
    with pytest.raises(PreconditionError, match=f"{uri} was changed by somebody else"):
        storage.write_if(uri, b"2", etag=None)
    body, etag = storage.read_with_etag(uri)
    storage.write_if(uri, body + b"3", etag=etag)
    with pytest.raises(PreconditionError):
        storage.write_if(uri, b"4", etag=etag)
    assert storage.read(uri) == b"13"


def test_a_conditional_write_onto_what_was_deleted_is_lost_too(storage: Storage, prefix: str) -> None:
    with pytest.raises(PreconditionError):
        storage.write_if(f"{prefix}/gone.json", b"2", etag='"0123"')
    assert not storage.exists(f"{prefix}/gone.json")


def test_a_folder_goes_up_and_comes_back_and_leftovers_are_deleted(
    storage: Storage, prefix: str, tmp_path: Path
) -> None:
    for name in ("part-1.csv", "part-0.csv", "_SUCCESS"):
        (tmp_path / name).write_text(name)
    storage.write(f"{prefix}/train/part-9.csv", b"of an earlier run")
    storage.write(f"{prefix}/train-2/part-0.csv", b"a neighbour")
    uris = storage.upload_folder(tmp_path, f"{prefix}/train", suffix=".csv")
    assert uris == [f"{prefix}/train/part-0.csv", f"{prefix}/train/part-1.csv"]
    assert list(storage.uris(f"{prefix}/")) == [f"{prefix}/train-2/part-0.csv", *uris]
    paths = storage.download_folder(f"{prefix}/train", tmp_path / "new" / "back")
    assert [path.read_text() for path in paths] == ["part-0.csv", "part-1.csv"]


def test_many_files_go_up_and_come_back_in_order(storage: Storage, prefix: str, tmp_path: Path) -> None:
    names = [f"part-{number:03}.csv" for number in range(40)]
    for name in names:
        (tmp_path / name).write_text(name)
    assert storage.upload_folder(tmp_path, f"{prefix}/many", suffix=".csv") == [
        f"{prefix}/many/{name}" for name in names
    ]
    storage.write(f"{prefix}/many/", b"")  # as the console shows a folder
    paths = storage.download_folder(f"{prefix}/many", tmp_path / "back")
    assert [path.read_text() for path in paths] == names


def test_a_folder_of_which_a_file_fails_names_it(storage: Storage, prefix: str, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.csv").write_text("x")
    with pytest.raises(StorageError, match=r"cannot upload .*/0\.csv to s3://no-bucket-of-ours/folder/0\.csv"):
        storage.upload_folder(tmp_path, "s3://no-bucket-of-ours/folder", suffix=".csv")
    storage.upload_folder(tmp_path, f"{prefix}/folder", suffix=".csv")
    (tmp_path / "back" / "3.csv").mkdir(parents=True)
    with pytest.raises(OSError, match=r"back/3\.csv"):
        storage.download_folder(f"{prefix}/folder", tmp_path / "back")


def test_an_empty_folder_is_an_error_to_download(storage: Storage, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"cannot download {prefix}/none: nothing is there") as caught:
        storage.download_folder(f"{prefix}/none", tmp_path)
    assert caught.value.code == "NoSuchKey"


class _Cutting(http.server.BaseHTTPRequestHandler):
    """An S3 whose connections break before the end of the body."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.send_header("ETag", '"0"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"cut")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def cutting_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Cutting) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield Storage(region=REGION, data_bucket="d", stream_bucket="s", model_bucket="m")
        server.shutdown()


def test_a_connection_that_breaks_is_an_error_of_storage(cutting_s3: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read s3://bucket/x"):
        cutting_s3.read("s3://bucket/x")
    with pytest.raises(StorageError, match="cannot download s3://bucket/x"):
        cutting_s3.download("s3://bucket/x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == [], "neither half an object nor a draft of it"


def test_a_listing_says_what_each_object_is(storage: Storage, prefix: str) -> None:
    storage.write(f"{prefix}/b.csv", b"same")
    storage.write(f"{prefix}/a.csv", b"same")
    storage.write(f"{prefix}/c.csv", b"other")
    first, second, third = storage.objects(f"{prefix}/")
    assert [first.uri, second.uri, third.uri] == [f"{prefix}/{name}.csv" for name in "abc"]
    assert (first.etag, first.size) == (second.etag, second.size) != (third.etag, third.size)
    assert (third.size, third.modified.tzinfo is not None) == (5, True)


def test_an_upload_tells_how_far_it_is(storage: Storage, prefix: str, tmp_path: Path) -> None:
    file, sent = tmp_path / "large.csv", list[int]()
    file.write_bytes(bytes(20_000_000))
    storage.upload(file, f"{prefix}/large.csv", on_progress=sent.append)
    assert sum(sent) == 20_000_000
    assert len(sent) > 1
