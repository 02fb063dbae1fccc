"""Apache Spark in the run's own process, or on a cluster that the settings name.

Belongs here: the session. Does not: what is computed with it (``fraudit_dagster/split.py``).
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from fraudit_dagster.java import find_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()


class Spark(dg.ConfigurableResource):
    """A lazily started Spark session, by dagster-pyspark."""

    master: str = Field(default="local[2]", description="Spark master; local[n] runs in the process of the run.")

    def session(self) -> "SparkSession":
        """Return the session of this process, started at the first call (5-13 s).

        Raises:
            JavaError: There is no Java that Spark can run on.
        """
        from dagster_pyspark import LazyPySparkResource

        os.environ["JAVA_HOME"] = str(find_java())
        os.environ["PYSPARK_PYTHON"] = sys.executable
        # Of the program that composes Java's command line: 1 s of CPU less a start.
        os.environ.setdefault("SPARK_LAUNCHER_OPTS", QUICK_START)
        config = {
            "spark.master": self.master,
            "spark.app.name": "fraudit",
            # The session lives for a few short jobs: the second compiler would cost more than it gives.
            "spark.driver.extraJavaOptions": f"{QUICK_START} -Dlog4j2.configurationFile={LOGGING}",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.shuffle.partitions": "4",
            "spark.sql.session.timeZone": "UTC",
            "spark.log.level": "ERROR",
        }
        session: SparkSession = LazyPySparkResource(spark_config=config).spark_session
        return session
