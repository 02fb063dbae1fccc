"""Where the time of micro-batches goes, step by step: ``python -m benchmarks.stream_steps ARGUMENTS``, those of ``glue_job.py``.

Reads a stream to its end and stores it, a batch of one GetRecords from each shard, by the stream's own parts in the order of the
job, without Spark between them. Prints one JSON object: for each step milliseconds for 1,000 events, as medians over the
batches: wall time, and processor time of this process.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from fraudit_stream.arguments import parse_arguments
from fraudit_stream.database import Database
from fraudit_stream.events import parse_event
from fraudit_stream.kinesis_api import TRIM_HORIZON, KinesisStream
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

WARM = 1
"""Batches whose times are not counted."""


class Watch:
    """Takes the times of steps, batch by batch."""

    def __init__(self) -> None:
        self._batches: list[dict[str, tuple[float, float]]] = []

    def begin(self) -> None:
        """Go on to the next batch."""
        self._batches.append({})

    def drop(self) -> None:
        """Forget the batch."""
        self._batches.pop()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to a step of the batch."""
        wall_s, processor_s = time.perf_counter(), time.process_time()
        yield
        wall_s, processor_s = time.perf_counter() - wall_s, time.process_time() - processor_s
        before_s = self._batches[-1].get(name, (0.0, 0.0))
        self._batches[-1][name] = before_s[0] + wall_s, before_s[1] + processor_s

    def medians(self, events: Sequence[int]) -> dict[str, tuple[float, float]]:
        """Return wall and processor time by step, in ms for 1,000 events."""
        counted = list(zip(self._batches, events, strict=True))[WARM:]
        medians = {}
        for name in counted[0][0]:
            wall, processor = zip(*([s / count * 1e6 for s in batch[name]] for batch, count in counted), strict=True)
            medians[name] = statistics.median(wall), statistics.median(processor)
        return medians


class WatchedCursor:
    """A cursor that takes the times of its statements."""

    def __init__(self, cursor: "Cursor", watch: Watch) -> None:
        self._cursor = cursor
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        """Be a cursor in all else."""
        return getattr(self._cursor, name)

    def execute(self, *args: Any) -> None:
        """Run a statement."""
        with self._watch.step("statements"):
            self._cursor.execute(*args)

    def copy_expert(self, *args: Any, **options: Any) -> None:
        """Run a COPY."""
        with self._watch.step("copy"):
            self._cursor.copy_expert(*args, **options)


@dataclass(frozen=True)
class WatchedDatabase(Database):
    """The warehouse, taking the times of its statements."""

    watch: Watch

    def transact(self, work: Callable[["Cursor"], Any], **options: Any) -> Any:
        """Do some work in one transaction."""
        return super().transact(lambda cursor: work(cast("Cursor", WatchedCursor(cursor, self.watch))), **options)


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments(sys.argv[1:])
    watch = Watch()
    sink = Sink(
        WatchedDatabase(
            host=arguments.postgres_host,
            port=arguments.postgres_port,
            name=arguments.postgres_db,
            user=arguments.postgres_user,
            sslmode=arguments.postgres_sslmode,
            secret_id=arguments.postgres_secret_arn,
            region=arguments.aws_region,
            watch=watch,
        )
    )
    stream = KinesisStream(
        arguments.kinesis_stream, region=arguments.aws_region, endpoint_url=arguments.kinesis_endpoint
    )
    iterators = {shard_id: stream.iterator(shard_id, after=None, start=TRIM_HORIZON) for shard_id in stream.shards()}
    counts: list[int] = []
    while True:
        watch.begin()
        with watch.step("fetch"):
            pages = {shard_id: stream.page(shard_id, iterator) for shard_id, iterator in iterators.items()}
        iterators = {shard_id: page.following for shard_id, page in pages.items()}
        batches = [page.records for page in pages.values() if page.records is not None]
        if not batches:
            watch.drop()
            break
        table = pa.Table.from_batches(batches)
        counts.append(table.num_rows)
        data, arrivals = (table.column(name).to_pylist() for name in ("data", "approximateArrivalTimestamp"))
        with watch.step("parse"):
            for each, arrived_at in zip(data, arrivals, strict=True):
                parse_event(each, arrived_at=arrived_at)
        with watch.step("classify"):
            records = classify(table)
        with watch.step("sink"):
            sink.write(records, query_id="00000000-0000-4000-8000-000000000000", batch_id=len(counts))
    sys.stdout.write(json.dumps(watch.medians(counts)) + "\n")


if __name__ == "__main__":
    main()
