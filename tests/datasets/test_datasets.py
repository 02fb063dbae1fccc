"""The table from Kaggle and from OpenML: whole, or an error that says what to do."""

import fcntl
import logging
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from resources.datasets import COLUMNS, DatasetError, Datasets, Source
from tests.conftest import free_port
from tests.datasets.conftest import (
    KEY,
    SIGNATURE,
    USER,
    Served,
    Site,
    breaks_at,
    kaggle_csv,
    made,
    openml_arff,
    read_csv,
    rows,
    says,
    serves,
    zipped,
)

BOTH = pytest.mark.parametrize("source", ["kaggle", "openml"])
CHUNK = 1 << 18


@BOTH
def test_the_table_arrives_with_the_published_header_and_every_digit(
    datasets: Datasets, target: Path, source: Source
) -> None:
    assert datasets.download(source, target) == target
    assert target.read_text().startswith('"Time","V1","V2",')
    assert read_csv(target) == [list(COLUMNS), *rows()]
    assert list(target.parent.iterdir()) == [target]


def test_the_file_of_kaggle_is_left_as_it_is(datasets: Datasets, target: Path) -> None:
    datasets.download("kaggle", target)
    assert target.read_bytes() == kaggle_csv(rows())


def test_the_token_is_shown_to_kaggle_alone(datasets: Datasets, site: Site, target: Path) -> None:
    datasets.download("kaggle", target)
    assert [(host, "Authorization" in headers) for host, _, headers in site.requests] == [
        ("site", True),
        ("storage", False),
    ]


def test_openml_needs_no_token(site: Site, target: Path, tmp_path: Path) -> None:
    made(site, tmp_path).download("openml", target)
    assert not any("Authorization" in headers for _, _, headers in site.requests)


@BOTH
def test_progress_is_told_to_the_last_byte(datasets: Datasets, site: Site, target: Path, source: Source) -> None:
    told: list[tuple[int, int | None]] = []
    datasets.download(source, target, on_progress=lambda done, total: told.append((done, total)))
    size = len((site.archive if source == "kaggle" else site.arff).body)
    assert told[0] == (0, size)
    assert told[-1] == (size, size)


def test_columns_of_openml_in_another_order_are_put_in_order(datasets: Datasets, site: Site, target: Path) -> None:
    columns = (*COLUMNS[1:-1], "Time", "Class")
    site.arff = Served(openml_arff([[*row[1:-1], row[0], row[-1]] for row in rows()], columns))
    site.description = described(site)
    datasets.download("openml", target)
    assert read_csv(target) == [list(COLUMNS), *rows()]


def described(site: Site) -> dict[str, dict[str, str]]:
    return {"data_set_description": {"url": f"{site.url}/f.arff", "md5_checksum": site.arff.tag.strip('"')}}


# Connections that break.


@BOTH
def test_a_lost_connection_is_continued_where_it_broke(
    datasets: Datasets, site: Site, target: Path, source: Source
) -> None:
    site.faults = [breaks_at(CHUNK + 1000), breaks_at(2 * CHUNK + 1000)]
    datasets.download(source, target)
    assert site.fetches() == [None, f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]
    assert read_csv(target) == [list(COLUMNS), *rows()]


