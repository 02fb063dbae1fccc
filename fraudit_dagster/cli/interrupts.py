"""An interrupt ends a command in order, and once.

Belongs here: signals. Does not: what a command ends (``cli/demo.py``).
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fraudit_dagster.cli.errors import CommandError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedCommandError(CommandError):
    """A signal ended the command, which has ended all that it started."""

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # what a shell gives a command that a signal ended


@contextmanager
def interruptible(ended: str) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the block as ``KeyboardInterrupt`` does, so that it can clean up behind itself.

    The first one counts: later ones are ignored, also by the processes that are started to clean up.

    Args:
        ended: What to say when the block has ended in that way.

    Raises:
        InterruptedCommandError: In place of the ``KeyboardInterrupt``.
    """
    heard: list[int] = []

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        heard.append(number)
        _ignore()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt as interrupt:
        number = heard[0] if heard else signal.SIGINT
        raise InterruptedCommandError(f"{signal.Signals(number).name}: {ended}", number=number) from interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore these signals for the length of the block, and in what it starts."""
    before = _ignore()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore() -> dict[signal.Signals, "signal._HANDLER"]:
    return {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
