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
from contextlib import ExitStack
from dataclasses import dataclass
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
SMALL_SHARE = 4
"""The larger backlog of the growth table is so many times the smaller."""

OURS, PEER = "localaws", "moto"
COLUMNS = (OURS, PEER)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the peer's are what it can do in the same time."""

    repetitions: int = 7
    put_records: int = 20_000
    written_records: int = 100_000
    peers_written_records: int = 20_000
    backlog_records: int = 200_000
    peers_backlog_records: int = 20_000
    single_puts: int = 200
    calls: int = 10


QUICK = Sizes(
    repetitions=2,
    put_records=5_000,
    written_records=10_000,
    peers_written_records=4_000,
    backlog_records=20_000,
    peers_backlog_records=8_000,
    single_puts=50,
    calls=4,
)


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure Kinesis."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR) as folder:
        tables = [
            _throughput(Path(folder), sizes, progress),
            _backlog(Path(folder), sizes, progress),
        ]
    return Report("kinesis", "Kinesis", ("localaws", "moto", "boto3"), tables)


def _throughput(folder: Path, sizes: Sizes, progress: Progress) -> Table:
    with ExitStack() as stack:
        urls = {
            OURS: stack.enter_context(servers.localaws("kinesis", folder))[0],
            PEER: stack.enter_context(servers.moto(folder)),
        }
        task = progress.add_task("Kinesis: PutRecords", total=2 * sizes.repetitions)
        rates = interleaved(
            {name: _putter(servers.client("kinesis", url), sizes.put_records) for name, url in urls.items()},
            repetitions=sizes.repetitions,
            advance=lambda: progress.advance(task),
        )
        task = progress.add_task(f"Kinesis: {WRITERS} writers", total=2)
        written = {}
        for name, count in ((OURS, sizes.written_records), (PEER, sizes.peers_written_records)):
            written[name] = _write_at_once(urls[name], count)
            progress.advance(task)
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
                {name: Series((found.rate,)) for name, found in written.items()},
            ),
            Figure(
                f"acknowledged records that are not there, {WRITERS} writers",
                f"of {sizes.written_records:,}; moto of {sizes.peers_written_records:,}",
                {name: Series((found.lost,)) for name, found in written.items()},
                compared=False,
                goal=Goal("none lost, none twice", written[OURS].lost == 0 and written[OURS].twice == 0),
            ),
            Figure(
                f"records that are there twice, {WRITERS} writers",
                "",
                {name: Series((found.twice,)) for name, found in written.items()},
                compared=False,
            ),
        ],
        [
            f"A repetition puts {sizes.put_records:,} records into a new stream of {SHARDS} shards.",
            (
                "Counted by reading every shard from TRIM_HORIZON to its end. localaws has each record on disk before it answers; "
                "moto keeps them in memory only."
            ),
        ],
    )


def _backlog(folder: Path, sizes: Sizes, progress: Progress) -> Table:
    """Compare a server without a backlog with one that has it: they share nothing, not even a garbage collector."""
    peak = {OURS: sizes.backlog_records, PEER: sizes.peers_backlog_records}
    with ExitStack() as stack:

        def start(name: str) -> Any:
            if name == OURS:
                return servers.client("kinesis", stack.enter_context(servers.localaws("kinesis", folder))[0])
            return servers.client("kinesis", stack.enter_context(servers.moto(folder)))

        empty, full = ({name: start(name) for name in COLUMNS} for _ in range(2))
        task = progress.add_task("Kinesis: fill", total=2 * (1 + SMALL_SHARE))
        for name in COLUMNS:
            part = peak[name] // SMALL_SHARE
            for stream, parts in (("small", 1), ("large", SMALL_SHARE)):
                full[name].create_stream(StreamName=stream, ShardCount=SHARDS)
                for _ in range(parts):
                    _put_all(full[name], stream, part)
                    progress.advance(task)
        contenders = {}
        for name in COLUMNS:
            contenders[f"{name} empty"] = _latencies(empty[name], None, sizes)
            contenders[f"{name} large"] = _latencies(full[name], "large", sizes)
            for stream in ("small", "large"):
                contenders[f"{name} cost {stream}"] = _costs(full[name], stream, calls=sizes.calls)
        task = progress.add_task("Kinesis: puts over a backlog", total=len(contenders) * sizes.repetitions)
        found = interleaved(contenders, repetitions=sizes.repetitions, advance=lambda: progress.advance(task))
    return Table(
        "put over a backlog, growth",
        COLUMNS,
        [*_latency_figures(found), *_growth_figures(found)],
        [
            (
                f"The backlog: {peak[OURS]:,} records in localaws, {peak[PEER]:,} in moto, in a server each; without: a new stream in "
                "a server that has no other."
            ),
            (
                f"Growth: cost of a record at {peak[OURS] // SMALL_SHARE:,} and {peak[OURS]:,} records in localaws, at "
                f"{peak[PEER] // SMALL_SHARE:,} and {peak[PEER]:,} in moto. Exponent 1: twice the records cost twice as much; 2: four "
                "times."
            ),
        ],
    )


