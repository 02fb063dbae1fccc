"""``fraudit replay quarantine``: events that the stream refused, through the rules again, and into the tables what is an event by now.

Belongs here: what is shown. Does not: the work, which is the stream's own (``fraudit_stream.replay``), done as the stream's role.
"""

from collections import Counter

from fraudit_stream.database import Database
from fraudit_stream.events import Reason
from fraudit_stream.replay import REPLAYABLE, Replayed, replay, waiting
from rich.console import Console

from fraudit_dagster.cli.replay import closing_table, progress_of
from fraudit_dagster.settings import load_settings


def quarantined(*, reason: str | None, dry_run: bool) -> None:
    """Replay the quarantined events of a reason, or all but conflicts, and print a table of what became of them.

    Args:
        reason: One of ``REPLAYABLE``; None: any of them.
        dry_run: Store and change nothing.

    Raises:
        SinkError: PostgreSQL stayed away or refused an event; what was done until then stays done.
    """
    settings = load_settings()
    database = Database(
        host=settings.postgres_host,
        port=settings.postgres_port,
        name=settings.postgres_db,
        user="",
        sslmode=settings.postgres_sslmode,
        secret_id=f"{settings.warehouse_secrets}/writer",
        region=settings.aws_region,
    )
    reasons = REPLAYABLE if reason is None else {Reason(reason)}
    sums = Replayed(rows=0, duplicates=0, kept=Counter())
    try:
        with progress_of("quarantine") as progress:
            task = progress.add_task("", total=waiting(database, reasons=reasons))
            for some in replay(database, reasons=reasons, dry_run=dry_run):
                sums += some
                progress.advance(task, some.events)
    finally:
        rows = {
            "found": sums.events,
            "would be stored" if dry_run else "stored": sums.rows,
            "stored already": sums.duplicates,
            **{f"kept: {name}": number for name, number in sorted(sums.kept.items())},
        }
        Console().print(closing_table(rows))
