"""``fraudit replay dead-letters``: events that Kinesis would not take, from S3 back to Kinesis.

Belongs here: the order of things (read, put, and only then delete) and what is shown. Does not: how the API writes a dead
letter (``api/chalicelib/events.py``): each line of an object is a record, byte for byte.
Nothing is lost whenever it is interrupted; an event that is on the stream twice is one row in the warehouse.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.settings import load_settings
from resources.kinesis import RECORD_LIMIT_BYTES, RECORDS_LIMIT, REQUEST_LIMIT_BYTES, Kinesis, Record
from resources.storage import Storage, StorageError, StoredObject

FOLDER = "dead-letters"
READERS = 16
KEYS = {"prediction": "user_id", "label": "transaction_id"}
"""What an event of each type has as its partition key."""
KEY_LIMIT_CHARACTERS = 256
LETTER_LIMIT_BYTES = 32 * 2**20
"""Of an object: no request to the API makes more of its body."""


@dataclass
class Outcome:
    """What has become of the dead letters so far.

    Attributes:
        found: Objects that were looked at.
        put: Events that Kinesis took, or would be given in a dry run.
        gone: Objects that somebody else took in the meantime.
        kept: Objects that stay in S3, by reason; Kinesis may have some of their events.
    """

    found: int = 0
    put: int = 0
    gone: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def dead_letters(*, day: date | None, dry_run: bool) -> None:
    """Put the dead letters of a day, or all, on the stream, and print a table of what became of them.

    Args:
        day: Day (UTC) of their folder; None: all.
        dry_run: Read and check them only.

    Raises:
        CommandError: Some are kept, or Kinesis takes nothing; the table says how many, the lines above it which.
        KinesisError, StorageError: AWS refused a request or could not be reached; what was done until then stays done.
    """
    outcome = Outcome()
    progress = progress_of("dead letters")
    with resources(load_settings(), "storage", "kinesis") as using:
        prefix = f"s3://{using.storage.stream_bucket}/{FOLDER}/{f'{day}/' if day else ''}"
        try:
            with progress:
                task = progress.add_task("", total=sum(1 for _ in _objects(using.storage, prefix)))
                for kept in replay(using.storage, using.kinesis, prefix, outcome=outcome, dry_run=dry_run):
                    if kept:
                        progress.console.print(f"kept {kept}", markup=False, highlight=False, soft_wrap=True)
                    progress.update(task, completed=outcome.found)
        finally:
            print(prefix)  # noqa: T201 - the command's output
            Console().print(closing_table(_rows(outcome, dry_run=dry_run)))
    if outcome.kept:
        raise CommandError(f"some dead letters are kept: {outcome.kept.total():,} of {outcome.found:,}, named above")


def replay(storage: Storage, kinesis: Kinesis, prefix: str, *, outcome: Outcome, dry_run: bool) -> Iterator[str]:
    """Put the events below ``prefix`` on the stream, batch by batch, and delete each object that Kinesis took.

    Args:
        storage: Where they lie.
        kinesis: The stream.
        prefix: ``s3://bucket/key``.
        outcome: Counted up on the way, so that it is right whenever this ends.
        dry_run: Put and delete nothing.

    Yields:
        A line for each object that is kept, with the reason; an empty one after each batch.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="dead-letters") as pool:
        for batch in _batches(_objects(storage, prefix)):
            letters: dict[str, list[Record]] = {}
            for found, read in zip(batch, pool.map(lambda found: _read(storage, found), batch), strict=True):
                outcome.found += 1
                if not isinstance(read, str):
                    letters[found.uri] = read
                elif read:
                    outcome.kept[read] += 1
                    yield f"{found.uri}: {read}"
                else:
                    outcome.gone += 1
            if dry_run:
                outcome.put += sum(map(len, letters.values()))
            else:
                yield from _put(storage, kinesis, letters, outcome)
            yield ""


def _put(
    storage: Storage, kinesis: Kinesis, letters: Mapping[str, Sequence[Record]], outcome: Outcome
) -> Iterator[str]:
    refused: dict[str, str] = {}
    taken = 0
    for request in _requests((uri, record) for uri, records in letters.items() for record in records):
        codes = kinesis.put([record for _, record in request])
        refused |= {uri: code for (uri, _), code in zip(request, codes, strict=True) if code is not None}
        taken += codes.count(None)
    outcome.put += taken
    storage.delete([uri for uri in letters if uri not in refused])
    for uri, code in refused.items():
        outcome.kept[code] += 1
        yield f"{uri}: {code}"
    if refused and not taken:
        raise CommandError("Kinesis takes none of the events: try again later")


def _requests(records: Iterable[tuple[str, Record]]) -> Iterator[list[tuple[str, Record]]]:
    """Yield records that one request to Kinesis takes together."""
    request: list[tuple[str, Record]] = []
    size_bytes = 0
    for uri, record in records:
        if request and (len(request) == RECORDS_LIMIT or size_bytes + record.size > REQUEST_LIMIT_BYTES):
            yield request
            request, size_bytes = [], 0
        request.append((uri, record))
        size_bytes += record.size
    if request:
        yield request


def _objects(storage: Storage, prefix: str) -> Iterator[StoredObject]:
    # The console makes empty objects that end in "/", to show a folder.
    return (found for found in storage.objects(prefix) if not found.uri.endswith("/"))


def _batches(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    """Yield objects that together are about a request to Kinesis, and fit into memory."""
    batch: list[StoredObject] = []
    size_bytes = 0
    for found in objects:
        cost_bytes = min(found.size, LETTER_LIMIT_BYTES)  # a larger one is not read
        if batch and (len(batch) == RECORDS_LIMIT or size_bytes + cost_bytes > REQUEST_LIMIT_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(found)
        size_bytes += cost_bytes
    if batch:
        yield batch


def _read(storage: Storage, found: StoredObject) -> list[Record] | str:
    """Return the records in a dead letter, or why it is kept; an empty reason where it is there no longer."""
    if found.size > LETTER_LIMIT_BYTES:
        return "larger than a dead letter"
    try:
        data = storage.read(found.uri)
    except StorageError as error:
        if error.code == "NoSuchKey":
            return ""
        raise
    records = []
    for line in data.split(b"\n"):
        record = _record(line)
        if isinstance(record, str):
            return record
        records.append(record)
    return records


def _record(line: bytes) -> Record | str:
    """Return an event as a record, or why it is none."""
    try:
        event = json.loads(line)
        key = event[KEYS[event["type"]]]
    except (ValueError, KeyError, TypeError):
        return "not an event"
    if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT_CHARACTERS:
        return "no partition key"
    record = Record(line, key)
    return record if record.size <= RECORD_LIMIT_BYTES else "larger than Kinesis takes"


def _rows(outcome: Outcome, *, dry_run: bool) -> dict[str, int]:
    rows = {"found": outcome.found, "would be put" if dry_run else "put": outcome.put}
    if outcome.gone:
        rows["taken by somebody else"] = outcome.gone
    return rows | {f"kept: {reason}": number for reason, number in sorted(outcome.kept.items())}


def progress_of(what: str) -> Progress:
    """Return the progress bar of a replay, on stderr."""
    return Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )


def closing_table(rows: Mapping[str, int]) -> Table:
    """Return how many of what, as a replay says it at its end."""
    table = Table("", "", show_header=False)
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    return table
