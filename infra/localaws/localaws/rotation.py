"""A service's log on disk: what it prints, in files that are rotated and never grow past their limit.

Belongs here: the files, and the pipe that a service prints into. Does not: which services there are (``supervisor``).

The supervisor writes the files, so that a rotation loses nothing: a service that held the file itself would go on writing into the one
that was rotated away.
"""

import os
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 10 << 20
KEPT_FILES = 4
"""The log itself, and ``.1`` (the newest) to ``.3``."""
LONG_LINE_BYTES = 1 << 20
READ_BYTES = 1 << 16


class RotatedLog:
    """A log file, and those it was rotated into.

    Args:
        path: Appended to; its folder is made.
        max_bytes: It is rotated at the first end of a line behind this size.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lost_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Append to the log; what the disk does not take is counted, and the count is logged when it takes something again."""
        try:
            if self._lost_bytes:
                self._file.write(b"\n[localaws: %d bytes could not be written here]\n" % self._lost_bytes)
                self._lost_bytes = 0
            written = self._file.write(chunk)
            self._lost_bytes += len(chunk) - written
        except OSError:
            self._lost_bytes += len(chunk)
            return
        over_bytes = self._file.tell() - self._max_bytes
        if over_bytes > 0 and (chunk.endswith(b"\n") or over_bytes > LONG_LINE_BYTES):
            self._rotate()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        for number in range(KEPT_FILES - 2, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class OutputPipe:
    """What one process and its children print, on its way into a log.

    Attributes:
        write_end: For the process; ``release`` closes this one's own.
        read_end: Readable when there is something for ``pump``.
    """

    def __init__(self, log: RotatedLog) -> None:
        self._log = log
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def release(self) -> None:
        """Close this process's copy of the end that is written to, so that the pipe ends with the last that prints into it."""
        os.close(self.write_end)

    def pump(self) -> bool:
        """Move all that is there into the log; say whether more may come."""
        while True:
            try:
                chunk = os.read(self.read_end, READ_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._log.write(chunk)

    def close(self) -> None:
        """Close the end that is read from."""
        os.close(self.read_end)
