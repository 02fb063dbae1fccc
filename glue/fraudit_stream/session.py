"""The Spark session of the stream: on Glue the one Glue prepared, elsewhere one of its own, on loopback."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.listener import StreamingQueryListener

# One small stage per micro-batch: what costs time here is planning and the UI, not rows.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    "spark.sql.streaming.metricsEnabled": "false",
    "spark.sql.streaming.noDataProgressEventInterval": "5000",
}
_OWN_SETTINGS = {
    # Halves the CPU of a start; what a batch costs later is spent in Python and PostgreSQL.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.python.daemon.module": "fraudit_stream.worker_daemon",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def start_session(app_name: str) -> "SparkSession":
    """Return the session. Where the script was not started by spark-submit, as Glue does, Spark starts here and binds to loopback."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(app_name)
    for name, value in (_SETTINGS if submitted else _SETTINGS | _OWN_SETTINGS).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def warm_up(session: "SparkSession") -> None:
    """Run a small query: else the first transactions that come would wait until Spark has compiled and loaded what that takes."""
    session.range(1).toArrow()


def idle_listener(on_idle: Callable[[], None]) -> "StreamingQueryListener":
    """Return a listener that calls when a query has found no data for five seconds, and every five seconds from then on."""
    from pyspark.sql.streaming import listener

    class IdleListener(listener.StreamingQueryListener):
        def onQueryStarted(self, event: listener.QueryStartedEvent) -> None: ...  # noqa: N802 -- Spark's interface

        def onQueryProgress(self, event: listener.QueryProgressEvent) -> None: ...  # noqa: N802

        def onQueryIdle(self, event: listener.QueryIdleEvent) -> None:  # noqa: ARG002, N802
            on_idle()

        def onQueryTerminated(self, event: listener.QueryTerminatedEvent) -> None: ...  # noqa: N802

    return IdleListener()
