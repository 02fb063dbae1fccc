"""What ``make demo`` shows while it runs: a line per stage, on a terminal the one under way with its time and its step.

Belongs here: drawing. Does not: the stages (``cli/demo.py``), what is shown of their outcome (``cli/demo_report.py``).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

DONE, FAILED = "[green]✔[/]", "[red]✘[/]"
NAME_WIDTH = 32


class Display:
    """The stages in order. Without a terminal, such as in CI, a line when one begins and one when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            _Mark(),
            TextColumn(f"{{task.description:<{NAME_WIDTH}}}", table_column=Column(no_wrap=True, width=NAME_WIDTH)),
            _Seconds(table_column=Column(no_wrap=True, width=6)),
            TextColumn("[dim]{task.fields[step]}[/]", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Say something that stays."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator["Stage"]:
        """Show a stage while the block runs, and how it ended."""
        stage = Stage(self._progress, self._progress.add_task(name, total=1, step="", mark=""))
        if not self._console.is_terminal:
            self.note(f"… {name}")
        started, mark = time.monotonic(), FAILED
        try:
            yield stage
            mark = DONE
        finally:
            stage.seconds = round(time.monotonic() - started, 1)
            stage.end(mark)
            if not self._console.is_terminal:
                self.note(f"{mark} {name:<{NAME_WIDTH}} {stage.seconds:.0f} s")


class Stage:
    """One line of the display.

    Attributes:
        seconds: That it took; 0 while it is under way.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self.seconds = 0.0

    def step(self, text: str) -> None:
        """Say what is under way."""
        self._progress.update(self._task, step=escape(text.partition("\n")[0]))

    def end(self, mark: str) -> None:
        """Show how it ended; where that was badly, the step stays."""
        if mark == DONE:
            self._progress.update(self._task, step="")
        self._progress.update(self._task, completed=1, mark=mark)


class _Mark(SpinnerColumn):
    """A spinner, then how the stage ended."""

    def render(self, task: Task) -> Text:
        return Text.from_markup(task.fields["mark"]) if task.finished else Text.from_markup(str(super().render(task)))


class _Seconds(ProgressColumn):
    """The time of a stage, whole seconds."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time if task.finished else task.elapsed
        return Text(f"{seconds or 0:.0f} s".rjust(6), style="cyan")
