"""The public credit card table: from Kaggle or OpenML to a csv file on this machine.

Belongs here: what the two sites ask for and answer, and what the file must hold. Does not: HTTP (``resources/downloads.py``),
tables of others (``fraudit_dagster/tables.py``).

Both sites answer as the sources of their clients show (kaggle-api, kagglehub; openml-python, scikit-learn's
``fetch_openml``) and as projects that fetched the table report. This module was not tried against the live sites.

- Kaggle: ``GET /api/v1/datasets/download/<owner>/<name>`` with basic authentication redirects to a signed URL of a storage
  service, which serves a zip and takes ranges.
- OpenML: data set 1597 is the same rows in the same order. Its description names an ARFF file of 31 columns and that
  file's MD5. ``Time`` is flagged there as a row identifier, so ``fetch_openml`` leaves it out; the file holds it. The
  Parquet copy has no checksum, so it is not used.
"""

import csv
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from fraudit_dagster.contract import load_contract
from fraudit_dagster.tables import TableError, count_table
from resources.downloads import DownloadError, Downloads, OnProgress, writing

Source = Literal["kaggle", "openml"]
_Fetch = Callable[[Path, OnProgress | None], Path]

COLUMNS = ("Time", *(f"V{number}" for number in range(1, 29)), "Amount", "Class")
KAGGLE_DATASET = "mlg-ulb/creditcardfraud"
OPENML_ID = 1597
KAGGLE_ACCESS = (
    "at https://www.kaggle.com/settings/api choose 'Create Legacy API Key', and put the kaggle.json that it gives you at "
    "~/.kaggle/kaggle.json, readable by you alone, or set KAGGLE_USERNAME and KAGGLE_KEY"
)
OTHER_WAYS = "openml has the same rows and needs no token (fraudit data download --source openml)"

logger = logging.getLogger(__name__)


class DatasetError(RuntimeError):
    """The table cannot be fetched; the message says why, and what to do."""


class _DamagedError(Exception):
    """What arrived is not the table."""


