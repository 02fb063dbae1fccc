"""How the API and what it depends on are doing.

Belongs here: what is asked, and the verdict. Does not: how a dependency is asked (each has its ``probe``).
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Literal

from chalicelib.aws import code_of
from chalicelib.observability import logger

MAX_PROBES = 8

Probe = Callable[[], None]
Status = Literal["ok", "degraded", "down"]

# Without these nothing can be decided, whatever else works.
_MODELS = frozenset({"fraud_classifier", "anomaly_detector"})


class DeepHealth:
    """Asks every dependency, all at the same time, and repeats what it found for a while.

    Anybody may ask, so that the dependencies must not be asked as often as anybody likes.

    Args:
        deadline_s: Wait for all of them; one that is late is down.
        max_age_s: How long the findings are repeated.
    """

    def __init__(self, *, deadline_s: float, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s = deadline_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(MAX_PROBES, thread_name_prefix="health")
        self._found: dict[str, Any] = {}
        self._found_at = -float("inf")

    def ask(self, probes: Callable[[], Mapping[str, Probe]]) -> dict[str, Any]:
        """Return ``{"status", "latency_ms"}`` by the name of a dependency; ``latency_ms`` is None where it is down.

        Args:
            probes: Gives a probe for each dependency; called only where the findings are too old. A probe that raises says
                that its dependency is down; the log has the error's code, the answer has not.
        """
        with self._lock:
            if self._clock() - self._found_at >= self._max_age_s:
                self._found = self._ask(probes())
                self._found_at = self._clock()
            return self._found

    def _ask(self, probes: Mapping[str, Probe]) -> dict[str, Any]:
        calls = {name: self._threads.submit(_timed, probe) for name, probe in probes.items()}
        wait(calls.values(), timeout=self._deadline_s)
        return {name: _finding(name, call) for name, call in calls.items()}


def verdict(shallow: Status, found: Mapping[str, Any]) -> Status:
    """Return the status of the whole: down where nothing can be decided, degraded where something does not work."""
    down = {name for name, finding in found.items() if finding["status"] == "down"}
    if shallow == "down" or down >= _MODELS:
        return "down"
    return "degraded" if down else shallow


def _timed(probe: Probe) -> float:
    started = time.perf_counter()
    probe()
    return round((time.perf_counter() - started) * 1000, 3)


def _finding(name: str, call: "Future[float]") -> dict[str, Any]:
    error: BaseException | None = TimeoutError() if not call.done() else call.exception()
    if error is None:
        return {"status": "ok", "latency_ms": call.result()}
    call.cancel()
    logger.warning("a dependency is down", extra={"dependency": name, "reason": code_of(error)})
    return {"status": "down", "latency_ms": None}
