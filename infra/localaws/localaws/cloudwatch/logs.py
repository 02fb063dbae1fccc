"""Following the log files of all services, and shipping them to CloudWatch Logs.

Belongs here: which file belongs to which log group and stream, reading what is new in it over rotations, PutLogEvents. Does not: what a
line means (``embedded``), or rotating a file (``localaws.rotation``).

A line is shipped at least once: one that was shipped when this process was killed may be shipped again.
"""

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from localaws.rotation import KEPT_FILES
from localaws.state import read_status

MAX_READ_BYTES = 1 << 20
MAX_LINE_BYTES = 256 * 1024
"""CloudWatch's limit of an event; a longer line becomes several."""
EVENT_OVERHEAD_BYTES = 26
MAX_BATCH_EVENTS = 10_000
MAX_BATCH_BYTES = 1 << 20
SHIPPER_GROUP = "/localaws/shipper"
TIMEOUT_S = 10
ATTEMPTS = 3

_log = logging.getLogger(__name__)


class Source(NamedTuple):
    """A log file, and where CloudWatch Logs has its lines."""

    path: Path
    group: str
    stream: str


class Cursor(NamedTuple):
    """How far a file was read; ``inode`` tells it from the one that a rotation puts in its place."""

    inode: int
    offset: int


class Piece(NamedTuple):
    """Whole lines of a source, and where reading goes on behind them."""

    source: Source
    lines: list[bytes]
    written_ms: int
    cursor: Cursor


def sources(state_dir: Path) -> Iterator[Source]:
    """Return all log files there are now.

    A service's group is the one that its description names, else ``/localaws/<service>``; the others are named as on AWS.
    """
    services = (read_status(state_dir) or {}).get("services", {})
    for path in sorted(state_dir.glob("logs/*.log")):
        group = services.get(path.stem, {}).get("log_group") or f"/localaws/{path.stem}"
        yield Source(path, group, path.stem)
    sagemaker = state_dir / "sagemaker"
    for path in sorted(sagemaker.glob("jobs/*/train.log")):
        try:
            started_s = int((path.parent / "input" / "config").stat().st_mtime)
        except FileNotFoundError:  # the job was deleted just now
            continue
        yield Source(path, "/aws/sagemaker/TrainingJobs", f"{path.parent.name}/algo-1-{started_s}")
    for path in sorted(sagemaker.glob("endpoints/*/serve.log")):
        name = path.parent.name
        instance = hashlib.sha256(name.encode()).hexdigest()[:17]
        yield Source(path, f"/aws/sagemaker/Endpoints/{name}", f"AllTraffic/i-{instance}")
    for kind in ("output", "error"):
        for path in sorted((state_dir / "glue" / "runs").glob(f"*/{kind}.log")):
            yield Source(path, f"/aws-glue/jobs/{kind}", path.parent.name)


def follow(source: Source, cursor: Cursor | None) -> Iterator[Piece]:
    """Return what a source's file holds behind a cursor, that of files rotated away since then first."""
    files = _generations(source.path)
    if cursor is not None:
        place = next((index for index, (_, inode) in enumerate(files) if inode == cursor.inode), None)
        files = files if place is None else files[place:]
    for path, inode in files:
        offset = cursor.offset if cursor is not None and cursor.inode == inode else 0
        is_last = path == source.path
        yield from _read(source, path, Cursor(inode, offset), is_last=is_last)


def living(cursors: Mapping[str, Cursor]) -> dict[str, Cursor]:
    """Return the cursors of the files whose folder is still there; a file alone may be missing while it is rotated."""
    return {name: cursor for name, cursor in cursors.items() if Path(name).parent.exists()}


def _generations(path: Path) -> list[tuple[Path, int]]:
    """Return a file and those rotated away (``.1`` the newest) with their inodes, the oldest first."""
    found = []
    for candidate in [path.with_name(f"{path.name}.{number}") for number in range(KEPT_FILES - 1, 0, -1)] + [path]:
        try:
            found.append((candidate, candidate.stat().st_ino))
        except FileNotFoundError:
            continue
    return found


def _read(source: Source, path: Path, cursor: Cursor, *, is_last: bool) -> Iterator[Piece]:
    try:
        file = path.open("rb")
    except FileNotFoundError:  # rotated or removed since it was listed: the next round finds it
        return
    with file:
        facts = os.fstat(file.fileno())
        offset = cursor.offset if cursor.offset <= facts.st_size else 0
        file.seek(offset)
        while content := file.read(MAX_READ_BYTES):
            whole = content.rfind(b"\n") + 1
            if not whole and (len(content) >= MAX_LINE_BYTES or not is_last):
                whole = len(content)
            if not whole:
                return
            offset += whole
            file.seek(offset)
            lines = [line for line in content[:whole].split(b"\n") if line.strip()]
            yield Piece(source, lines, round(facts.st_mtime * 1000), Cursor(cursor.inode, offset))


