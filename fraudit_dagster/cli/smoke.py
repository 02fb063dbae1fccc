"""``fraudit smoke``: some transactions through all parts, and whether each of them became a row.

Belongs here: the two commands that it is made of, for one run. Does not: sending (``cli/simulate.py``), accounting (``cli/verify.py``).
"""

from rich.console import Console

from fraudit_dagster.cli import simulate, verify
from fraudit_dagster.cli.errors import CommandError


def run(*, events: int, patience_s: float) -> None:
    """Send transactions, wait until they are stored, and print both tables.

    Args:
        events: Transactions to send.
        patience_s: How long to wait while nothing more arrives in the warehouse, in seconds.

    Raises:
        CommandError: A request has failed, or something was not stored.
        RecordError: There is no test part to send yet: the graph's job ``bootstrap`` makes it.
    """
    plan = simulate.planned(
        events=events,
        seed=None,
        days=2,
        end=None,
        order="time",
        feedback=0,
        label_delay=None,
        drift=None,
        rate=None,
        concurrency=None,
    )
    simulation = simulate.simulate(plan)
    report = simulation.report
    Console().print(simulate.closing_table(simulation))
    if report.stopped_by is not None:
        raise CommandError(report.stopped_by)
    if report.failed:
        raise CommandError(f"{report.failed:,} requests failed")
    verify.verify(run=simulation.run_id, answered=report.answered, patience_s=patience_s)
