"""Which services there are: the built-in ones, and those of a YAML file.

Belongs here: what a service is, how one is told to be healthy, and the check of the file. Does not: running them (``supervisor``).
"""

import http.client
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

from localaws import postgres
from localaws.ports import HOST

PROBE_TIMEOUT_S = 2.0
MAX_RESTARTS = 3
HTTP_ERROR = 400

_FIELDS = {"command", "cwd", "port", "env", "health", "after", "once", "exports", "log_group"}


class ServicesError(ValueError):
    """A list of services cannot be used; the message names every wrong place."""


class HealthError(RuntimeError):
    """A service answers, and will not become healthy; the message says why."""


class Health(Protocol):
    """How to tell that a service is healthy."""

    def check(self, port: int) -> bool:
        """Say whether the service on this port is healthy; blocks for a few seconds at most.

        Raises:
            HealthError: It will not become healthy.
        """


@dataclass(frozen=True)
class HttpHealth:
    """Healthy when GET of a path answers with a status below 400."""

    path: str

    def check(self, port: int) -> bool:
        """Ask once."""
        connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status < HTTP_ERROR
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class TcpHealth:
    """Healthy when something takes connections on the port."""

    def check(self, port: int) -> bool:
        """Connect once."""
        with socket.socket() as probe:
            probe.settimeout(PROBE_TIMEOUT_S)
            return probe.connect_ex((HOST, port)) == 0


@dataclass(frozen=True)
class PostgresHealth:
    """Healthy when PostgreSQL takes a login and the database is there."""

    password: str = field(repr=False)
    database: str

    def check(self, port: int) -> bool:
        """Log in once."""
        try:
            return postgres.is_ready(port=port, password=self.password, database=self.database)
        except postgres.PostgresError as error:
            raise HealthError(str(error)) from error


@dataclass(frozen=True)
class Service:
    """A program to keep running, or (``once``) to run to its end.

    ``{port}`` in ``command``, ``env`` and ``exports`` stands for the port it got. Without ``health`` it is healthy when it has
    run for a second. Its log is shipped to the log group ``log_group`` of CloudWatch Logs, else to ``/localaws/<name>``.
    """

    name: str
    command: tuple[str, ...]
    port: int | None = None
    health: Health | None = None
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    once: bool = False
    exports: Mapping[str, str] = field(default_factory=dict)
    log_group: str | None = None
    max_restarts: int = MAX_RESTARTS
    grace_s: float = 10.0


def builtin(state_dir: Path, *, port_base: int, database: str) -> list[Service]:
    """Return the services that make up the local cloud.

    Args:
        state_dir: Folder of all their state.
        port_base: The port wanted for the first; the others follow.
        database: Name of the PostgreSQL database.
    """
    python, state = sys.executable, str(state_dir)
    url = "http://127.0.0.1:{port}"
    password = postgres.password_of(state_dir)

    def module(name: str, *more: str) -> tuple[str, ...]:
        return (python, "-m", f"localaws.{name}", "--port", "{port}", *more)

    health = HttpHealth("/_health")
    return [
        Service(
            "moto",
            module("small_services", "--state", state),
            port=port_base,
            health=HttpHealth("/moto-api/"),
            exports={"AWS_ENDPOINT_URL": url},
        ),
        Service(
            "kinesis",
            module("kinesis", "--state", state),
            port=port_base + 1,
            health=health,
            exports={"AWS_ENDPOINT_URL_KINESIS": url},
        ),
        Service(
            "sagemaker",
            module("sagemaker", "--state", state),
            port=port_base + 2,
            health=health,
            after=("moto",),
            exports={"AWS_ENDPOINT_URL_SAGEMAKER": url, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url},
        ),
        Service(
            "glue",
            module("glue", "--state", state),
            port=port_base + 3,
            health=health,
            after=("moto",),
            exports={"AWS_ENDPOINT_URL_GLUE": url},
            grace_s=30.0,  # its runs may take 20 s to end
        ),
        Service(
            "postgres",
            module("postgres", "--state", state),
            port=port_base + 4,
            health=PostgresHealth(password, database),
            exports={
                "POSTGRES_HOST": HOST,
                "POSTGRES_PORT": "{port}",
                "POSTGRES_DB": database,
                "POSTGRES_USER": postgres.USER,
                "POSTGRES_PASSWORD": password,
            },
        ),
        Service(
            "cloudwatch",
            module("cloudwatch", "--state", state),
            port=port_base + 5,
            health=health,
            after=("moto",),
            exports={"AWS_ENDPOINT_URL_CLOUDWATCH": url},
        ),
    ]


