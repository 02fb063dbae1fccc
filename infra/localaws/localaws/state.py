"""The state folder: who holds it, what runs in it, where its logs are.

Belongs here: the lock and the status file that the supervisor writes and the commands read. Does not: starting or ending anything.

That a supervisor lives is told by a lock that the kernel drops at its death, never by a pid in a file.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OWNER_MARK = "LOCALAWS_OWNER"
LOG_TAIL_LINES = 15
LOG_TAIL_BYTES = 8192
LOCK_TIMEOUT_S = 1.0


class AlreadyRunningError(RuntimeError):
    """A supervisor holds this state folder."""


@contextmanager
def hold(state_dir: Path) -> Iterator[Callable[[], bool]]:
    """Hold a state folder.

    Yields:
        A function that says whether it is still held: not any more where the folder was removed.

    Raises:
        AlreadyRunningError: Another process holds it.
    """
    path = state_dir / "supervisor.lock"
    with path.open("ab") as lock:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):  # a command that only looks holds it for a moment
            if time.monotonic() > deadline:
                raise AlreadyRunningError(
                    f"a supervisor already runs in {state_dir}: `localaws down --state {state_dir}` ends it"
                )
            time.sleep(0.02)

        def is_held_still() -> bool:
            try:
                return os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except FileNotFoundError:
                return False

        yield is_held_still


def is_held(state_dir: Path) -> bool:
    """Say whether a supervisor lives in a state folder."""
    try:
        lock = (state_dir / "supervisor.lock").open("rb")
    except FileNotFoundError:
        return False
    with lock:
        return not _try_lock(lock.fileno(), fcntl.LOCK_SH)


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_status(state_dir: Path, status: dict[str, Any]) -> None:
    """Replace the status file; it holds the passwords of the local cloud, so only its owner may read it."""
    fresh = state_dir / "status.json.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(status, file, indent=1)
    fresh.replace(state_dir / "status.json")


def read_status(state_dir: Path) -> dict[str, Any] | None:
    """Return the status file's content, or None where nothing ever ran here, or where the file is not whole."""
    try:
        status = json.loads((state_dir / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return status if isinstance(status, dict) else None


def log_tail(path: Path) -> str:
    """Return the last lines of a log, indented."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:]) or "  (its log is empty)"
