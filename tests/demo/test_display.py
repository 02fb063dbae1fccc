"""A demo shows one calm line per stage: on a terminal with the step under way, elsewhere when it begins and ends."""

import io
import re
from contextlib import suppress

from rich.console import Console

from fraudit_dagster.cli.demo_display import Display

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def shown(*, terminal: bool, step: str = "raw/transactions: 12 rows", fails: bool = False, width: int = 80) -> str:
    """What is written in the course of a stage, with the control sequences of a terminal."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=width, _environ={"TERM": "xterm"})
    with suppress(BrokenError), Display(console) as display:
        display.note("used again: nothing")
        with display.stage("graph: train, judge, promote") as stage:
            stage.step(step)
            if fails:
                raise BrokenError
    return written.getvalue()


class BrokenError(Exception):
    """What a stage may raise."""


def last_frame(written: str) -> str:
    """What a terminal shows at the end, as plain text."""
    return CONTROL.sub("", written.rsplit("\r", maxsplit=1)[-1]).strip()


def test_without_a_terminal_a_stage_is_two_lines() -> None:
    said = shown(terminal=False).splitlines()
    assert said[:2] == ["used again: nothing", "… graph: train, judge, promote"]
    assert re.fullmatch(r"✔ graph: train, judge, promote +0 s", said[2])
    assert len(said) == 3


def test_without_a_terminal_nothing_is_drawn() -> None:
    assert "\x1b" not in shown(terminal=False)


def test_without_a_terminal_a_stage_that_failed_says_so() -> None:
    assert shown(terminal=False, fails=True).splitlines()[-1].startswith("✘ graph")


def test_on_a_terminal_a_stage_ends_as_one_line_without_its_step() -> None:
    assert re.fullmatch(r"✔ graph: train, judge, promote +0 s", last_frame(shown(terminal=True)))


def test_where_a_stage_failed_its_step_stays_one_line_of_plain_text() -> None:
    frame = last_frame(shown(terminal=True, step="12 [of] 13 rows\nand more", fails=True))
    assert re.fullmatch(r"✘ graph: train, judge, promote +0 s 12 \[of\] 13 rows", frame)


def test_a_long_step_is_cut_to_the_width_of_the_terminal() -> None:
    frame = last_frame(shown(terminal=True, step="word " * 60, fails=True, width=60))
    assert len(frame) <= 60
    assert frame.endswith("…")
