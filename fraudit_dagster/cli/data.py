"""``fraudit data``: the table of transactions, to this machine and to S3.

Belongs here: which file and which URI, and what is shown meanwhile. Does not: fetching (``resources/datasets.py``) or S3
(``resources/storage.py``).
"""

import hashlib
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fraudit_dagster.arrivals import landing_uri, why_no_part
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.settings import load_settings
from resources.datasets import Datasets, Source


def download(*, source: Source | None, force: bool) -> str:
    """Fetch the public table to where the graph looks for it, and return a line that says so.

    Args:
        source: None: Kaggle where there is a token, else OpenML.
        force: Fetch it also where the file is there.
    """
    with resources(load_settings(), "datasets", "project") as using:
        return fetch(using.datasets, Path(using.project.user_file), source=source, force=force)


def fetch(datasets: Datasets, target: Path, *, source: Source | None, force: bool) -> str:
    """Fetch the public table to ``target``, showing how far it is, and return a line that says so.

    Raises:
        DatasetError: It cannot be had; the message says what to do.
    """
    if target.is_file() and not force:
        return f"{target} is there already; --force fetches it anew"
    chosen = source or datasets.default_source()
    with _bar() as bar:
        task = bar.add_task(f"from {chosen}", total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        datasets.download(chosen, target, replace=force, on_progress=show)
    return f"{target}: {datasets.rows:,} transactions, {datasets.frauds:,} frauds, from {chosen}"


def upload(*, file: Path | None, landing: bool, dry_run: bool) -> str:
    """Upload a table to S3, unless it is there already, and return its URI.

    Args:
        file: None: where ``download`` puts the public table.
        landing: To the landing prefix, where the sensor ``new_data`` takes it into the next training; else below
            ``dataset/``, where nothing happens by itself.
        dry_run: Say what would be uploaded, and upload nothing.

    Raises:
        CommandError: There is no such file, or it is of no kind that the graph reads.
        StorageError: S3 did not take it.
    """
    with resources(load_settings(), "storage", "project") as using:
        path = file or Path(using.project.user_file)
        if not path.is_file():
            raise CommandError(
                f"{path}: no such file; --file names another, `fraudit data download` fetches the public one"
            )
        if why := why_no_part(path.name, path.stat().st_size):
            raise CommandError(f"{path} would not be read: {why}")
        folder = f"s3://{using.storage.data_bucket}/dataset/"
        if landing:
            folder = landing_uri(using.storage.data_bucket, using.project.landing_folder, using.project.contract.name)
        uri = f"{folder}{path.name}"
        with path.open("rb") as table:
            digest = hashlib.file_digest(table, "sha256").hexdigest()
        if (there := using.storage.digest(uri)) == digest:
            return f"{uri}: nothing to change"
        if dry_run:
            size = f"{path.stat().st_size:,} bytes, sha256 {digest[:12]}"
            return f"+ {uri}: {size}" if there is None else f"~ {uri}: sha256 {there[:12] or 'unknown'} -> {size}"
        with _bar() as bar:
            task = bar.add_task("to S3", total=path.stat().st_size)
            using.storage.upload(path, uri, digest=digest, on_progress=lambda sent: bar.advance(task, sent))
    return uri


def _bar() -> Progress:
    """Bytes, speed and the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
