"""The stream: 4,000 events a second for minutes, from put to row, a backlog drained beside two plain loops, from start to first row.

Measured: the job as it is (``glue_job.py``), a process of its own with a trigger of 1 s; the embedded Kinesis with 4 shards, which does
not throttle here; the PostgreSQL of the local world. Beside it, on the same backlog, ``peers/stream_loop.py`` with boto3 and with bare
HTTP: the same rules, the same sink. All of them and the producer share the cores.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from benchmarks import servers
from benchmarks.measure import Contender, Series, interleaved, percentile
from benchmarks.report import Figure, Goal, Report, Table
from benchmarks.stream_world import JOB, LOOP, SHARDS, TRIGGER_S, Consumer, Line, Meter, World, world

OURS, BOTO3, HTTP = "fraudit", "boto3 loop", "raw HTTP loop"
PROGRAMS: dict[str, list[str | Path]] = {OURS: [JOB], BOTO3: [LOOP, "boto3"], HTTP: [LOOP, "http"]}
PACKAGES = ("pyspark", "localaws", "psycopg2-binary", "orjson", "boto3")
RATE, SLOW_RATE, SLOW_CALL = 4_000, 500, 50
DELAY_GOAL_MS = 2_500.0
FLAT_AGE, FLAT_MEMORY = 1.5, 1.1
SEEN_EVERY_S, MEMORY_EVERY_S = 0.02, 1.0
EVENTS = 100_000
"""What processor time is given for."""
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    sustained_s: int = 300
    edge_s: int = 60
    backlog: int = 300_000
    drains: int = 3
    slow_s: int = 60
    slow_repetitions: int = 3
    starts: int = 5


QUICK = Sizes(sustained_s=4, edge_s=2, backlog=50_000, drains=1, slow_s=2, slow_repetitions=1, starts=1)


@dataclass(frozen=True, slots=True)
class Sustained:
    """What came of the fast rate.

    Attributes:
        rate: Events a second that were sent.
        latest_ms: How late the latest call of the producer was.
        missing: Events of the whole run of the job that are no row.
        ages_ms: Of each batch, seconds since the start and the age of its oldest record when it was written.
        rows: Of each batch.
        memory_mib: By part, at each second.
        processor_s: By part, for ``EVENTS`` events.
        cores: What all parts took of the machine.
    """

    rate: float
    latest_ms: float
    missing: int
    ages_ms: Sequence[tuple[float, float]]
    rows: Sequence[int]
    memory_mib: Sequence[Mapping[str, float]]
    processor_s: Mapping[str, float]
    cores: float


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the stream."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    # PostgreSQL writes as a user of its own, and may be slow to go.
    with (
        tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="stream-", ignore_cleanup_errors=True) as name,
        world(Path(name)) as here,
    ):
        tables = [*_flow(here, sizes, progress), _drain(here, sizes, progress), _start(here, sizes, progress)]
    return Report("flow", "The stream", PACKAGES, tables)


def _flow(here: World, sizes: Sizes, progress: Progress) -> list[Table]:
    """Send at the slow rate, then at the fast one, in one run of the job."""
    line = Line.new(here, "flow")
    line.fill(1)
    task = progress.add_task(f"Stream: {SLOW_RATE:,}/s, then {RATE:,}/s", total=sizes.slow_repetitions + 1)
    delays = []
    with line.running(PROGRAMS[OURS]) as job:
        line.await_taken(1, job)
        for _ in range(sizes.slow_repetitions):
            delays.append(_delays(line, sizes.slow_s * SLOW_RATE, job))
            progress.advance(task)
        sustained = _sustain(line, sizes.sustained_s * RATE, job)
        progress.advance(task)
    return [_sustained_table(sustained, sizes), _delay_table(delays, sizes)]


def _delays(line: Line, count: int, job: Consumer) -> dict[str, float]:
    """Return percentiles of the time from an event's making to its row, and to a SELECT that sees the row."""
    (since,) = line.query("select clock_timestamp()::text")[0]
    expected = line.taken() + count
    to_row: list[float] = []
    to_sight: list[float] = []
    with line.producing(count, rate=SLOW_RATE, call=SLOW_CALL) as producer:
        while len(to_row) < count:
            rows = line.query(
                "select stored_at::text, extract(epoch from stored_at - scored_at)::float8 * 1000,"  # noqa: S608 - a time it gave
                " extract(epoch from clock_timestamp() - scored_at)::float8 * 1000"
                f" from fraud.fraud_predictions where stored_at > '{since}' order by stored_at"
            )
            since = rows[-1][0] if rows else since
            to_row += [row for _, row, _ in rows]
            to_sight += [sight for _, _, sight in rows]
            if producer.process.poll() is not None:
                line.await_taken(expected, job)
            time.sleep(SEEN_EVERY_S)
        producer.result()
    return {
        f"{name} {what}": percentile(values, share)
        for what, values in (("row", to_row), ("sight", to_sight))
        for name, share in SHARES.items()
    }


