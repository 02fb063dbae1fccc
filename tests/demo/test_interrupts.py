"""An interrupt ends a command in order: what was started is stopped once, one line is said, the exit code is a shell's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.interrupts import InterruptedCommandError, interruptible, uninterrupted

PROGRAM = Path(__file__).with_name("interrupted.py")
TIMEOUT_S = 60.0


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGTERM")])
def test_the_first_signal_ends_it_and_later_ones_do_not_disturb_the_cleaning_up(first: str, second: str) -> None:
    child = subprocess.Popen(
        [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    os.killpg(child.pid, signal.Signals[first])
    assert child.stdout.readline() == "cleaning\n"
    os.killpg(child.pid, signal.Signals[second])
    said, _ = child.communicate("\n", timeout=TIMEOUT_S)
    assert said.splitlines() == ["cleaned", f"{first}: nothing is left"]
    assert child.returncode == 128 + signal.Signals[first]


def test_a_keyboard_interrupt_of_python_is_said_in_the_same_words() -> None:
    with (
        pytest.raises(InterruptedCommandError, match="SIGINT: all is stopped") as raised,
        interruptible("all is stopped"),
    ):
        raise KeyboardInterrupt
    assert raised.value.exit_code == 130


def test_other_errors_pass_and_the_handlers_are_those_of_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(CommandError, match="broken"), interruptible("all is stopped"):
        raise CommandError("broken")
    with uninterrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
