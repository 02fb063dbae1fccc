"""The requests that made moto what it is, on disk, in their order.

Belongs here: an entry, its line in the file, appending and reading. Does not: which requests are kept, making them again (``keeper``),
or which entries can be left out (``compaction``).

A line is the CRC-32 of an entry's JSON, a space, and that JSON.
"""

import base64
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

COMPACT_BYTES = 1 << 20
"""The size at which it is looked for entries that can be left out; later, twice what was left then."""

_CHECK_CHARS = 9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that moto was asked.

    Args:
        service: moto's name of the service.
        action: Of S3, the method.
        environ: The strings of its WSGI environment.
        body: Its body.
        seed: Of the identifiers that moto made up for it.
        skipped: How many entries of its kind were left out just before it.
    """

    service: str
    action: str
    environ: dict[str, str]
    body: bytes
    seed: int
    skipped: int = 0


def _line(entry: Entry) -> bytes:
    facts = {
        "service": entry.service,
        "action": entry.action,
        "environ": entry.environ,
        "body": base64.b64encode(entry.body).decode(),
        "seed": entry.seed,
        "skipped": entry.skipped,
    }
    text = orjson.dumps(facts)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> Entry | None:
    """Read a line; None where it is not whole."""
    text = line[_CHECK_CHARS:]
    if line[:_CHECK_CHARS] != b"%08x " % zlib.crc32(text):
        return None
    facts = orjson.loads(text)
    return Entry(**{**facts, "body": base64.b64decode(facts["body"])})


class Journal:
    """A file of entries, of one process.

    Args:
        path: Made at the first entry.
        compact: Leaves out the entries that make no difference.
    """

    def __init__(self, path: Path, compact: Callable[[list[Entry]], list[Entry]]) -> None:
        self._path = path
        self._compact = compact
        self._size_bytes = self._before_bytes = 0
        self._compact_at_bytes = COMPACT_BYTES

    def load(self) -> list[Entry]:
        """Read all entries; a torn tail is cut, lines that are not whole are set aside in ``<name>.broken``, and both are logged."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        self._size_bytes = content.rfind(b"\n") + 1
        if self._size_bytes < len(content):
            cut_bytes = len(content) - self._size_bytes
            _log.warning("%s: cut %d bytes behind the last whole line", self._path, cut_bytes)
            os.truncate(self._path, self._size_bytes)
        read = [_entry(line) for line in content[: self._size_bytes].splitlines()]
        entries = [entry for entry in read if entry is not None]
        broken = [str(number) for number, entry in enumerate(read, 1) if entry is None]
        aside = self._path.with_suffix(".broken") if broken else None
        if aside is not None:
            _log.error("%s: not whole, and left out: line %s; set aside: %s", self._path, ", ".join(broken), aside)
        fewer = self._compact(entries)
        if aside is not None or len(fewer) < len(entries):
            self._replace(fewer, aside=aside)
        return fewer

    def append(self, entry: Entry) -> None:
        """Write an entry, whole or not at all.

        Raises:
            OSError: It could not be written.
        """
        if self._size_bytes > self._compact_at_bytes:
            self.load()
            self._compact_at_bytes = max(COMPACT_BYTES, 2 * self._size_bytes)
        line = _line(entry)
        self._before_bytes = self._size_bytes
        try:
            with self._path.open("ab") as file:
                if file.tell() > self._size_bytes:  # what could not be cut before
                    file.truncate(self._size_bytes)
                file.write(line)
        except OSError:
            self.take_back()
            raise
        self._size_bytes += len(line)

    def take_back(self) -> None:
        """Cut the last entry; where that fails now, it is done before the next."""
        self._size_bytes = self._before_bytes
        with suppress(OSError):
            os.truncate(self._path, self._size_bytes)

    def clear(self) -> None:
        """Forget all entries."""
        self._path.unlink(missing_ok=True)
        self._size_bytes = self._before_bytes = 0

    def _replace(self, entries: Iterable[Entry], *, aside: Path | None) -> None:
        """Write the file anew, with a copy of the old one aside; where there is no room for that, it stays as it is."""
        fresh = self._path.with_suffix(".new")
        content = b"".join(map(_line, entries))
        try:
            if aside is not None:
                shutil.copyfile(self._path, aside)
            fresh.write_bytes(content)
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("%s: cannot be written anew: %s", self._path, error)
        else:
            self._size_bytes = len(content)