class Datasets(dg.ConfigurableResource):
    """The two sites that offer the public credit card table."""

    kaggle_username: str | None = Field(default=None, description="User of the Kaggle token.")
    kaggle_key: str | None = Field(default=None, description="Key of the Kaggle token.")
    kaggle_file: str = Field(
        default="~/.kaggle/kaggle.json", description="The token, where the two above are not given."
    )
    kaggle_url: str = "https://www.kaggle.com"
    openml_url: str = "https://www.openml.org"
    rows: int = Field(default=284_807, description="Transactions that the table must hold.")
    frauds: int = Field(default=492, description="Frauds among them.")
    timeout_s: float = Field(default=30.0, gt=0, description="Longest wait for a connection, and for the next bytes.")
    attempts: int = Field(default=5, ge=1, description="Requests for one file, all in all.")
    backoff_s: float = Field(default=1.0, ge=0, description="Pause before the second attempt; doubles each time.")

    def default_source(self) -> Source:
        """Return ``kaggle`` where there is a token, else ``openml``.

        Raises:
            DatasetError: There is a token, and something is wrong with it.
        """
        return "openml" if self._token() is None else "kaggle"

    def download(
        self, source: Source, target: Path, *, replace: bool = False, on_progress: OnProgress | None = None
    ) -> Path:
        """Fetch the table to ``target`` as csv, with the header that was published, and return ``target``.

        The file gets its name only when all rows are there. What has arrived of an incomplete one is kept beside it, in a
        hidden folder, and continued by the next call. A damaged file is fetched once more from its start.

        Args:
            source: Which site.
            target: Left alone where it is the table already.
            replace: Fetch also where ``target`` exists; until the new file is complete the old one stays.
            on_progress: Told how many bytes are here, and how many there are, if the site says.

        Raises:
            DatasetError: The site, the token, the file or the disk; the message says what to do.
        """
        fetch = {"kaggle": self._from_kaggle, "openml": self._from_openml}[source]
        work = target.with_name(f".{target.name}.{source}")
        try:
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with _alone(target.parent):
                    if target.is_file() and not replace:
                        self._verify(target)
                    else:
                        self._sound(fetch, work, on_progress).replace(target)
                        shutil.rmtree(work)
        except _DamagedError as error:
            raise DatasetError(
                f"{target} is there, and is not the credit card table: {error}; move it away, or fetch the table over it "
                "(fraudit data download --force)"
            ) from error
        except DownloadError as error:
            raise DatasetError(_explained(source, error)) from error
        return target

    def _sound(self, fetch: _Fetch, work: Path, on_progress: OnProgress | None, *, again: bool = True) -> Path:
        """Fetch the table into ``work``; where what came is damaged, once more."""
        work.mkdir(exist_ok=True)
        try:
            table = fetch(work, on_progress)
            self._verify(table)
        except _DamagedError as error:
            shutil.rmtree(work)
            if not again:
                raise DatasetError(
                    f"what was fetched is not the credit card table, twice: {error}; try the other source, or put the file "
                    "at dataset/creditcard.csv by hand"
                ) from error
            logger.warning("fetching once more: %s", error)
            return self._sound(fetch, work, on_progress, again=False)
        return table

    def _from_kaggle(self, work: Path, on_progress: OnProgress | None) -> Path:
        token = self._token()
        if token is None:
            raise DatasetError(f"no Kaggle token: {KAGGLE_ACCESS}; {OTHER_WAYS}")
        url = f"{self.kaggle_url}/api/v1/datasets/download/{KAGGLE_DATASET}"
        archive = self._downloads().file(url, work / "archive.zip", auth=token, on_progress=on_progress)
        table = work / "creditcard.csv"
        try:
            with zipfile.ZipFile(archive) as packed, packed.open(table.name) as packed_table, table.open("wb") as file:
                shutil.copyfileobj(packed_table, file, 1 << 20)
        except (zipfile.BadZipFile, EOFError) as error:
            raise _DamagedError(f"Kaggle's file is no sound zip ({error})") from error
        except KeyError as error:
            raise _DamagedError(f"Kaggle's zip has no {table.name}") from error
        return table

    def _from_openml(self, work: Path, on_progress: OnProgress | None) -> Path:
        url = f"{self.openml_url}/api/v1/json/data/{OPENML_ID}"
        answer = self._downloads().json(url)
        try:
            description = answer["data_set_description"]
            location, md5 = description["url"], description["md5_checksum"]
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{url} does not describe a data set: {str(answer)[:200]}") from error
        arff = self._downloads().file(location, work / "creditcard.arff", on_progress=on_progress)
        with arff.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            raise _DamagedError(f"OpenML's file has the MD5 {found}, and {md5} was announced")
        return _csv_of(arff, work / "creditcard.csv")

    def _downloads(self) -> Downloads:
        return Downloads(timeout_s=self.timeout_s, attempts=self.attempts, backoff_s=self.backoff_s)

    def _verify(self, table: Path) -> None:
        with table.open(encoding="utf-8", errors="replace", newline="") as file:
            header = tuple(next(csv.reader(file), []))
        if header != COLUMNS:
            raise _DamagedError(f"its columns are {', '.join(header)[:200]}, and not {', '.join(COLUMNS)}")
        try:
            counts = count_table(table, load_contract())
        except TableError as error:
            raise _DamagedError(str(error)) from error
        if (counts.rows, counts.frauds) != (self.rows, self.frauds):
            raise _DamagedError(
                f"it has {counts.rows:,} rows with {counts.frauds:,} frauds, and not {self.rows:,} with {self.frauds:,}"
            )

    def _token(self) -> tuple[str, str] | None:
        """Return user and key, None where nothing is set and no file is there."""
        if self.kaggle_username and self.kaggle_key:
            return self.kaggle_username, self.kaggle_key
        if self.kaggle_username or self.kaggle_key:
            missing = "KAGGLE_KEY" if self.kaggle_username else "KAGGLE_USERNAME"
            raise DatasetError(f"half a Kaggle token: {missing} is not set; set both, or neither")
        path = Path(self.kaggle_file).expanduser()
        try:
            document = json.loads(path.read_text())
            token = str(document["username"]), str(document["key"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f'{path} is no Kaggle token {{"username": …, "key": …}}: {KAGGLE_ACCESS}') from error
        if path.stat().st_mode & 0o077:
            logger.warning("%s can be read by others: chmod 600 %s", path, path)
        return token


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from fetching into the same folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetError(f"another process is fetching into {folder}; wait for it") from error
        yield
    finally:
        os.close(handle)


def _csv_of(arff: Path, table: Path) -> Path:
    """Copy the rows of a dense ARFF file to csv, each number digit by digit, the columns in the published order.

    ARFF is a header of ``@attribute <name> <type>`` lines, then ``@data``, then csv with single quotes
    (https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/). scipy's reader takes 2.5 times
    the time and five times the memory for these rows.
    """
    names: list[str] = []
    with (
        arff.open(encoding="utf-8", errors="replace", newline="") as file,
        table.open("w", encoding="utf-8", newline="") as out,
    ):
        for line in file:
            if line.strip().lower() == "@data":
                break
            if attribute := re.match(
                r"""\s*@attribute\s+(?P<quote>['"]?)(?P<name>[^'"\s]+)(?P=quote)\s""", line, re.IGNORECASE
            ):
                names.append(attribute["name"])
        if missing := [name for name in COLUMNS if name not in names]:
            raise _DamagedError(f"OpenML's file has no column {', '.join(missing)}")
        places = [names.index(name) for name in COLUMNS]
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(COLUMNS)
        writer = csv.writer(out, lineterminator="\n")
        for row in csv.reader(file, quotechar="'", skipinitialspace=True):
            if row and not row[0].startswith("%"):
                if len(row) != len(names):
                    raise _DamagedError(f"OpenML's file has a row of {len(row)} cells for {len(names)} columns")
                writer.writerow([row[place] for place in places])
    return table


def _explained(source: Source, error: DownloadError) -> str:
    """Return what to do about an error of the site."""
    if source == "kaggle":
        page = f"https://www.kaggle.com/datasets/{KAGGLE_DATASET}"
        match error.status:
            case 401:
                return f"Kaggle does not accept the token ({error}): make a new one, {KAGGLE_ACCESS}; {OTHER_WAYS}"
            case 403:
                return f"Kaggle refuses the table ({error}): sign in, open {page} and accept its terms; {OTHER_WAYS}"
            case 404:
                return f"Kaggle does not have the table there any more ({error}): look at {page}; {OTHER_WAYS}"
    if error.status in {404, 412}:  # 412 is OpenML's status for every error of its own
        return f"OpenML does not have data set {OPENML_ID} any more ({error}); take it from Kaggle"
    return str(error)
