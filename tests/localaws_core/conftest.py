"""Real services on 127.0.0.1, one process each, ended after the tests that use them."""

import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from localaws import processes
from localaws.services import HttpHealth

from tests.conftest import free_port

AWS_ENV = {
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS_ENV.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Run ``python -m <module> --port P [...]`` and return its URL once ``health`` answers."""
    started = []

    def start(module: str, *args: str, port_option: str = "--port", health: str = "/_health", **env: str) -> str:
        port = free_port()
        log = tmp_path_factory.mktemp(module) / "service.log"
        command = [sys.executable, "-m", module, port_option, str(port), *args]
        process = processes.spawn(command, env={**os.environ, **AWS_ENV, **env}, log_path=log)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while not HttpHealth(health).check(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return url

    yield start
    for process in started:
        processes.end(process, grace_s=10)