@BOTH
def test_the_next_call_continues_what_an_earlier_one_left(
    site: Site, target: Path, tmp_path: Path, source: Source
) -> None:
    site.faults = [breaks_at(CHUNK + 1000)]
    patient = made(site, tmp_path, kaggle_username=USER, kaggle_key=KEY, attempts=1)
    with pytest.raises(DatasetError, match=r"connection lost .* after 1 attempt; try again later"):
        patient.download(source, target)
    assert not target.exists()
    told: list[tuple[int, int | None]] = []
    patient.download(source, target, on_progress=lambda done, total: told.append((done, total)))
    assert site.fetches() == [None, f"bytes={CHUNK}-"]
    assert told[0][0] == CHUNK
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_each_attempt_asks_kaggle_for_a_fresh_signature(datasets: Datasets, site: Site, target: Path) -> None:
    site.faults = [breaks_at(CHUNK + 1000)]
    datasets.download("kaggle", target)
    signed = [path for host, path, _ in site.requests if host == "storage"]
    assert len(set(signed)) == len(signed) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ranges": False}, id="a server without ranges"),
        pytest.param({"tag": 'W/"weak"'}, id="a server that does not promise the same bytes"),
    ],
)
def test_what_cannot_be_continued_starts_anew(
    datasets: Datasets, site: Site, target: Path, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(site.arff, name, value)
    site.faults = [breaks_at(CHUNK + 1000)]
    datasets.download("openml", target)
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_a_file_that_changed_meanwhile_starts_anew(datasets: Datasets, site: Site, target: Path) -> None:
    before = Served(zipped(b"an earlier version of the table" * 100_000))
    site.faults = [lambda handler, _served: handler.send(before, None, stop=CHUNK + 1000)]
    datasets.download("kaggle", target)
    assert site.fetches() == [None, f"bytes={CHUNK}-"]
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_a_range_that_is_none_any_more_starts_anew(datasets: Datasets, site: Site, target: Path) -> None:
    site.faults = [breaks_at(CHUNK + 1000), says(416, "text/html")]
    datasets.download("kaggle", target)
    assert site.fetches() == [None, f"bytes={CHUNK}-", None]
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_attempts_are_bounded(datasets: Datasets, site: Site, target: Path) -> None:
    site.faults = [says(503)] * 10
    with pytest.raises(DatasetError, match=r"/f\.zip answers 503 after 3 attempts; try again later"):
        datasets.download("kaggle", target)
    assert len(site.fetches()) == 3


def test_nobody_there_is_said(site: Site, target: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DatasetError, match=rf"cannot download {url}/api/v1/json/data/1597: connection lost"):
        made(site, tmp_path, openml_url=url).download("openml", target)


# Too many requests.


@pytest.mark.parametrize("after", ["0", format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)])
def test_too_many_requests_are_waited_out(datasets: Datasets, site: Site, target: Path, after: str) -> None:
    site.faults = [says(429, Retry_After=after)]
    datasets.download("kaggle", target)
    assert len(site.fetches()) == 2


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=3601), usegmt=True)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_pause_that_is_too_long_is_told_at_once(datasets: Datasets, site: Site, target: Path, form: str) -> None:
    after = in_an_hour() if form == "date" else "3600"
    site.faults = [says(429, Retry_After=after)]
    with pytest.raises(DatasetError, match=r"answers 429 after 1 attempt \(it asks for a pause of 3[56]\d\d s\)"):
        datasets.download("kaggle", target)


# Refusals.


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "sign in, open https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud and accept its terms"),
        (404, "Kaggle does not have the table there any more"),
    ],
)
def test_a_refusal_is_explained_and_not_repeated(
    datasets: Datasets, site: Site, target: Path, status: int, advice: str
) -> None:
    site.refusal = status
    with pytest.raises(DatasetError, match=advice) as caught:
        datasets.download("kaggle", target)
    assert "Permission denied" in str(caught.value)
    assert "--source openml" in str(caught.value)
    assert len(site.requests) == 1


