"""``fraudit simulate``: the test part of the split, sent to the prediction API as its customers would.

Belongs here: options, what is shown of a run. Does not: the run itself (``jobs/simulator.py``).
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.contract import load_contract
from fraudit_dagster.settings import load_settings
from fraudit_dagster.simulation import Drift, Feedback, Order
from fraudit_dagster.traffic import Tally
from jobs.simulator import Plan, Simulation, carry_out

if TYPE_CHECKING:
    from resources.traffic import Watch

INTERRUPTED = 130  # what a shell gives a command that Ctrl-C ended
SHOWN_EVERY_S = 0.1
TYPED_SEEDS = 1_000_000  # short enough to be typed


def planned(
    *,
    events: int,
    seed: int | None,
    days: float,
    end: datetime | None,
    order: Order,
    feedback: float,
    label_delay: float | None,
    drift: float | None,
    rate: float | None,
    concurrency: int | None,
) -> Plan:
    """Return the plan that options of the command line ask for.

    Args:
        events: As of ``Plan``.
        seed: None: a new one.
        days: That the transactions are spread over.
        end: Day before which they end, UTC; None: today, so that a plan is the same all day long.
        order: As of ``Plan``.
        feedback: Share of the transactions whose label is sent later.
        label_delay: Median days to a chargeback; None: a quarter of ``days``.
        drift: How far the inputs move from the half on, in standard deviations; None: not at all.
        rate: As of ``Plan``.
        concurrency: As of ``Plan``.
    """
    midnight = (end or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    delay = timedelta(days=days / 4 if label_delay is None else label_delay)
    return Plan(
        events=events,
        seed=secrets.randbelow(TYPED_SEEDS) if seed is None else seed,
        start=midnight - timedelta(days=days),
        end=midnight - timedelta(milliseconds=1),
        order=order,
        feedback=Feedback(feedback, delay) if feedback else None,
        drift=Drift(drift) if drift else None,
        rate=rate,
        concurrency=concurrency,
    )


def simulate(plan: Plan, *, watch: "Watch | None" = None) -> Simulation:
    """Send the test part that the settings lead to, rows that no model has learnt from, and return what became of it.

    Args:
        plan: What to send.
        watch: Called with the counts so far, after each answer.

    Raises:
        RecordError: There is no test part yet.
        StorageError: S3 could not be reached.
        SimulationError: The part allows no traffic.
    """
    settings = load_settings()
    with resources(settings, "prediction_api", "storage", "io_manager") as using:
        return carry_out(
            plan,
            contract=load_contract(settings.contract),
            io_manager=using.io_manager,
            storage=using.storage,
            prediction_api=using.prediction_api,
            watch=watch,
        )


def run(plan: Plan, *, as_json: bool) -> int:
    """Simulate with a progress bar, print the closing table or one JSON object, and return the exit code.

    Raises:
        CommandError: Requests have failed, or sending was given up; what was sent is printed before.
    """
    with _Display(plan.events, shown=not as_json) as display:
        simulation = simulate(plan, watch=display.show)
    report = simulation.report
    if as_json:
        print(json.dumps(asdict(simulation), default=_plain))  # noqa: T201 - what a program reads
    elif report.answered or report.stopped_by is None:
        Console().print(closing_table(simulation))
    if report.interrupted:
        return INTERRUPTED
    if report.stopped_by is not None:
        raise CommandError(report.stopped_by)
    if report.failed:
        raise CommandError(f"{report.failed:,} requests failed")
    return 0


def _plain(value: datetime | timedelta) -> str | float:
    """Return a time as RFC 3339, and a duration in seconds."""
    return value.isoformat() if isinstance(value, datetime) else value.total_seconds()


class _Display(Progress):
    """One line on the terminal: how far, how fast, what was decided, what failed."""

    def __init__(self, events: int, *, shown: bool) -> None:
        super().__init__(
            TextColumn("{task.completed:>,.0f} of {task.total:,.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._line = self.add_task("reading the test part", total=events)
        self._started: float | None = None
        self._shown_at = 0.0

    def show(self, tally: Tally) -> None:
        """Show the counts, ten times a second at most."""
        now = time.monotonic()
        self._started = self._started or now
        if now - self._shown_at < SHOWN_EVERY_S:
            return
        self._shown_at = now
        rate = tally.requests / (now - self._started) if now > self._started else 0.0
        errors = f"[red]{tally.errors.total():,} errors[/]" if tally.errors else ""
        counts = filter(None, (f"{rate:,.0f}/s", _counts(tally.decisions), errors))
        self.update(self._line, completed=tally.requests, description=", ".join(counts))


def closing_table(simulation: Simulation) -> Table:
    """Return what became of a run as a table for people."""
    plan, report = simulation.plan, simulation.report
    pace = f"{plan.rate:g}/s asked for" if plan.rate else "flat out"
    since = "from the intended time" if plan.rate else "from the sending"
    rows = [
        ("run", f"{simulation.run_id}, seed {plan.seed}"),
        (
            "transactions",
            f"{report.requests:,} of {plan.events:,} sent, {report.answered:,} answered, {report.retries:,} retries",
        ),
        ("decisions", _counts(report.decisions) or "none"),
        *((f"degraded: {part}", f"{count:,}") for part, count in report.degraded.items()),
        *(
            (f"{what}: {code}", f"{count:,}; {escape(report.messages[code])}")
            for what, kinds in (("error", report.errors), ("label error", report.label_errors))
            for code, count in kinds.items()
        ),
        ("throughput", f"{report.throughput:,.1f}/s in {report.seconds:,.1f} s, {pace}"),
    ]
    if report.answered:
        latency = (
            f"p50 {report.p50_ms:,.1f}, p95 {report.p95_ms:,.1f}, p99 {report.p99_ms:,.1f}, max {report.max_ms:,.1f} ms"
        )
        rows.append(("latency", f"{latency}, {since}"))
    if plan.feedback is not None:
        rows.append(
            ("labels", f"{report.labels:,} sent, {report.labels_to_come:,} still to come when the run's time ends")
        )
    if plan.drift is not None:
        moved = f"inputs move by {plan.drift.shift:g} standard deviations"
        rows.append(("drift", f"{moved} after {plan.drift.from_share:.0%} of the time"))
    if plan.events > simulation.rows:
        rows.append(("rows", f"{simulation.rows:,} in the test part: sent again from the first, with new ids"))
    if report.interrupted:
        rows.append(("ended by", "an interrupt"))
    table = Table(show_header=False, title="fraudit simulate")
    for name, text in rows:
        table.add_row(name, text)
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
