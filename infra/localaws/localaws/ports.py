"""TCP ports on 127.0.0.1 that two local clouds never choose both.

Belongs here: finding a free port and holding it. Does not: which service wants which (``services``).
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
LAST_PORT = 65_535


class NoFreePortError(RuntimeError):
    """Every port from the wanted one upwards is taken."""


@dataclass(frozen=True)
class Lease:
    """A port that is this process's until the lease is garbage or the process ends."""

    port: int
    lock: IO[bytes]


def lease_port(wanted: int, *, avoid: Iterable[int] = ()) -> Lease:
    """Lease the wanted port, or the next free one that is not in ``avoid``.

    A port counts as free when nothing listens on it and no other process holds its lease: two that start at the same time
    would else choose the same one before either listens.

    Raises:
        NoFreePortError: There is none up to 65,535.
    """
    folder = Path(tempfile.gettempdir()) / f"localaws-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    avoided = set(avoid)
    for port in range(wanted, LAST_PORT + 1):
        if port != wanted and port in avoided:
            continue
        lock = (folder / f"{port}.lock").open("wb")
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_free(port):
                return Lease(port, lock)
        lock.close()
    raise NoFreePortError(f"no port from {wanted} to {LAST_PORT} is free on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a port of yesterday's connections is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
