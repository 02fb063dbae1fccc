"""What CloudWatch keeps on disk: one JSON object a line, appended before anything is acknowledged.

Belongs here: appending, reading back, writing anew when it has grown. Does not: what an entry means (``service``).

A line is written, not synced: it outlives the process, however it ends, and does not outlive a loss of power.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

MAX_BYTES = 16 << 20

Entry = dict[str, Any]

_log = logging.getLogger(__name__)


class Journal:
    """A file of entries.

    Args:
        path: Made at the first entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def is_large(self) -> bool:
        """Whether it is time to write it anew."""
        return self._size_bytes > MAX_BYTES

    def read(self) -> list[Entry]:
        """Return all entries; the file is cut behind the last whole line, and a line that is no entry is left out and named."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            _log.warning("%s: cut %d bytes behind the last whole line", self._path, len(content) - len(whole))
            os.truncate(self._path, len(whole))
        self._size_bytes = len(whole)
        entries = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                _log.warning("%s, line %d is left out: %s", self._path, number, error)
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def append(self, entry: Entry) -> None:
        """Write an entry, whole or not at all.

        Raises:
            OSError: It could not be written.
        """
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        try:
            with self._path.open("ab") as file:
                if file.tell() > self._size_bytes:  # what a failed write left and could not be cut then
                    file.truncate(self._size_bytes)
                file.write(line)
        except OSError:
            with suppress(OSError):
                os.truncate(self._path, self._size_bytes)
            raise
        self._size_bytes += len(line)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Put other entries in the place of all.

        Raises:
            OSError: They could not be written; the old ones stay.
        """
        fresh = self._path.with_suffix(".new")
        size_bytes = 0
        with fresh.open("wb") as file:
            for entry in entries:
                size_bytes += file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        fresh.replace(self._path)
        self._size_bytes = size_bytes