def read_services(path: Path) -> list[Service]:
    """Read further services from a YAML file; a relative ``cwd`` is relative to it.

    Raises:
        ServicesError: The file cannot be read, or describes a service wrongly; every mistake is named at once.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ServicesError(f"cannot read {path}: {error}") from error
    listed = document.get("services") if isinstance(document, dict) else None
    if not isinstance(listed, dict):
        raise ServicesError(f"{path}: wants a mapping 'services' of name to service")
    problems: list[str] = []
    found = [_read_service(str(name), entry, path.parent, problems) for name, entry in listed.items()]
    if problems:
        raise ServicesError(f"{path}: " + "; ".join(problems))
    return found


def _read_service(name: str, entry: Any, base: Path, problems: list[str]) -> Service:
    """Read one service; what is wrong is added to ``problems`` and left out."""
    if not isinstance(entry, dict):
        problems.append(f"services.{name} must be a mapping")
        entry = {"command": ["true"]}
    problems += [
        f"services.{name}.{key} is unknown (known: {', '.join(sorted(_FIELDS))})"
        for key in sorted(set(entry) - _FIELDS)
    ]

    def take(key: str, kind: type, default: Any) -> Any:
        value = entry.get(key, default)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if value is not None:
            problems.append(f"services.{name}.{key} must be of type {kind.__name__}, not {value!r}")
        return default

    command = tuple(map(str, take("command", list, [])))
    if not command:
        problems.append(f"services.{name}.command must list a program and its arguments")
    port = take("port", int, None)
    once = take("once", bool, False)  # noqa: FBT003 - the default of a flag
    cwd = take("cwd", str, None)
    return Service(
        name,
        command,
        port=port,
        health=_read_health(name, take("health", dict, {}), port, problems),
        cwd=None if cwd is None else (base / cwd).resolve(),
        env={str(key): str(value) for key, value in take("env", dict, {}).items()},
        after=tuple(map(str, take("after", list, []))),
        once=once,
        exports={str(key): str(value) for key, value in take("exports", dict, {}).items()},
        log_group=take("log_group", str, None),
    )


def _read_health(name: str, entry: dict[str, Any], port: int | None, problems: list[str]) -> Health | None:
    if not entry:
        return None
    if port is None:
        problems.append(f"services.{name}.health needs services.{name}.port")
    match entry:
        case {"http": str(path), **rest} if not rest:
            return HttpHealth(path)
        case {"tcp": True, **rest} if not rest:
            return TcpHealth()
    problems.append(f"services.{name}.health must be {{http: /path}} or {{tcp: true}}, not {entry!r}")
    return None


def select(services: list[Service], only: list[str]) -> list[Service]:
    """Return the named services and all that they come after, in an order that puts each behind those; all where none is named.

    Raises:
        ServicesError: Two share a name, one is not there, or they wait for each other in a circle.
    """
    by_name = {service.name: service for service in services}
    problems = [
        f"service {name!r} is defined twice"
        for name in by_name
        if sum(service.name == name for service in services) > 1
    ]
    problems += [
        f"service {service.name!r} comes after {other!r}, which is not there"
        for service in services
        for other in service.after
        if other not in by_name
    ]
    problems += [
        f"there is no service {name!r} (there are: {', '.join(by_name)})" for name in only if name not in by_name
    ]
    if problems:
        raise ServicesError("; ".join(problems))
    try:
        order = list(TopologicalSorter({name: service.after for name, service in by_name.items()}).static_order())
    except CycleError as error:
        raise ServicesError(f"services wait for each other: {' -> '.join(error.args[1])}") from error
    wanted, waiting = set[str](), list(only or by_name)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += by_name[name].after
    return [by_name[name] for name in order if name in wanted]
