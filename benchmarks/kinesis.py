"""Kinesis through boto3, beside the Kinesis of moto's server.

Measured: records a second of PutRecords; what four writers at once lose; how long a put takes with a backlog; how the cost of a
record grows, put and read. Both servers run here and are asked by the same client.

moto gets a tenth of the records where its cost grows with its backlog, or a run would take an hour; the tables say where.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks import servers
from benchmarks.measure import Series, growth_exponent, interleaved
from benchmarks.report import Figure, Goal, Report, Table

SHARDS = 4
WRITERS = 4
CALL_RECORDS = 500
RECORD_BYTES = 256
GROWTH = 4
MAX_DRIFT = 1.2
START_TIMEOUT_S = 60.0
EMPTY, FULL = "no backlog", "with the backlog"

OURS, PEER = "localaws", "moto"
COLUMNS = (OURS, PEER)


@contextmanager
def _localaws(folder: Path) -> Iterator[str]:
    with servers.localaws("kinesis", folder) as (url, _):
        yield url


STARTS = {OURS: _localaws, PEER: servers.moto}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the peer's are what it can do in the same time."""

    repetitions: int = 7
    writers_repetitions: int = 3
    growth_repetitions: int = 5
    put_records: int = 20_000
    written_records: int = 100_000
    peers_written_records: int = 20_000
    backlog_records: int = 200_000
    peers_backlog_records: int = 20_000
    backlog_repetitions: int = 21
    single_puts: int = 60
    calls: int = 3


QUICK = Sizes(
    repetitions=2,
    writers_repetitions=1,
    growth_repetitions=2,
    put_records=5_000,
    written_records=10_000,
    peers_written_records=4_000,
    backlog_records=20_000,
    peers_backlog_records=8_000,
    backlog_repetitions=4,
)


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure Kinesis."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR) as folder:
        tables = [
            _throughput(Path(folder), sizes, progress),
            _backlog(Path(folder), sizes, progress),
            _growth(Path(folder), sizes, progress),
        ]
    return Report("kinesis", "Kinesis", ("localaws", "moto", "boto3"), tables)


def _throughput(folder: Path, sizes: Sizes, progress: Progress) -> Table:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(start(folder)) for name, start in STARTS.items()}
        task = progress.add_task("Kinesis: PutRecords", total=2 * sizes.repetitions)
        rates = interleaved(
            {name: _putter(servers.client("kinesis", url), sizes.put_records) for name, url in urls.items()},
            repetitions=sizes.repetitions,
            advance=lambda: progress.advance(task),
        )
        counts = {OURS: sizes.written_records, PEER: sizes.peers_written_records}
        task = progress.add_task(f"Kinesis: {WRITERS} writers", total=2 * sizes.writers_repetitions)
        written = interleaved(
            {name: _writers(urls[name], count) for name, count in counts.items()},
            repetitions=sizes.writers_repetitions,
            advance=lambda: progress.advance(task),
        )
    rate = {name: found["rate"] for name, found in rates.items()}
    advantage = rate[OURS].median / rate[PEER].median
    return Table(
        "put",
        COLUMNS,
        [
            Figure(
                f"PutRecords, {CALL_RECORDS} records of {RECORD_BYTES} bytes a call, one client",
                "records/s",
                rate,
                goal=Goal("10,000 records/s, 3 x moto", rate[OURS].median >= 10_000 and advantage >= 3),  # noqa: PLR2004 - as it says
            ),
            Figure(
                f"the same, {WRITERS} writers, each a process",
                "records/s",
                {name: found["rate"] for name, found in written.items()},
            ),
            Figure(
                f"acknowledged records that are not there, {WRITERS} writers",
                f"of {sizes.written_records:,}; moto of {sizes.peers_written_records:,}",
                {name: found["lost"] for name, found in written.items()},
                compared=False,
                goal=Goal("none lost, none twice", written[OURS]["lost"].high == written[OURS]["twice"].high == 0),
            ),
            Figure(
                f"records that are there twice, {WRITERS} writers",
                "",
                {name: found["twice"] for name, found in written.items()},
                compared=False,
            ),
        ],
        [
            f"A repetition puts {sizes.put_records:,} records into a new stream of {SHARDS} shards.",
            (
                "Counted by reading every shard from TRIM_HORIZON to its end. localaws writes each record to a log before it answers; "
                "moto keeps them in memory only."
            ),
        ],
    )