def _latency_figures(found: dict[str, dict[str, Series]]) -> Iterator[Figure]:
    for what, key in (("PutRecord", "single"), (f"PutRecords of {CALL_RECORDS}", "call")):
        for state, words in (("empty", "no backlog"), ("large", "with the backlog")):
            results = {name: found[f"{name} {state}"][key] for name in COLUMNS}
            yield Figure(f"{what}, median, {words}", "ms", results, higher_is_better=False)
        # Medians of all repetitions: single ones differ by more than what is looked for.
        grown = {
            name: Series((found[f"{name} large"][key].median / found[f"{name} empty"][key].median,)) for name in COLUMNS
        }
        goal = Goal("at most 1.5", grown[OURS].median <= 1.5)  # noqa: PLR2004 - as it says
        yield Figure(f"{what}, with over without", "times", grown, higher_is_better=False, compared=False, goal=goal)


def _growth_figures(found: dict[str, dict[str, Series]]) -> Iterator[Figure]:
    for what, key in (("put", "put"), ("read", "read")):
        grown = {}
        for name in COLUMNS:
            small, large = (found[f"{name} cost {size}"][key] for size in ("small", "large"))
            per_record = growth_exponent(small, large, factor=SMALL_SHARE)
            grown[name] = Series(tuple(1 + value for value in per_record.values))
        goal = Goal("about 1 (at most 1.2)", grown[OURS].median <= 1.2)  # noqa: PLR2004 - as it says
        yield Figure(f"growth of all {what}s", "exponent", grown, higher_is_better=False, compared=False, goal=goal)


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


def _latencies(client: Any, stream: str | None, sizes: Sizes) -> Callable[[], dict[str, float]]:
    """Return what measures a put into a stream, or into a new one each time."""
    batch = _batch(0, CALL_RECORDS)

    def timed(call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000

    def measure() -> dict[str, float]:
        name = stream or "new"
        if stream is None:
            client.create_stream(StreamName=name, ShardCount=SHARDS)
        single = [
            timed(lambda: client.put_record(StreamName=name, Data=batch[0]["Data"], PartitionKey="key"))
            for _ in range(sizes.single_puts)
        ]
        call = [timed(lambda: client.put_records(StreamName=name, Records=batch)) for _ in range(sizes.calls)]
        if stream is None:
            client.delete_stream(StreamName=name)
        return {"single": statistics.median(single), "call": statistics.median(call)}

    return measure


def _costs(client: Any, stream: str, *, calls: int) -> Callable[[], dict[str, float]]:
    """Return what measures a record's cost: put behind all that is there, and in reading all that is there."""

    def measure() -> dict[str, float]:
        count = calls * CALL_RECORDS
        put_s = _put_all(client, stream, count) / count
        started = time.perf_counter()
        read = sum(len(page) for page in _pages(client, stream))
        return {"put": put_s, "read": (time.perf_counter() - started) / read}

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


@dataclass(frozen=True, slots=True)
class _Written:
    rate: float
    lost: int
    twice: int


def _write_at_once(url: str, count: int) -> _Written:
    """Write from several processes at once, and count what is there."""
    client = servers.client("kinesis", url)
    client.create_stream(StreamName="writers", ShardCount=SHARDS)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS)
    with context.Pool(WRITERS, initializer=_join, initargs=(barrier, url)) as pool:
        each = count // WRITERS
        spans = pool.map(_write, [(writer * each, each) for writer in range(WRITERS)], chunksize=1)
    elapsed_s = max(end for _, end in spans) - min(start for start, _ in spans)
    found = Counter(int(record["Data"][:12]) for page in _pages(client, "writers") for record in page)
    client.delete_stream(StreamName="writers")
    return _Written(count / elapsed_s, count - len(found), found.total() - len(found))


_WRITER: dict[str, Any] = {}
"""What a writing process got when it began."""


def _join(barrier: Any, url: str) -> None:
    _WRITER.update(barrier=barrier, client=servers.client("kinesis", url))


def _write(part: tuple[int, int]) -> tuple[float, float]:
    """Put one writer's records when all writers are ready; returns when it began and ended, on the clock that all share."""
    first, count = part
    _WRITER["barrier"].wait()
    started = time.monotonic()
    _put_all(_WRITER["client"], "writers", count, first=first)
    return started, time.monotonic()