def _sustain(line: Line, count: int, job: Consumer) -> Sustained:
    (began,) = line.query("select clock_timestamp()::text")[0]
    expected, meter = line.taken() + count, Meter(line.world, job)
    before, started_s = meter.processor_s(), time.monotonic()
    memory = []
    with line.producing(count, rate=RATE) as producer:
        while producer.process.poll() is None:
            memory.append(meter.memory_mib())
            time.sleep(MEMORY_EVERY_S)
        produced = producer.result()
        line.await_taken(expected, job)
    spent = {name: spent_s - before[name] for name, spent_s in meter.processor_s().items()}
    elapsed_s = time.monotonic() - started_s
    batches = line.query(
        f"select extract(epoch from stored_at - '{began}')::float8, max_lag_ms, records"  # noqa: S608 - a time it gave
        f" from fraud.stream_batches where stored_at > '{began}' order by stored_at"
    )
    return Sustained(
        rate=count / produced["elapsed_s"],
        latest_ms=produced["latest_ms"],
        missing=expected - int(line.query("select count(*) from fraud.fraud_predictions")[0][0]),
        ages_ms=[(at_s, age_ms) for at_s, age_ms, _ in batches],
        rows=[rows for _, _, rows in batches],
        memory_mib=memory,
        processor_s={name: spent_s / count * EVENTS for name, spent_s in spent.items()},
        cores=sum(spent.values()) / elapsed_s,
    )


def _sustained_table(found: Sustained, sizes: Sizes) -> Table:
    begin_s, end_s = found.ages_ms[0][0], found.ages_ms[-1][0]
    ages = {
        "first": statistics.median(age for at_s, age in found.ages_ms if at_s <= begin_s + sizes.edge_s),
        "last": statistics.median(age for at_s, age in found.ages_ms if at_s >= end_s - sizes.edge_s),
    }
    edge = round(sizes.edge_s / MEMORY_EVERY_S)
    memory = {
        when: {part: statistics.median(sample[part] for sample in samples) for part in Meter.JOB}
        for when, samples in (("first", found.memory_mib[:edge]), ("last", found.memory_mib[-edge:]))
    }
    whole = {when: sum(parts.values()) for when, parts in memory.items()}
    flat_age, flat_memory = ages["last"] <= FLAT_AGE * ages["first"], whole["last"] <= FLAT_MEMORY * whole["first"]
    job_s = sum(found.processor_s[part] for part in Meter.JOB)
    figures = [
        _ours("events sent", "events/s", found.rate),
        _ours("events that are no row", "events", found.missing, Goal("none", found.missing == 0)),
        _ours("records in a batch, median", "records", statistics.median(found.rows)),
        _ours("iterator age, median of the first minute", "ms", ages["first"]),
        _ours(
            "iterator age, median of the last minute",
            "ms",
            ages["last"],
            Goal(f"flat: at most {FLAT_AGE:g} times", flat_age),
        ),
        _ours("iterator age, the greatest", "ms", max(age for _, age in found.ages_ms)),
        _ours(f"processor time of the job for {EVENTS:,} events", "s", job_s),
        *(_ours(f"of it or beside it: {name}", "s", spent_s) for name, spent_s in found.processor_s.items()),
        _ours("cores that these four kept busy", "cores", found.cores),
        _ours("memory of the job, first minute", "MiB", whole["first"]),
        _ours(
            "memory of the job, last minute",
            "MiB",
            whole["last"],
            Goal(f"flat: at most {FLAT_MEMORY:g} times", flat_memory),
        ),
        *(_ours(f"of it: {part}, last minute", "MiB", memory["last"][part]) for part in Meter.JOB),
    ]
    notes = [
        (
            f"{RATE:,} events/s of 1.2 kB for {sizes.sustained_s} s, in PutRecords of 500 from an open loop, whose latest call was "
            f"{found.latest_ms:,.0f} ms late; {SHARDS} shards, trigger {TRIGGER_S:g} s. Producer, Kinesis, Spark and PostgreSQL share "
            "the cores. Iterator age: of the oldest record of a batch when the batch was written, so a batch's own time is in it. "
            "Memory: resident, looked at each second; what forked processes share is counted for each."
        )
    ]
    return Table("sustained", (OURS,), figures, notes)


