"""The Spark session of the stream: on Glue the one Glue prepared, elsewhere one of its own, on loopback."""

import atexit
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.listener import StreamingQueryListener

# Spark puts pyspark.zip and the jar of its core first on the path of each Python that it starts, of which a query needs several before
# its first row. Python would compile what it imports from the zip each time (0.7 s of CPU), and read the directories of both again
# whenever a task has it forget its import caches (0.2 s, in a micro-batch that has milliseconds of work).
_WITHOUT_ARCHIVES = """#!/bin/sh
IFS=:
set -f
kept=
for entry in $PYTHONPATH; do
  case $entry in
    *.jar | */pyspark.zip | */py4j-*.zip) ;;
    *) kept=$kept${{kept:+:}}$entry ;;
  esac
done
export PYTHONPATH="$kept"
exec {python} "$@"
"""

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
_QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_OWN_SETTINGS = {
    # Halves the CPU of a start; what a batch costs later is spent in Python and PostgreSQL.
    "spark.driver.extraJavaOptions": _QUICK_START,
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def start_session(app_name: str) -> "SparkSession":
    """Return the session. Where the script was not started by spark-submit, as Glue does, Spark starts here and binds to loopback."""
    from pyspark.sql import SparkSession

    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        os.environ["PYSPARK_PYTHON"] = _worker_python(os.environ.get("PYSPARK_PYTHON", sys.executable))
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("SPARK_LAUNCHER_OPTS", _QUICK_START)  # of the program that composes Java's command line
    builder = SparkSession.builder.appName(app_name)
    for name, value in (_SETTINGS if submitted else _SETTINGS | _OWN_SETTINGS).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def _worker_python(python: str) -> str:
    """Return what Spark starts its Python workers by: this Python, without Spark's archives on their path, where pyspark is installed anyway."""
    import pyspark

    if not Path(pyspark.__file__).is_file():
        return python
    folder = Path(tempfile.mkdtemp(prefix="fraudit-python-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "python"
    program.write_text(_WITHOUT_ARCHIVES.format(python=shlex.quote(python)))
    program.chmod(0o700)
    return str(program)


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
