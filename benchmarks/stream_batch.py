"""Where the time of a micro-batch goes: the steps of the stream one by one, beside the whole job on the same backlog.

Belongs here: the table in docs/performance.md. Does not: the steps themselves (``stream_steps``, a program).
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.progress import Progress

from benchmarks import servers
from benchmarks.measure import Series, interleaved
from benchmarks.report import Figure, Report, Table
from benchmarks.stream import OURS, PACKAGES, drained
from benchmarks.stream_world import SHARDS, Line, world

COLUMNS = ("time", "processor time")
STEPS = {
    "fetch": "fetch by GetRecords, as an Arrow table",
    "classify": "from Arrow to rows",
    "parse": "of it: read, check and flatten the events",
    "sink": "store: one transaction",
    "copy": "of it: COPY",
    "statements": "of it: the statements",
}
MS_OF_1000 = 1e6
"""Milliseconds for 1,000 events, at one event a second."""


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the steps, for docs/performance.md."""
    repetitions, backlog = (1, 60_000) if quick else (3, 150_000)
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("Stream: steps of a batch", total=2 * repetitions)
    with (
        tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="batch-", ignore_cleanup_errors=True) as name,
        world(Path(name)) as here,
    ):
        source = Line.new(here, "batch")
        source.fill(backlog)

        def steps() -> Mapping[str, float]:
            command = [sys.executable, "-m", "benchmarks.stream_steps", *source.beside().arguments()]
            printed = servers.output(command, env=here.environment, cwd=servers.PROJECT_DIR)
            found: dict[str, list[float]] = json.loads(printed.splitlines()[-1])
            return {
                f"{step} {column}": value
                for step, pair in found.items()
                for column, value in zip(COLUMNS, pair, strict=True)
            }

        found = interleaved(
            {"steps": steps, OURS: drained(source, OURS, backlog)},
            repetitions=repetitions,
            advance=lambda: progress.advance(task),
        )
    rate, processor_s = found[OURS]["rate"], found[OURS]["processor_s"]
    whole = {
        "time": Series(tuple(MS_OF_1000 / value for value in rate.values)),
        "processor time": Series(tuple(value * 10 for value in processor_s.values)),
    }
    figures = [
        Figure("the whole job, taking a backlog", "ms", whole, compared=False),
        *(
            Figure(words, "ms", {column: found["steps"][f"{step} {column}"] for column in COLUMNS}, compared=False)
            for step, words in STEPS.items()
        ),
    ]
    notes = [
        (
            f"For 1,000 events. The steps are done one after the other by the stream's own parts, without Spark, in a batch of one "
            f"GetRecords for each of {SHARDS} shards. The whole job does some of them at the same time, and its processor time is also that "
            "of Spark's Java process. The processor time of PostgreSQL and Kinesis is in none."
        )
    ]
    table = Table("where the time goes", COLUMNS, figures, notes)
    return Report("batch", "One micro-batch", PACKAGES, [table])
