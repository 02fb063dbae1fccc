"""Errors that no retry can mend, told to Dagster as such."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def hopeless(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors into a failure of the step that is shown as it reads and not retried."""
    try:
        yield
    except errors as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