def test_a_wrong_token_is_explained(site: Site, target: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Kaggle does not accept the token .* make a new one") as caught:
        made(site, tmp_path, kaggle_username=USER, kaggle_key="old-key").download("kaggle", target)
    assert "old-key" not in str(caught.value)
    assert len(site.requests) == 1


def test_what_openml_says_is_passed_on(datasets: Datasets, site: Site, target: Path) -> None:
    site.description = {"error": {"code": "111", "message": "Unknown dataset"}}
    with pytest.raises(DatasetError, match=r"OpenML does not have data set 1597 any more .*Unknown dataset"):
        datasets.download("openml", target)


def test_an_unexpected_description_is_shown(datasets: Datasets, site: Site, target: Path) -> None:
    site.description = {"data": "other"}
    with pytest.raises(DatasetError, match=r"/api/v1/json/data/1597 does not describe a data set: {'data': 'other'}"):
        datasets.download("openml", target)


def test_a_signature_is_in_no_message(datasets: Datasets, site: Site, target: Path) -> None:
    site.faults = [says(400)]
    with pytest.raises(DatasetError, match=r"/f\.zip answers 400") as caught:
        datasets.download("kaggle", target)
    assert SIGNATURE not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_web_page_in_place_of_the_file_is_seen(datasets: Datasets, site: Site, target: Path) -> None:
    site.faults = [serves(Served(b"<html>Sign in</html>", media="text/html; charset=utf-8"))]
    with pytest.raises(DatasetError, match=r"answers with a web page instead of data"):
        datasets.download("kaggle", target)


# Files that are not the table.


@pytest.mark.parametrize(
    ("served", "why"),
    [
        pytest.param(Served(b"<html>Sorry</html>"), "no sound zip", id="a web page that calls itself a zip"),
        pytest.param(Served(zipped(b"x", "other.csv")), "has no creditcard.csv", id="another archive"),
        pytest.param(Served(zipped(b"a,b\n1,2\n")), "its columns are a, b, and not Time, V1", id="another table"),
        pytest.param(
            Served(zipped(kaggle_csv(rows()[:-1]))), "2,999 rows with 7 frauds, and not 3,000 with 7", id="rows missing"
        ),
        pytest.param(Served(zipped(kaggle_csv(rows()[7:] + rows()[-7:]))), "3,000 rows with 0 frauds", id="no frauds"),
        pytest.param(
            Served(zipped(kaggle_csv(rows()).replace(b"149.620", b"many", 1))), "Amount", id="text in place of a number"
        ),
    ],
)
def test_what_is_not_the_table_is_fetched_once_more_and_then_refused(
    datasets: Datasets, site: Site, target: Path, served: Served, why: str
) -> None:
    site.faults = [serves(served)]
    datasets.download("kaggle", target)
    assert read_csv(target) == [list(COLUMNS), *rows()]
    target.unlink()
    site.requests.clear()
    site.faults = [serves(served), serves(served)]
    with pytest.raises(DatasetError, match=f"is not the credit card table, twice: .*{why}"):
        datasets.download("kaggle", target)
    assert site.fetches() == [None, None]
    assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_is_fetched_once_more_and_then_refused(datasets: Datasets, site: Site, target: Path) -> None:
    other = Served(openml_arff(rows()[::-1]))
    site.faults = [serves(other)]
    datasets.download("openml", target)
    assert read_csv(target) == [list(COLUMNS), *rows()]
    target.unlink()
    site.faults = [serves(other), serves(other)]
    with pytest.raises(
        DatasetError, match=r"twice: OpenML's file has the MD5 [0-9a-f]{32}, and [0-9a-f]{32} was announced"
    ):
        datasets.download("openml", target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(openml_arff([row[1:] for row in rows()], COLUMNS[1:]), "has no column Time", id="without Time"),
        pytest.param(openml_arff(rows()) + b"1,2,3\n", "has a row of 3 cells for 31 columns", id="a torn row"),
    ],
)
def test_an_arff_file_of_another_form_is_refused(
    datasets: Datasets, site: Site, target: Path, body: bytes, why: str
) -> None:
    site.arff = Served(body)
    site.description = described(site)
    with pytest.raises(DatasetError, match=f"twice: OpenML's file {why}"):
        datasets.download("openml", target)


# The file on this machine.


def test_a_table_that_is_there_is_left_alone(datasets: Datasets, site: Site, target: Path) -> None:
    datasets.download("openml", target)
    before = target.stat()
    site.requests.clear()
    assert datasets.download("kaggle", target) == target
    after = target.stat()  # when it was last read may differ
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert site.requests == []