def _backlog(folder: Path, sizes: Sizes, progress: Progress) -> Table:
    """Compare a server without a backlog with one that has it: they share nothing, not even a garbage collector."""
    peak = {OURS: sizes.backlog_records, PEER: sizes.peers_backlog_records}
    with ExitStack() as stack:
        contenders = {}
        for name in COLUMNS:
            for state, records in ((EMPTY, 0), (FULL, peak[name])):
                client = servers.client("kinesis", stack.enter_context(STARTS[name](folder)))
                contenders[f"{name} {state}"] = _latencies(client, sizes, backlog=records)
        task = progress.add_task("Kinesis: puts over a backlog", total=len(contenders) * sizes.backlog_repetitions)
        found = interleaved(contenders, repetitions=sizes.backlog_repetitions, advance=lambda: progress.advance(task))
    note = (
        f"The backlog: {peak[OURS]:,} records in localaws, {peak[PEER]:,} in moto, and at most a fifth more, in a server each. "
        "Without: a new stream in a server that has no other."
    )
    return Table("put over a backlog", COLUMNS, list(_latency_figures(found)), [note])


def _growth(folder: Path, sizes: Sizes, progress: Progress) -> Table:
    peak = {OURS: sizes.backlog_records, PEER: sizes.peers_backlog_records}
    with ExitStack() as stack:
        contenders = {}
        for name in COLUMNS:
            client = servers.client("kinesis", stack.enter_context(STARTS[name](folder)))
            for size, records in (("small", peak[name] // GROWTH), ("large", peak[name])):
                contenders[f"{name} {size}"] = _fill_and_read(client, records)
        task = progress.add_task("Kinesis: growth", total=len(contenders) * sizes.growth_repetitions)
        found = interleaved(contenders, repetitions=sizes.growth_repetitions, advance=lambda: progress.advance(task))
    figures = []
    for what in ("put", "read"):
        grown = {
            name: growth_exponent(found[f"{name} small"][what], found[f"{name} large"][what], factor=GROWTH)
            for name in COLUMNS
        }
        goal = Goal("about 1 (at most 1.2)", grown[OURS].median <= 1.2)  # noqa: PLR2004 - as it says
        figures.append(
            Figure(f"{what} all records", "exponent", grown, higher_is_better=False, compared=False, goal=goal)
        )
    note = (
        f"Time of all puts into a new stream, and of reading it whole: from {peak[OURS] // GROWTH:,} to {peak[OURS]:,} records in "
        f"localaws, from {peak[PEER] // GROWTH:,} to {peak[PEER]:,} in moto. Exponent 1: twice the records take twice as long; 2: "
        "four times."
    )
    return Table("growth", COLUMNS, figures, [note])


def _latency_figures(found: dict[str, dict[str, Series]]) -> Iterator[Figure]:
    for what, key in (("PutRecord", "single"), (f"PutRecords of {CALL_RECORDS}", "call")):
        for state in (EMPTY, FULL):
            results = {name: found[f"{name} {state}"][key] for name in COLUMNS}
            yield Figure(f"{what}, median, {state}", "ms", results, higher_is_better=False)
        # Medians of all repetitions: single ones differ by more than what is looked for.
        grown = {
            name: Series((found[f"{name} {FULL}"][key].median / found[f"{name} {EMPTY}"][key].median,))
            for name in COLUMNS
        }
        goal = Goal("at most 1.5", grown[OURS].median <= 1.5)  # noqa: PLR2004 - as it says
        yield Figure(f"{what}, with over without", "times", grown, higher_is_better=False, compared=False, goal=goal)


def _batch(first: int, count: int) -> list[dict[str, Any]]:
    filling = b"." * (RECORD_BYTES - 12)
    return [
        {"Data": b"%012d" % number + filling, "PartitionKey": str(number)} for number in range(first, first + count)
    ]


def _put_all(client: Any, stream: str, count: int, *, first: int = 0) -> float:
    """Put records and return the seconds of the calls alone."""
    spent_s = 0.0
    for start in range(first, first + count, CALL_RECORDS):
        batch = _batch(start, min(CALL_RECORDS, first + count - start))
        started = time.perf_counter()
        failed = client.put_records(StreamName=stream, Records=batch)["FailedRecordCount"]
        spent_s += time.perf_counter() - started
        if failed:
            raise RuntimeError(f"{failed} records of a PutRecords were refused")
    return spent_s


def _putter(client: Any, count: int) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        client.create_stream(StreamName="put", ShardCount=SHARDS)
        spent_s = _put_all(client, "put", count)
        client.delete_stream(StreamName="put")
        return {"rate": count / spent_s}

    return measure


def _latencies(client: Any, sizes: Sizes, *, backlog: int) -> Callable[[], dict[str, float]]:
    """Return what measures puts behind a backlog; the stream is made anew when it has grown by more than a fifth."""
    batch = _batch(0, CALL_RECORDS)
    there: int | None = None

    def timed(call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000

    def measure() -> dict[str, float]:
        nonlocal there
        if there is None or there > backlog * MAX_DRIFT:
            if there is not None:
                client.delete_stream(StreamName="backlog")
            client.create_stream(StreamName="backlog", ShardCount=SHARDS)
            _put_all(client, "backlog", backlog)
            there = backlog
        single = [
            timed(partial(client.put_record, StreamName="backlog", **record)) for record in batch[: sizes.single_puts]
        ]
        call = [timed(partial(client.put_records, StreamName="backlog", Records=batch)) for _ in range(sizes.calls)]
        there += sizes.single_puts + sizes.calls * CALL_RECORDS
        return {"single": statistics.median(single), "call": statistics.median(call)}

    return measure


def _fill_and_read(client: Any, count: int) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        client.create_stream(StreamName="growth", ShardCount=SHARDS)
        put_s = _put_all(client, "growth", count)
        started = time.perf_counter()
        read = sum(len(page) for page in _pages(client, "growth"))
        read_s = time.perf_counter() - started
        client.delete_stream(StreamName="growth")
        if read != count:
            raise RuntimeError(f"{count} records were put by one client, {read} are there")
        return {"put": put_s, "read": read_s}

    return measure


def _pages(client: Any, stream: str) -> Iterator[list[dict[str, Any]]]:
    """Read every shard from its start to its end."""
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = client.get_records(ShardIterator=iterator, Limit=10_000)
            yield answer["Records"]
            iterator = answer["NextShardIterator"] if answer["Records"] or answer["MillisBehindLatest"] else None


def _writers(url: str, count: int) -> Callable[[], dict[str, float]]:
    """Return what writes from several processes at once and counts what is there."""
    client = servers.client("kinesis", url)
    each = count // WRITERS

    def measure() -> dict[str, float]:
        client.create_stream(StreamName="writers", ShardCount=SHARDS)
        context = multiprocessing.get_context("spawn")
        with context.Pool(WRITERS, initializer=_join, initargs=(context.Barrier(WRITERS), url)) as pool:
            spans = pool.map(_write, [(writer * each, each) for writer in range(WRITERS)], chunksize=1)
        elapsed_s = max(end for _, end in spans) - min(start for start, _ in spans)
        found = Counter(int(record["Data"][:12]) for page in _pages(client, "writers") for record in page)
        client.delete_stream(StreamName="writers")
        return {"rate": count / elapsed_s, "lost": count - len(found), "twice": found.total() - len(found)}

    return measure


_WRITER: dict[str, Any] = {}
"""What a writing process got when it began."""


def _join(barrier: Any, url: str) -> None:
    _WRITER.update(barrier=barrier, client=servers.client("kinesis", url))


def _write(part: tuple[int, int]) -> tuple[float, float]:
    """Put one writer's records when all writers are ready; returns when it began and ended, on the clock that all share."""
    first, count = part
    _WRITER["barrier"].wait(START_TIMEOUT_S)
    started = time.monotonic()
    _put_all(_WRITER["client"], "writers", count, first=first)
    return started, time.monotonic()
