"""The random part of the identifiers that moto makes up: a secret's ARN, a subscription's, an access key.

Belongs here: making them the same when a request is made again. Does not: which requests those are (``keeper``).

moto draws them all from one generator. To seed that one would not do: a request that runs at the same time draws from it too, and what
it takes is missing when the first one is made again alone. So a thread can have a generator of its own for a while.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from moto.moto_api._internal import mock_random


class Identifiers:
    """Stands between moto and its generator from the time it is made."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._shared_bits, self._shared_random = mock_random.getrandbits, mock_random.random
        mock_random.getrandbits = self._getrandbits  # type: ignore[method-assign]
        mock_random.random = self._random  # type: ignore[method-assign]

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Let what this thread asks of moto depend on a seed only."""
        self._own.generator = random.Random(seed)  # noqa: S311 - moto's own is no better, and must be repeatable
        try:
            yield
        finally:
            del self._own.generator

    def _getrandbits(self, count: int, /) -> int:
        generator: random.Random | None = getattr(self._own, "generator", None)
        return self._shared_bits(count) if generator is None else generator.getrandbits(count)

    def _random(self) -> float:
        generator: random.Random | None = getattr(self._own, "generator", None)
        return self._shared_random() if generator is None else generator.random()
