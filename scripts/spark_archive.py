"""Part of ``make setup``: an archive of the classes that Spark loads, so that each of its starts reads them from memory that is mapped.

Belongs here: making it, by letting a Spark do once what the graph and the stream do. Does not: using it, which
``resources/spark.py`` and ``glue/fraudit_stream/session.py`` do where it is there.

A Spark that starts and puts a table to the rules takes 11 s of processor time with it and 19 s without; making it takes 40 s. Java
ignores an archive of another Java or of other jars, and one that cannot make any is no fault. https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import load_contract
from fraudit_dagster.synthetic import write_synthetic
from fraudit_dagster.validation import find_duplicates, row_rules, validate_rows
from resources.spark import ARCHIVE, Spark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS, FRAUDS = 500, 10
EXIT_TIMEOUT_S = 300


def make(target: Path) -> None:
    """Write the archive to ``target``. Blocks for half a minute."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".part")
    draft.unlink(missing_ok=True)
    os.environ["SPARK_SUBMIT_OPTS"] = f"-XX:ArchiveClassesAtExit={draft} -Xlog:cds=off -Xlog:cds+dynamic=off"
    session = Spark(master="local[2]").session()
    with TemporaryDirectory() as folder:
        table = Path(folder, "table.parquet")
        write_synthetic(table, rows=ROWS, frauds=FRAUDS)
        contract = load_contract()
        rows = session.read.parquet(str(table))
        validate_rows(rows, row_rules(contract, weighted=False))
        find_duplicates(rows, contract)

        def write(batch: "DataFrame", _: int) -> None:
            batch.toArrow()

        stream = session.readStream.format("rate").load().writeStream.foreachBatch(write)
        stream.option("checkpointLocation", folder).trigger(once=True).start().awaitTermination()
    gateway: Any = session.sparkContext._gateway  # noqa: SLF001 - what ends the JVM, which writes the archive then
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(EXIT_TIMEOUT_S)
    if draft.is_file():
        draft.replace(target)
    else:
        print("This Java made none: Spark starts without it.")  # noqa: T201 - the command's output


if __name__ == "__main__":
    make(ARCHIVE)
