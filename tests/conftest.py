"""What several suites share: one embedded AWS with PostgreSQL, and one Spark session, for the whole test run.

Nothing is emptied between tests: each makes buckets, streams, jobs and databases of its own name (``unique``).
"""

import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from resources.spark import Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST_PORT, PORTS_EACH, WORKERS, PORTS_TOGETHER = 22_000, 2_500, 4, 10


JVM_OPTIONS = {
    "SPARK_SUBMIT_OPTS": "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote",
    "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
"""A Spark that starts takes 13 s of CPU, not 16: its classes are not verified, and what composes its command line is not optimised."""

ASK = httpx.Client(timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
"""For loops that wait until a server answers: ``httpx.get`` would read the machine's certificates each time, 60 ms of processor time."""

LONGEST_FIRST = ("end_to_end", "stream", "graph")
"""Folders whose files take minutes: begun last, one of them would run alone at the end."""


def pytest_configure() -> None:
    """Give the JVMs that tests start, and those that their programs start, options of their own."""
    for name, options in JVM_OPTIONS.items():
        os.environ.setdefault(name, options)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; otherwise the order stays."""
    rank = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{secrets.token_hex(4)}"


def free_port() -> int:
    """A port that nothing listens on, with the nine after it.

    Below those that outgoing connections take (32768 and up on Linux), and each test process has a range of its own: what is free
    now is free a moment later too.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_PORT + worker % WORKERS * PORTS_EACH
    while True:
        port = first + secrets.randbelow(PORTS_EACH - PORTS_TOGETHER)
        if all(map(_is_free, range(port, port + PORTS_TOGETHER))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points a program to a running ``localaws``."""
    state = str(tmp_path_factory.mktemp("localaws"))

    def localaws(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "localaws.cli", *args, "--state", state],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    localaws("up", "--only", "moto,kinesis,glue,sagemaker,postgres", "--port-base", str(free_port()))
    try:
        exports = (shlex.split(line)[1] for line in localaws("env").splitlines())
        yield {name: value for name, _, value in (export.partition("=") for export in exports)}
    finally:
        localaws("down")


@pytest.fixture(scope="session")
def spark() -> Iterator["SparkSession"]:
    """The session of the graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = Spark(master="local[2]").session()
        yield session
        session.stop()
