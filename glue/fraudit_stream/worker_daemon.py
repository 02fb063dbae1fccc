"""Spark's Python workers without Spark's archives on their path; for a Spark of one machine, where pyspark is installed anyway.

Spark puts ``pyspark.zip`` and the jar of its core first on the path of its workers, and has them forget their import caches before each
task. Python then reads the directories of both archives again: 0.2 s of CPU a task, in a micro-batch that has milliseconds of work.
``spark.python.daemon.module`` names this module.
"""

import sys

if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if not entry.endswith((".jar", "pyspark.zip"))]
    sys.path_importer_cache.clear()
    from pyspark.daemon import manager

    manager()  # type: ignore[no-untyped-call]  # pyspark has no types here
