"""Child processes that never outlive their parent.

Belongs here: starting, ending and finding processes. Does not: which ones to start, and when (``supervisor``).

Three layers, because each has a hole: a process group of its own (a child may leave it), the kernel's parent-death signal (Linux
only, and for the direct child only), and a mark in the environment, which every descendant inherits (``kill_marked``).
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log_path: Path,
    error_log_path: Path | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, its output appended to a log; on Linux it dies with this process.

    What it writes to stderr goes to ``error_log_path`` where that is given, else to the same log.

    Raises:
        OSError: The command or ``cwd`` does not exist, or cannot be run.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log, (error_log_path or log_path).open("ab") as error_log:
        return spawn_into(log.fileno(), command, env=env, errors=error_log.fileno(), cwd=cwd, stdin=stdin)


def spawn_into(
    output: int,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    errors: int = subprocess.STDOUT,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a command as ``spawn`` does, its output going to an open file, and what it writes to stderr to another where one is given.

    Call it from a thread that lives as long as the process (the main thread): Linux sends the death signal when the *thread* that
    started the child ends.

    Raises:
        OSError: The command or ``cwd`` does not exist, or cannot be run.
    """
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=output,
        stderr=errors,
        process_group=0,
        preexec_fn=_before_exec(),  # noqa: PLW1509 - it makes a few system calls and takes no lock
    )


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux only; needed again after a change of user)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _before_exec() -> Callable[[], None] | None:
    """Return what a child of this process does between fork and exec; the library is loaded here, not in the child."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        # An ignored or blocked SIGTERM is inherited: such a child could not be asked to end.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_kernel


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """End a process and its group: SIGTERM, then SIGKILL after ``grace_s`` seconds. Blocks until it is gone.

    Returns:
        The exit code, negative where a signal ended it.
    """
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    _signal_group(process.pid, signal.SIGKILL)
    return process.wait()


async def wait(process: subprocess.Popen[bytes], *, at_most_s: float) -> int | None:
    """Wait for a process, and return its exit code, or None where it still runs after ``at_most_s``.

    On Linux the kernel tells of its end; elsewhere it is asked again and again.
    """
    deadline_s = time.monotonic() + at_most_s
    while (code := process.poll()) is None and (left_s := deadline_s - time.monotonic()) > 0:
        try:
            descriptor = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            await asyncio.sleep(min(_POLL_S, left_s))
        else:
            try:
                await _readable(descriptor, left_s)
            finally:
                os.close(descriptor)
    return code


async def _readable(descriptor: int, timeout_s: float) -> None:
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, is_readable.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(is_readable.wait(), timeout_s)
    finally:
        loop.remove_reader(descriptor)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(pid, number)


def marked(name: str, value: str) -> list[int]:
    """Return the pids of the processes, other than this one, whose environment has ``name=value``."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(name) == value:
                found.append(process.pid)
    return found


def kill_marked(name: str, value: str, *, timeout_s: float = 10.0) -> list[int]:
    """Kill every other process whose environment has ``name=value``, until none is left.

    Returns:
        The pids that were killed.

    Raises:
        TimeoutError: Some were still there after ``timeout_s``.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout_s
    while pids := marked(name, value):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes that cannot be killed: {pids}")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(pids)
        time.sleep(_POLL_S)
    return sorted(killed)
