"""Traffic to the prediction API: many transactions at a rate or flat out, and what is said of them later.

Belongs here: when each request is sent, what ends the sending. Does not: one request (``resources/prediction_api.py``), which
requests (``fraudit_dagster/simulation.py``), counting (``fraudit_dagster/traffic.py``).

At a rate the loop is open: request n is due n / rate seconds after the start, however late the answers are, and its latency
counts from then. A client that waits for an answer before it sends again hides the wait of all that it did not send meanwhile
(coordinated omission). Flat out the loop is closed: a request is sent when an earlier one is answered, and its latency counts from there.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol

from fraudit_dagster.simulation import SimulatedEvent, SimulatedLabel
from fraudit_dagster.traffic import Tally, TrafficReport
from resources.prediction_api import Answer, PredictionApi, PredictionApiError

SILENT_AT_MOST = 3
"""First requests that may go unanswered, each after all its attempts, before the API counts as dead."""

Watch = Callable[[Tally], object]


class Client(Protocol):
    """The part of a ``Connection`` that traffic needs."""

    retries: int

    def predict(self, body: Mapping[str, Any], /) -> Awaitable[Answer]:
        """Have one transaction scored."""

    def feedback(self, body: Mapping[str, Any], /) -> Awaitable[object]:
        """Tell what a transaction was."""


def send(
    api: PredictionApi,
    events: Iterable[SimulatedEvent],
    *,
    concurrency: int,
    rate: float | None = None,
    watch: Watch | None = None,
) -> TrafficReport:
    """Send transactions in their order, and the label of an answered one when it is due.

    An error of one request is counted, not raised. A refused key, and an API that answers none of the first requests, end the
    sending: the report says so in ``stopped_by``. So does an interrupt (Ctrl-C), with ``interrupted``; requests under way
    then have the time of one attempt to end. A second interrupt is raised at once.

    Args:
        api: Where to.
        events: Consumed as they are sent.
        concurrency: Requests under way at the same time, at most.
        rate: Transactions per second; None: as fast as they are answered. Labels come on top.
        watch: Called after each answer and each failure with the counts so far.
    """

    async def connected() -> TrafficReport:
        async with api.connected(connections=concurrency) as connection:
            return await drive(
                connection, events, concurrency=concurrency, rate=rate, watch=watch, grace_s=api.timeout_s
            )

    return asyncio.run(connected())


async def drive(
    client: Client,
    events: Iterable[SimulatedEvent],
    *,
    concurrency: int,
    rate: float | None,
    watch: Watch | None,
    grace_s: float,
) -> TrafficReport:
    """Do what ``send`` does, through a client that is connected. To cancel it is to interrupt it: the report comes all the same.

    Args:
        client: What sends one request.
        events: As of ``send``.
        concurrency: As of ``send``.
        rate: As of ``send``.
        watch: As of ``send``.
        grace_s: How long requests under way may take after an early end, in seconds.
    """
    return await _Run(client, concurrency=concurrency, watch=watch).report(events, rate=rate, grace_s=grace_s)


class _Run:
    """One traffic run: what is under way, which labels are still due, and why it ends early, if it does."""

    def __init__(self, client: Client, *, concurrency: int, watch: Watch | None) -> None:
        self._client = client
        self._watch = watch
        self._tally = Tally()
        self._slots = asyncio.Semaphore(concurrency)
        self._under_way: set[asyncio.Task[None]] = set()
        self._due: list[tuple[datetime, int, SimulatedLabel]] = []
        self._numbers = itertools.count()
        self._silent = 0
        self._heard = False
        self._sending: asyncio.Task[None] | None = None
        self._stopped_by: str | None = None
        self._bug: BaseException | None = None

    async def report(self, events: Iterable[SimulatedEvent], *, rate: float | None, grace_s: float) -> TrafficReport:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        started, interrupted = loop.time(), False
        self._sending = loop.create_task(self._send(events, rate=rate))
        try:
            await self._sending
        except asyncio.CancelledError:
            # The sending was cancelled by a request (a refused key), or this task was from outside (an interrupt).
            if this is not None and this.cancelling():
                interrupted = True
                this.uncancel()
        finally:
            await self._end(grace_s)
        if self._bug is not None:
            raise self._bug
        return self._tally.report(
            seconds=loop.time() - started,
            retries=self._client.retries,
            stopped_by=self._stopped_by,
            interrupted=interrupted,
        )

    async def _send(self, events: Iterable[SimulatedEvent], *, rate: float | None) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number, event in enumerate(events):
            intended = started + number / rate if rate else None
            if intended is not None:
                await asyncio.sleep(max(0.0, intended - loop.time()))
            await self._send_labels(event.clock)
            await self._slots.acquire()
            self._start(self._transaction(event, loop.time() if intended is None else intended))
        await self._settle()
        await self._send_labels(None)
        await self._settle()

    async def _send_labels(self, now: datetime | None) -> None:
        """Send the labels that are due at ``now``, on the run's clock; None: all."""
        while self._due and (now is None or self._due[0][0] <= now):
            _, _, label = heapq.heappop(self._due)
            await self._slots.acquire()
            self._start(self._label(label))

    def _start(self, request: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(request)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._slots.release()
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._bug = bug
            self._stop()

    def _stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _settle(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _end(self, grace_s: float) -> None:
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _transaction(self, event: SimulatedEvent, intended: float) -> None:
        try:
            answer = await self._client.predict(event.body)
        except PredictionApiError as error:
            self._tally.count_error(error.code, str(error))
            self._consider(error)
        except asyncio.CancelledError:
            self._tally.count_error("interrupted", "the sending ended before the answer came")
            raise
        else:
            self._heard = True
            latency_ms = (asyncio.get_running_loop().time() - intended) * 1000
            self._tally.count_answer(answer.decision, answer.degraded, latency_ms=latency_ms)
            self._expect(event.feedback)
        self._show()

    def _expect(self, label: SimulatedLabel | None) -> None:
        if label is None:
            return
        if label.comes:
            heapq.heappush(self._due, (label.due, next(self._numbers), label))
        else:
            self._tally.labels_to_come += 1

    async def _label(self, label: SimulatedLabel) -> None:
        try:
            await self._client.feedback(label.body)
        except PredictionApiError as error:
            self._tally.count_label_error(error.code, str(error))
            self._consider(error)
        except asyncio.CancelledError:
            self._tally.count_label_error("interrupted", "the sending ended before the answer came")
            raise
        else:
            self._tally.labels += 1
        self._show()

    def _consider(self, error: PredictionApiError) -> None:
        """Give up where further requests can only fail in the same way."""
        if error.status is None:
            self._silent += 1
        else:
            self._heard = True
        if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._stopped_by = (
                f"{error}; make a key with `fraudit keys create --label simulator` and put it into FRAUDIT_API_KEY"
            )
            self._stop()
        elif self._silent >= SILENT_AT_MOST and not self._heard:
            self._stopped_by = f"{error}; is it up (`fraudit status`), and is CHALICE_API_URL its address?"
            self._stop()

    def _show(self) -> None:
        if self._watch is not None:
            self._watch(self._tally)
