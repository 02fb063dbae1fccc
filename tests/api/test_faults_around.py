"""What the API needs is away when it starts, goes away later, or has another time of day."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from chalicelib.aws import Clients
from chalicelib.errors import ScoringUnavailableError
from chalicelib.service import Service
from chalicelib.settings import Settings
from moto.server import ThreadedMotoServer

from tests.api.conftest import MANIFEST, World
from tests.api.stand_ins import serving
from tests.api.test_signed import ACCESS_KEY, SECRET_KEY
from tests.api.test_signed import Service as Aws

Body = Callable[..., dict[str, Any]]
PATIENCE_S = 15.0


@pytest.fixture
def make_service(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    """Makes the API without its HTTP, among the neighbours of the other tests but for those that the environment names."""

    def make(environment: dict[str, str], **settings: Any) -> Service:
        for name, value in {**world.environment, **environment}.items():
            monkeypatch.setenv(name, value)
        made = replace(Settings.from_environment(world.environment), **settings)
        return Service(made, Clients.connect(region=made.aws_region))

    return make


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def s3_at(port: int) -> Iterator[None]:
    """The S3 of the other tests, at one more port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield
    finally:
        server.stop()


def until(status: str, service: Service) -> dict[str, Any]:
    """Ask for the health until it is this one."""
    deadline = time.monotonic() + PATIENCE_S
    while (health := service.health(deep=False))["status"] != status:
        assert time.monotonic() < deadline, health
        time.sleep(0.05)
    return health


def test_s3_is_down_when_the_api_starts_and_later(
    make_service: Callable[..., Service], body: Body, world: World
) -> None:
    port = free_port()
    service = make_service({"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}, manifest_max_age_s=0.05)
    request = json.dumps(body()).encode()
    with pytest.raises(ScoringUnavailableError) as caught:
        service.predict(request, request_id="r")
    assert (caught.value.status, caught.value.code) == (503, "no_manifest")
    assert service.health(deep=False) == {"status": "down", "manifest_version": None, "reason": "manifest_unreadable"}

    with s3_at(port):
        until("ok", service)
        assert service.predict(request, request_id="r")["degraded"] == []

    health = until("degraded", service)
    assert (health["manifest_version"], health["reason"]) == (MANIFEST["manifest_version"], "manifest_unreadable")
    assert service.predict(request, request_id="r")["degraded"] == []
    world.kinesis.refused_as = (400, "AccessDeniedException")
    answer = service.predict(request, request_id="r")
    assert (answer["decision"], answer["degraded"]) == ("approve", ["events", "dead_letters"])

    world.kinesis.recover()
    with s3_at(port):
        until("ok", service)
        assert service.predict(request, request_id="r")["degraded"] == []


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_clock_an_hour_off_is_said_in_the_log(
    ahead_s: float,
    make_service: Callable[..., Service],
    body: Body,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The other side's clock is set, not this machine's: what counts is the difference.
    aws = Aws()
    aws.clock_ahead_s = ahead_s
    with serving(aws) as url:
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        service = make_service({"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url, **keys})
        with pytest.raises(ScoringUnavailableError):
            service.predict(json.dumps(body()).encode(), request_id="r")
    reasons = [vars(record).get("reason") for record in caplog.records if record.message == "model did not answer"]
    assert reasons == ["InvokeEndpoint failed: InvalidSignatureException"] * 2
