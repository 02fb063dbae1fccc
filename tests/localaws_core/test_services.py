"""Which services there are, and what a file of further services may say."""

import socket
from pathlib import Path

import pytest
from localaws.ports import lease_port
from localaws.services import HttpHealth, Service, ServicesError, TcpHealth, builtin, read_services, select

from tests.conftest import free_port


def write(folder: Path, text: str) -> Path:
    path = folder / "services.yaml"
    path.write_text(text)
    return path


def test_a_file_describes_further_services(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
services:
  api:
    command: [serve, --port, "{port}"]
    cwd: sub
    port: 8000
    env: {DEBUG: 1}
    health: {http: /health}
    after: [kinesis, seed]
    exports: {API_URL: "http://127.0.0.1:{port}"}
  seed: {command: [seed], once: true, after: [moto]}
  socket: {command: [socket], port: 9000, health: {tcp: true}}
""",
    )
    api, seed, tcp = read_services(path)
    assert api == Service(
        "api",
        ("serve", "--port", "{port}"),
        port=8000,
        health=HttpHealth("/health"),
        cwd=tmp_path / "sub",
        env={"DEBUG": "1"},
        after=("kinesis", "seed"),
        exports={"API_URL": "http://127.0.0.1:{port}"},
    )
    assert (seed.once, seed.health, tcp.health) == (True, None, TcpHealth())


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "services: {a: {command: x, port: yes}, b: {command: [x], helth: {}, health: {http: 1}}, c: 3, d: {command: [x], health: {tcp: true}}}",
    )
    with pytest.raises(ServicesError) as caught:
        read_services(path)
    for name in ("a.command", "a.port", "b.helth", "b.health", "services.c", "d.port"):
        assert name in str(caught.value)


@pytest.mark.parametrize("text", ["services: [", "[]", "services: 1", "{}"])
def test_a_file_that_is_no_list_of_services_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ServicesError, match=r"services\.yaml"):
        read_services(write(tmp_path, text))
    with pytest.raises(ServicesError, match="nowhere"):
        read_services(tmp_path / "nowhere.yaml")


def service(name: str, *after: str) -> Service:
    return Service(name, ("true",), after=after)


def test_services_come_after_what_they_need() -> None:
    services = [service("c", "b"), service("a"), service("b", "a"), service("d")]
    assert [chosen.name for chosen in select(services, ["c"])] == ["a", "b", "c"]
    assert {chosen.name for chosen in select(services, [])} == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("services", "only", "message"),
    [
        ([service("a"), service("a")], [], "'a' is defined twice"),
        ([service("a", "x")], [], "'a' comes after 'x', which is not there"),
        ([service("a", "b"), service("b", "a")], [], "wait for each other"),
        ([service("a")], ["x"], "no service 'x'"),
    ],
)
def test_services_that_do_not_fit_together_are_named(services: list[Service], only: list[str], message: str) -> None:
    with pytest.raises(ServicesError, match=message):
        select(services, only)


def test_the_built_in_services_take_ports_from_the_base_on(tmp_path: Path) -> None:
    services = builtin(tmp_path, port_base=5000, database="db")
    assert [(service.name, service.port) for service in services] == [
        ("moto", 5000),
        ("kinesis", 5001),
        ("sagemaker", 5002),
        ("glue", 5003),
        ("postgres", 5004),
        ("cloudwatch", 5005),
    ]
    assert (tmp_path / "postgres.password").stat().st_mode & 0o777 == 0o600


def test_a_taken_or_leased_port_gives_the_next_free_one() -> None:
    base = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", base))
        listener.listen()
        lease = lease_port(base)
        other = lease_port(base, avoid=[lease.port + 1])
    assert lease.port > base
    assert other.port > lease.port + 1
    lease.lock.close()
    other.lock.close()
