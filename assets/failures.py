"""Errors that no retry can mend, told to Dagster as such."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg


@contextmanager
def hopeless(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors into a failure of the step that is shown as it reads and not retried."""
    try:
        yield
    except errors as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def refuse_unfit(name: str, flaws: Sequence[str]) -> None:
    """Stop where something upstream failed its check: a blocking check stops only the run that it was part of.

    Args:
        name: Key of the upstream asset.
        flaws: As its record has them.

    Raises:
        dagster.Failure: There are some.
    """
    if flaws:
        raise dg.Failure(
            description=f"{name} did not pass its check, so nothing is made from it: {'; '.join(flaws)}",
            allow_retries=False,
        )