def test_a_file_of_another_kind_is_neither_taken_nor_overwritten(datasets: Datasets, site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(
        DatasetError, match=rf"{target} is there, and is not the credit card table: its columns are mine"
    ):
        datasets.download("kaggle", target)
    assert target.read_text() == "mine"
    assert site.requests == []


def test_a_file_is_replaced_only_by_a_whole_one(datasets: Datasets, site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("mine")
    site.faults = [says(400)]
    with pytest.raises(DatasetError):
        datasets.download("kaggle", target, replace=True)
    assert target.read_text() == "mine"
    datasets.download("kaggle", target, replace=True)
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    datasets: Datasets, site: Site, target: Path
) -> None:
    def is_huge(handler: object, _served: Served) -> None:
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", str(10**18))  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.close_connection = True  # type: ignore[attr-defined]

    site.faults = [is_huge]
    with pytest.raises(DatasetError, match=r"no space left for .*creditcard\.csv\.kaggle.*: make room and try again"):
        datasets.download("kaggle", target)


def test_a_disk_that_gets_full_is_said(datasets: Datasets, target: Path) -> None:
    work = target.with_name(".creditcard.csv.kaggle")
    work.mkdir(parents=True)
    (work / "archive.zip.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError, match=r"no space left for .*archive.zip.part: make room and try again"):
        datasets.download("kaggle", target)


def test_a_folder_that_cannot_be_made_is_said(datasets: Datasets, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*file/creditcard\.csv: (File exists|Not a directory)"):
        datasets.download("kaggle", tmp_path / "file" / "creditcard.csv")


def test_two_processes_do_not_fetch_into_one_folder(datasets: Datasets, site: Site, target: Path) -> None:
    target.parent.mkdir()
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match=f"another process is fetching into {target.parent}"):
            datasets.download("kaggle", target)
    finally:
        os.close(handle)
    assert site.requests == []


# The token.


def test_without_a_token_kaggle_is_not_asked_and_it_is_said_how_to_get_one(
    site: Site, target: Path, tmp_path: Path
) -> None:
    nobody = made(site, tmp_path)
    assert nobody.default_source() == "openml"
    with pytest.raises(DatasetError, match=r"no Kaggle token: at https://www.kaggle.com/settings/api") as caught:
        nobody.download("kaggle", target)
    for word in ("~/.kaggle/kaggle.json", "KAGGLE_USERNAME", "KAGGLE_KEY", "--source openml"):
        assert word in str(caught.value)
    assert site.requests == []


def test_a_token_in_a_file_is_used(site: Site, target: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "kaggle.json"
    file.write_text(f'{{"username": "{USER}", "key": "{KEY}"}}')
    file.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        assert made(site, tmp_path).default_source() == "kaggle"
        made(site, tmp_path).download("kaggle", target)
    assert caplog.text == ""
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_a_token_that_others_can_read_is_warned_about(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "kaggle.json"
    file.write_text(f'{{"username": "{USER}", "key": "{KEY}"}}')
    file.chmod(0o644)
    assert made(site, tmp_path).default_source() == "kaggle"
    assert f"can be read by others: chmod 600 {file}" in caplog.text


@pytest.mark.parametrize(
    ("given", "missing"), [({"kaggle_username": USER}, "KAGGLE_KEY"), ({"kaggle_key": KEY}, "KAGGLE_USERNAME")]
)
def test_half_a_token_is_an_error(site: Site, tmp_path: Path, given: dict[str, str], missing: str) -> None:
    with pytest.raises(DatasetError, match=f"half a Kaggle token: {missing} is not set"):
        made(site, tmp_path, **given).default_source()


@pytest.mark.parametrize("text", ["", "[]", '{"username": "x"}'])
def test_a_file_that_is_no_token_is_an_error(site: Site, tmp_path: Path, text: str) -> None:
    (tmp_path / "kaggle.json").write_text(text)
    with pytest.raises(DatasetError, match=r"kaggle.json is no Kaggle token"):
        made(site, tmp_path).default_source()
