"""Whether a person wants what cannot be taken back: by ``--yes``, or by typing a word."""

import typer

from fraudit_dagster.cli.errors import CommandError


def require_consent(word: str, *, doing: str, yes: bool) -> None:
    """Ask for a word, unless it was said before.

    Args:
        word: To be typed, such as the stage.
        doing: What is about to happen, for the question.
        yes: Whether ``--yes`` was said.

    Raises:
        CommandError: Something else was typed, or nobody is there to type; nothing has happened.
    """
    if yes:
        return
    try:
        typed = typer.prompt(f"{doing}: type {word}", default="", show_default=False)
    except typer.Abort as error:
        raise CommandError(f"nobody is here to type {word}, so nothing was changed: say --yes") from error
    if typed != word:
        raise CommandError(f"{typed!r} is not {word}, so nothing was changed")