@dataclass
class Shipper:
    """Ships all log files to CloudWatch Logs.

    Args:
        state_dir: Folder of all state.
        client: Makes the client of CloudWatch Logs.
        path: File that keeps how far each log was shipped.
    """

    state_dir: Path
    client: Callable[[], Any]
    path: Path
    _made: Any = None
    _marker: str = ""
    _cursors: dict[str, Cursor] = field(default_factory=dict)
    _streams: dict[str, list[str]] = field(default_factory=dict)

    def ship(self) -> None:
        """Ship what is new.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: CloudWatch Logs cannot be reached, or refuses the events.
            OSError: How far it came cannot be kept.
        """
        if self._made is None:
            self._made = self.client()
            self._recall()
        if not self._is_known():
            self._start_anew()
        for source in sources(self.state_dir):
            for piece in follow(source, self._cursors.get(str(source.path))):
                self._put(piece)
                self._cursors[str(source.path)] = piece.cursor
                self._remember()
        self._cursors = living(self._cursors)

    def _is_known(self) -> bool:
        """Say whether this CloudWatch Logs is the one that the lines were shipped to: events are lost when it ends."""
        if not self._marker:
            return False
        from botocore.exceptions import ClientError

        try:
            found = self._made.describe_log_streams(logGroupName=SHIPPER_GROUP, logStreamNamePrefix=self._marker)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return False
        return bool(found["logStreams"])

    def _start_anew(self) -> None:
        self._marker, self._cursors, self._streams = uuid.uuid4().hex, {}, {}
        self._make(SHIPPER_GROUP, self._marker)
        self._remember()

    def _put(self, piece: Piece) -> None:
        stream = self._stream_of(piece)
        for events in _batches(piece):
            self._made.put_log_events(logGroupName=piece.source.group, logStreamName=stream, logEvents=events)

    def _stream_of(self, piece: Piece) -> str:
        """Return the stream of a piece, made at its first; of a rotated log, the oldest streams are deleted."""
        source = piece.source
        is_service = source.path.parent == self.state_dir / "logs"
        stream = f"{source.stream}/{piece.cursor.inode:x}" if is_service else source.stream
        known = self._streams.setdefault(str(source.path), [])
        if stream not in known:
            self._make(source.group, stream)
            known.append(stream)
            while len(known) > KEPT_FILES:
                self._made.delete_log_stream(logGroupName=source.group, logStreamName=known.pop(0))
        return stream

    def _make(self, group: str, stream: str) -> None:
        exists = self._made.exceptions.ResourceAlreadyExistsException
        for make, names in (
            (self._made.create_log_group, {"logGroupName": group}),
            (self._made.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                make(**names)
            except exists:
                continue

    def _recall(self) -> None:
        try:
            content = orjson.loads(self.path.read_bytes())
            self._marker = content["marker"]
            self._cursors = {name: Cursor(*cursor) for name, cursor in content["cursors"].items()}
            self._streams = content["streams"]
        except FileNotFoundError:
            return
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s cannot be read, all logs are shipped again: %r", self.path, error)
            self._marker = ""

    def _remember(self) -> None:
        cursors = {name: list(cursor) for name, cursor in self._cursors.items()}
        content = {"marker": self._marker, "cursors": cursors, "streams": self._streams}
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(content))
        fresh.replace(self.path)


def _batches(piece: Piece) -> Iterator[list[Mapping[str, Any]]]:
    """Return a piece's lines as events, in batches that PutLogEvents takes."""
    moment_ms = min(piece.written_ms, round(time.time() * 1000))
    events: list[Mapping[str, Any]] = []
    size_bytes = 0
    for line in piece.lines:
        for start in range(0, len(line), MAX_LINE_BYTES - EVENT_OVERHEAD_BYTES):
            message = line[start : start + MAX_LINE_BYTES - EVENT_OVERHEAD_BYTES].decode("utf-8", "replace")
            added_bytes = len(message.encode()) + EVENT_OVERHEAD_BYTES
            if events and (len(events) == MAX_BATCH_EVENTS or size_bytes + added_bytes > MAX_BATCH_BYTES):
                yield events
                events, size_bytes = [], 0
            events.append({"timestamp": moment_ms, "message": message})
            size_bytes += added_bytes
    if events:
        yield events
