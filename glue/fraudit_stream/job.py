"""The job: source, transformation and sink put together, started, measured, and stopped at the border of a batch."""

import logging
import signal
import sys
import time
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from fraudit_stream.arguments import Arguments
from fraudit_stream.kinesis_source import SHORT_NAME, KinesisDataSource
from fraudit_stream.metrics import Unit, embedded_metric
from fraudit_stream.session import start_session, warm_up
from fraudit_stream.sink import BatchCounts, Database, Sink
from fraudit_stream.transform import classify

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

STOP_POLL_S = 1
BATCH_BORDER_TIMEOUT_S = 30.0
QUERY_ID_PROPERTY = "sql.streaming.queryId"

_log = logging.getLogger(__name__)
_metrics = logging.getLogger("fraudit_stream.embedded_metrics")


def run(arguments: Arguments) -> None:
    """Stream until SIGTERM or SIGINT, then end the running batch and return.

    Raises:
        pyspark.errors.StreamingQueryException: The stream failed; the checkpoint is where it was, a new start resumes there.
    """
    _configure_logging()
    started_s = time.monotonic()
    # The JVM inherits "ignored" for good. A signal to the process group would otherwise end it in the middle of a batch.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    session = start_session(arguments.job_name)
    stop = _StopRequest()
    try:
        warm_up(session)
        query = _start(session, arguments)
        _log.info(
            "%s reads %s, %.1f s after its start",
            arguments.job_name,
            arguments.kinesis_stream,
            time.monotonic() - started_s,
        )
        while not (stop.requested or query.awaitTermination(STOP_POLL_S)):
            pass
        if query.isActive:
            _stop_between_batches(query)
            _log.info("%s stopped on request", arguments.job_name)
    finally:
        session.stop()


def _start(session: "SparkSession", arguments: Arguments) -> "StreamingQuery":
    session.dataSource.register(KinesisDataSource)
    options = {
        "streamName": arguments.kinesis_stream,
        "region": arguments.aws_region,
        "endpointUrl": arguments.kinesis_endpoint,
        "startingPosition": arguments.starting_position,
        "spoolDir": arguments.spool_dir,
    }
    sink = Sink(
        Database(
            host=arguments.postgres_host,
            port=arguments.postgres_port,
            name=arguments.postgres_db,
            user=arguments.postgres_user,
            sslmode=arguments.postgres_sslmode,
            secret_id=arguments.postgres_secret_arn,
            region=arguments.aws_region,
        )
    )

    def write(batch: "DataFrame", batch_id: int) -> None:
        started_s = time.monotonic()
        records = classify(batch.toArrow())
        if not records:
            return
        query_id = batch.sparkSession.sparkContext.getLocalProperty(QUERY_ID_PROPERTY)
        counts = sink.write(records, query_id=str(query_id), batch_id=batch_id)
        _report(counts, duration_ms=(time.monotonic() - started_s) * 1000, stage=arguments.stage)

    return (
        session.readStream.format(SHORT_NAME)
        .options(**options)
        .load()
        .writeStream.foreachBatch(write)
        .option("checkpointLocation", arguments.checkpoint_location)
        .trigger(processingTime=f"{round(arguments.trigger_seconds * 1000)} milliseconds")
        .start()
    )


def _report(counts: BatchCounts, *, duration_ms: float, stage: str) -> None:
    now = datetime.now(UTC)
    values = {
        "BatchRows": (counts.records, Unit.COUNT),
        "BatchDurationMs": (round(duration_ms, 1), Unit.MILLISECONDS),
        "IteratorAgeMs": (counts.max_lag_ms, Unit.MILLISECONDS),
    }
    _metrics.info(embedded_metric(values, dimensions={"stage": stage}, at=now))
    for reason, count in counts.quarantined.items():
        dimensions = {"stage": stage, "reason": reason}
        _metrics.info(embedded_metric({"Quarantined": (count, Unit.COUNT)}, dimensions=dimensions, at=now))


class _StopRequest:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        _log.info("asked to stop by %s", signal.Signals(number).name)


def _stop_between_batches(query: "StreamingQuery") -> None:
    """Stop the query, outside of a batch if one ends in time. A batch that is cut short is harmless: it is replayed whole."""
    deadline_s = time.monotonic() + BATCH_BORDER_TIMEOUT_S
    while query.status["isTriggerActive"] and time.monotonic() < deadline_s:
        time.sleep(0.02)
    query.stop()


def _configure_logging() -> None:
    """Log to stderr; metrics to stdout, bare, as CloudWatch reads them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("py4j", "botocore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    _metrics.handlers[:] = [lines]
    _metrics.propagate = False