def _delay_table(delays: Sequence[Mapping[str, float]], sizes: Sizes) -> Table:
    series = {key: Series(tuple(found[key] for found in delays)) for key in delays[0]}
    p95 = series["p95 sight"].median
    figures = [
        Figure(
            f"{name} {words}",
            "ms",
            {OURS: series[f"{name} {what}"]},
            goal=Goal(f"at most {DELAY_GOAL_MS:,.0f} ms", p95 <= DELAY_GOAL_MS)
            if (name, what) == ("p95", "sight")
            else None,
        )
        for what, words in (("row", "to its row's stored_at"), ("sight", "to a SELECT that sees the row"))
        for name in SHARES
    ]
    notes = [
        (
            f"{SLOW_RATE} events/s for {sizes.slow_s} s, {SLOW_CALL} in a PutRecords, trigger {TRIGGER_S:g} s. From the making of "
            "an event, just before its put; a transaction waits for the next trigger, on average half of it."
        )
    ]
    return Table("from put to row", (OURS,), figures, notes)


def _drain(here: World, sizes: Sizes, progress: Progress) -> Table:
    task = progress.add_task("Stream: backlog", total=len(PROGRAMS) * sizes.drains)
    source = Line.new(here, "backlog")
    source.fill(sizes.backlog)
    found = interleaved(
        {name: drained(source, name, sizes.backlog) for name in PROGRAMS},
        repetitions=sizes.drains,
        advance=lambda: progress.advance(task),
    )
    figures = [
        Figure(what, unit, {name: series[key] for name, series in found.items()}, higher_is_better=key == "rate")
        for what, unit, key in (
            ("events stored", "events/s", "rate"),
            (f"processor time of the process for {EVENTS:,} events", "s", "processor_s"),
        )
    ]
    notes = [
        (
            f"A backlog of {sizes.backlog:,} events in {SHARDS} shards, read from the start into an empty table; from the first batch that "
            "is stored to the last, so that no start is in it. The loops read a shard after the other by GetRecords of 10,000 and store each "
            "turn by the same rules and the same statements; they keep no checkpoint."
        )
    ]
    return Table("a backlog", tuple(PROGRAMS), figures, notes)


def drained(source: Line, name: str, backlog: int) -> Contender:
    """Return what empties a stream into a new database and measures from the first batch that is stored to the last."""

    def measure() -> dict[str, float]:
        line = source.beside()
        with line.running(PROGRAMS[name]) as consumer:
            first = line.await_taken(1, consumer)
            started_s, before_s = time.monotonic(), consumer.processor_s()
            last = line.await_taken(backlog, consumer)
            elapsed_s, spent_s = time.monotonic() - started_s, consumer.processor_s() - before_s
        if first == last:
            raise servers.ServerError(f"{name} took the backlog in one batch: there is no rate to measure")
        return {"rate": (last - first) / elapsed_s, "processor_s": spent_s / (last - first) * EVENTS}

    return measure


def _start(here: World, sizes: Sizes, progress: Progress) -> Table:
    names = (OURS, BOTO3)
    task = progress.add_task("Stream: start", total=len(names) * sizes.starts)
    source = Line.new(here, "start")
    source.fill(1)

    def started(name: str) -> Callable[[], dict[str, float]]:
        def measure() -> dict[str, float]:
            line = source.beside()
            started_s = time.monotonic()
            with line.running(PROGRAMS[name]) as consumer:
                line.await_taken(1, consumer)
                return {"s": time.monotonic() - started_s}

        return measure

    found = interleaved(
        {name: started(name) for name in names}, repetitions=sizes.starts, advance=lambda: progress.advance(task)
    )
    results = {name: series["s"] for name, series in found.items()}
    figure = Figure("from the start of the process to its first row", "s", results, higher_is_better=False)
    notes = ["One event waits. Most of it is Spark: its Java process, its session, a Python worker, the first plan."]
    return Table("start", names, [figure], notes)


def _ours(what: str, unit: str, value: float, goal: Goal | None = None) -> Figure:
    return Figure(what, unit, {OURS: Series((value,))}, goal=goal)
