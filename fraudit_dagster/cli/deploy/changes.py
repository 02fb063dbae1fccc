"""What a step of ``fraudit deploy`` would change, how that is shown, and how it is carried out.

Belongs here: nothing of any step.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import typer

NOTHING = "nothing to change"


@dataclass(frozen=True)
class Change:
    """One thing that differs from what it should be.

    Attributes:
        what: Its name as people know it, such as ``function ml-inference-api-dev``.
        before: What it is, in words; None where it is not there.
        after: What it becomes; None where it is removed.
        carry_out: Makes it so, and returns a line of what came of it, or None where ``after`` says all.
    """

    what: str
    before: str | None
    after: str | None
    carry_out: Callable[[], str | None]

    def __str__(self) -> str:
        """Say it in one line: ``+`` is new, ``~`` differs, ``-`` goes."""
        if self.before is None:
            return f"+ {self.what}: {self.after}"
        if self.after is None:
            return f"- {self.what}: {self.before}"
        return f"~ {self.what}: {self.before} -> {self.after}"


def run(changes: Iterable[Change], *, dry_run: bool) -> int:
    """Show each change and, unless it is a dry run, carry it out before the next one is looked for; return how many there were.

    Raises:
        CommandError: Or another error of ours, of the change that could not be carried out; those before it stay.
    """
    count = 0
    for change in changes:
        count += 1
        typer.echo(str(change))
        if not dry_run and (outcome := change.carry_out()):
            typer.echo(f"  {outcome}")
    if not count:
        typer.echo(NOTHING)
    elif dry_run:
        typer.echo(f"{count} to change; nothing was changed (dry run)")
    return count
