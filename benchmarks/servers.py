"""Servers of a benchmark: processes on 127.0.0.1 that end with it.

Belongs here: starting, waiting, ending, ports, environments. Does not: what is asked of them.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from localaws.ports import lease_port
from localaws.processes import end, spawn

PROJECT_DIR = Path(__file__).parents[1]
BENCH_DIR = PROJECT_DIR / "var" / "bench"
PEERS_DIR = Path(__file__).parent / "peers"
PEERS_BIN = BENCH_DIR / "venv" / "bin"
"""Programs of the environment that ``make bench`` makes of ``benchmarks/requirements.lock``."""

HOST = "127.0.0.1"
FIRST_PORT = 21_000
REGION = "eu-west-1"
ACCOUNT = "123456789012"
START_TIMEOUT_S = 120.0
POLL_S = 0.05
GRACE_S = 5.0


class ServerError(RuntimeError):
    """A server does not answer, or a program failed; the message has the end of what it said."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    return lease_port(FIRST_PORT).port


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which no program reaches a real account, with further variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ours = {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    return {**kept, **ours, **more}


def client(service: str, url: str) -> Any:
    """Return a boto3 client as a program would have it, but for retries, which would hide an error and its time."""
    import boto3
    from botocore.config import Config

    return boto3.client(  # type: ignore[call-overload]  # its overloads want a literal name
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - every key opens the local cloud
        config=Config(retries={"max_attempts": 0}, read_timeout=300, s3={"addressing_style": "path"}),
    )


@contextmanager
def running(
    command: Sequence[str | Path], *, env: Mapping[str, str], log: Path, url: str, cwd: Path | None = None
) -> Iterator[psutil.Process]:
    """Run a server until the block is left; it is entered when ``url`` answers.

    Raises:
        ServerError: It does not answer in time, or ends.
    """
    process = spawn(command, env=env, log_path=log, cwd=cwd)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-1000:]
                raise ServerError(f"{command[0]} does not answer at {url} (exit code {process.poll()}): {tail}")
            time.sleep(POLL_S)
        yield psutil.Process(process.pid)
    finally:
        end(process, grace_s=GRACE_S)


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run a moto server and give its address."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with running(command, env=environment(), log=folder / f"moto-{port}.log", url=f"{url}/moto-api/"):
        yield url


@contextmanager
def localaws(service: str, folder: Path, **more: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run one service of the embedded AWS with a state of its own, and give its address and process."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    state = folder / f"{service}-{port}"
    command = [sys.executable, "-m", f"localaws.{service}", "--port", str(port), "--state", str(state)]
    log = folder / f"{service}-{port}.log"
    with running(command, env=environment(**more), log=log, url=f"{url}/_health") as process:
        yield url, process


def peer_version(package: str) -> str:
    """Return the version of a package in the peers' environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    return output([PEERS_BIN / "python", "-c", program]).strip()


def output(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program that ends by itself and return what it printed.

    Raises:
        ServerError: It failed.
    """
    env = environment() if env is None else env
    done = subprocess.run(command, env=env, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ServerError(f"{command[0]} ended with exit code {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - only http://127.0.0.1
            return True
    except OSError:  # an error status too: LitServe answers 503 until its workers have their models
        return False
