"""The job: source, transformation and sink put together, started, measured, and stopped at the border of a batch."""

import logging
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from fraudit_stream.arguments import Arguments
from fraudit_stream.database import Database
from fraudit_stream.kinesis_api import KinesisStream, PassingError
from fraudit_stream.kinesis_source import SHORT_NAME, KinesisDataSource
from fraudit_stream.metrics import Reporter
from fraudit_stream.session import idle_listener, start_session, warm_up
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

STOP_POLL_S = 1
BATCH_BORDER_TIMEOUT_S = 30.0
NO_WORKER = "Python worker failed to connect back."
"""What Spark says where the process that reads the source did not start within ten seconds, a limit that no setting of Spark changes."""
STARTS = 10
QUERY_ID_PROPERTY = "sql.streaming.queryId"

_log = logging.getLogger(__name__)


class StreamFailedError(RuntimeError):
    """The stream ended by itself; the checkpoint is where it was, a new start resumes there."""


def run(arguments: Arguments) -> None:
    """Stream until SIGTERM or SIGINT, then end the running batch and return.

    Raises:
        KinesisSourceError: There is no such stream, or it may not be read.
        StreamFailedError: A batch could not be read or stored, for good.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("py4j", "botocore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    started_s = time.monotonic()
    stop = _StopRequest()
    with ThreadPoolExecutor(1) as beside:
        stream_check = beside.submit(_check_stream, arguments)
        session = start_session(arguments.job_name)
    try:
        stop.listen()
        stream_check.result()
        if stop.requested:
            return
        start = _query(session, arguments, stop)
        for attempt in range(1, STARTS + 1):
            try:
                query = start()
                _log.info(
                    "%s reads %s, %.1f s after its start",
                    arguments.job_name,
                    arguments.kinesis_stream,
                    time.monotonic() - started_s,
                )
                warm_up(session)
                _wait_for_end(session, query, stop)
            except Exception as error:
                if NO_WORKER not in str(error) or attempt == STARTS or stop.requested:
                    raise
                _log.warning("start %d of %d: %s It goes on from its checkpoint.", attempt, STARTS, NO_WORKER)
            else:
                return
    finally:
        session.stop()


class _StopRequest:
    """Set by SIGTERM and SIGINT.

    SIGTERM is held back while Spark starts, since the JVM inherits what is done with it, for good: "ignored", or a signal to the
    process group would end it in the middle of a batch.
    """

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGINT, self._on_signal)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def listen(self) -> None:
        """Be told of SIGTERM too, and of one that came before."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        _log.info("asked to stop by %s", signal.Signals(number).name)


class _BatchBorderError(Exception):
    """The next batch was not begun, since the job is to stop. It is planned in the checkpoint, and comes first after a start."""


def _check_stream(arguments: Arguments) -> None:
    """Fail at once where no stream can be read; one that is only away for a moment is waited for later."""
    stream = KinesisStream(
        arguments.kinesis_stream, region=arguments.aws_region, endpoint_url=arguments.kinesis_endpoint
    )
    with suppress(PassingError):
        stream.shards()


def _query(session: "SparkSession", arguments: Arguments, stop: _StopRequest) -> Callable[[], "StreamingQuery"]:
    """Return what starts the query, as often as it is called: from its checkpoint, where there is one."""
    reporter = Reporter(stage=arguments.stage)
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
        if stop.requested:
            raise _BatchBorderError
        started_s = time.monotonic()
        records = classify(batch.toArrow())
        if not records:
            return
        query_id = batch.sparkSession.sparkContext.getLocalProperty(QUERY_ID_PROPERTY)
        counts = sink.write(records, query_id=str(query_id), batch_id=batch_id)
        reporter.batch(
            rows=counts.records,
            duration_ms=(time.monotonic() - started_s) * 1000,
            iterator_age_ms=counts.max_lag_ms,
            quarantined=counts.quarantined,
        )

    session.dataSource.register(KinesisDataSource)
    session.streams.addListener(idle_listener(reporter.idle))

    def start() -> "StreamingQuery":
        return (
            session.readStream.format(SHORT_NAME)
            .options(
                streamName=arguments.kinesis_stream,
                region=arguments.aws_region,
                endpointUrl=arguments.kinesis_endpoint,
                startingPosition=arguments.starting_position,
                maxRecordsPerBatch=arguments.max_records_per_batch,
                maxFetchMs=arguments.max_fetch_ms,
            )
            .load()
            .writeStream.foreachBatch(write)
            .option("checkpointLocation", arguments.checkpoint_location)
            .trigger(processingTime=f"{round(arguments.trigger_seconds * 1000)} milliseconds")
            .start()
        )

    return start


def _wait_for_end(session: "SparkSession", query: "StreamingQuery", stop: _StopRequest) -> None:
    """Wait for a request to stop and end the query between two batches, or say why it ended by itself."""
    from pyspark.errors import StreamingQueryException

    try:
        while not (stop.requested or query.awaitTermination(STOP_POLL_S)):
            pass
        # Spark takes the end at a border of batches for a failure, and would say so at length.
        session.sparkContext.setLogLevel("OFF")
        deadline_s = time.monotonic() + BATCH_BORDER_TIMEOUT_S
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline_s:
            time.sleep(0.02)
        query.stop()
    except StreamingQueryException as error:
        if not (stop.requested and _BatchBorderError.__name__ in str(error)):
            raise StreamFailedError(_reason(str(error))) from None
    _log.info("stopped on request")


def _reason(message: str) -> str:
    """Return the line of Spark's message that names an error of ours, else its first line."""
    ours = re.findall(r"^fraudit_stream\.\w+\.(\w+Error: .+)$", message, re.MULTILINE)
    return ours[-1] if ours else message.partition("\n")[0]
