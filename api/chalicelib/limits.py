"""How long a request may take and how large one call may be: deadlines, and lists cut to the limits of a service.

Belongs here: the arithmetic of both. Does not: the numbers (``settings.py``), or any call.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock, which no change of the wall clock moves."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left_s(self, at_most: float = float("inf")) -> float:
        """Return the seconds left, never below 0 nor above ``at_most``."""
        return max(0.0, min(at_most, self.at_s - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the steps of one request may take, in seconds.

    Attributes:
        events_s: Wait for Kinesis, with all attempts.
        dead_letters_s: Wait for S3 to take what Kinesis did not. An alert has as long as both together, at the same time.
        scoring_s: From the start until both models and the reasons are there; the steps within share it.
        models_s: Wait for both models, which are asked at the same time.
        reasons_s: Wait for the reasons; what is late is left out.
    """

    events_s: float
    dead_letters_s: float
    scoring_s: float = 0.0
    models_s: float = 0.0
    reasons_s: float = 0.0

    @property
    def worst_case_s(self) -> float:
        """The longest that a request waits for other services."""
        return self.scoring_s + self.events_s + self.dead_letters_s


def chunks(
    items: Sequence[Item], *, size_of: Callable[[Item], int], max_bytes: int, max_items: int | None = None
) -> Iterator[Sequence[Item]]:
    """Cut a sequence, in order, into pieces of at most so many bytes and items; an item that is larger stands alone."""
    start, size = 0, 0
    for position, item in enumerate(items):
        item_bytes = size_of(item)
        if position > start and (size + item_bytes > max_bytes or position - start == max_items):
            yield items[start:position]
            start, size = position, 0
        size += item_bytes
    if start < len(items):
        yield items[start:]
