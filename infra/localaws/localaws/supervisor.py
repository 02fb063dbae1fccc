"""The one process that starts the services, watches them, and ends them.

Belongs here: order, health, restarts, the end of everything. Does not: what the services are (``services``), what is written about
them (``state``), or talking to the user (``cli``).
"""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localaws import processes
from localaws.ports import HOST, Lease, lease_port
from localaws.rotation import OutputPipe, RotatedLog
from localaws.services import HealthError, Service
from localaws.state import OWNER_MARK, log_tail, write_status

START_TIMEOUT_S = 180.0
POLL_S = 0.05
LOOK_EVERY_S = 0.5
"""Time between two looks at whether the state folder is still this one's, once all is up."""
FIRST_BACK_OFF_S = 0.5
SETTLE_S = 1.0  # what a service without a health check has to live to count as healthy
STEADY_S = 60.0
PROBE_EVERY_S = 5.0
UNANSWERED_S = 60.0  # a service that lives and does not answer for so long is ended and started again
DEFAULT_REGION = "eu-west-1"
# The user's own profile, token or endpoints would lead a child away from here, at worst to a real account.
_FOREIGN_PREFIXES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED",
)


class StartError(RuntimeError):
    """A service did not become healthy; the message says which, why, and where its log is."""


@dataclass
class Watched:
    """A service and what became of it: ``stopped``, ``starting``, ``healthy``, ``done`` or ``failed``."""

    service: Service
    lease: Lease | None
    log_path: Path
    status: str = "stopped"
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    restarts: int = 0
    why: str = ""
    process: subprocess.Popen[bytes] | None = None
    log: RotatedLog | None = None
    output: OutputPipe | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def port(self) -> int | None:
        """The port it got."""
        return self.lease.port if self.lease else None

    @property
    def is_up(self) -> bool:
        """Whether the services that come after it may start."""
        return self.status in {"healthy", "done"}

    def fill(self, text: str) -> str:
        """Put its port into a text of the service's."""
        return text.replace("{port}", str(self.port))

    def describe(self) -> dict[str, Any]:
        """Return what the status file says of it."""
        runs = self.process is not None and self.process.poll() is None
        return {
            "status": self.status,
            "pid": self.process.pid if self.process and runs else None,
            "port": self.port,
            "url": f"http://{HOST}:{self.port}" if self.port else None,
            "since": self.since.isoformat(timespec="milliseconds"),
            "restarts": self.restarts,
            "log": str(self.log_path),
            "log_group": self.service.log_group,
            "why": self.why,
            "wanted_port": self.service.port,
        }


class Supervisor:
    """Runs services until it is told to stop.

    Args:
        state_dir: Folder of all their state, of the logs and of the status file.
        services: The services, each behind those that it comes after.
        is_held: Says whether the state folder is still this supervisor's; it ends everything when not.
        on_change: Called with the content of the status file whenever it changes.
    """

    def __init__(
        self,
        state_dir: Path,
        services: list[Service],
        *,
        is_held: Callable[[], bool],
        on_change: Callable[[dict[str, Any]], None],
    ) -> None:
        self._state_dir = state_dir
        self._is_held = is_held
        self._on_change = on_change
        self._owner = uuid.uuid4().hex
        wanted_ports = [service.port for service in services if service.port]
        self._watched = {
            service.name: Watched(
                service,
                lease_port(service.port, avoid=wanted_ports) if service.port else None,
                state_dir / "logs" / f"{service.name}.log",
            )
            for service in services
        }
        self._exports = self._make_exports()
        self._stop = asyncio.Event()
        self._phase = "starting"
        self._why = ""

    async def run(self) -> None:
        """Start everything, watch it until SIGTERM, SIGINT or SIGHUP, end everything.

        Raises:
            StartError: A service did not become healthy; everything was ended again.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        self._report()
        reaper = self._start_reaper()
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [group.create_task(self._watch(watched)) for watched in self._watched.values()]
                await self._until_stopped()
                for watcher in watchers:
                    watcher.cancel()
        except* StartError as errors:
            self._why = str(errors.exceptions[0])
        finally:
            self._phase = "stopping"
            self._report()
            await self._end_all()
            await asyncio.to_thread(reaper.communicate)  # closes its stdin, and it goes
            self._phase = "failed" if self._why else "stopped"
            self._report()
            self._let_go()
        if self._why:
            raise StartError(self._why)

    async def _until_stopped(self) -> None:
        while not self._stop.is_set() and self._is_held():
            if self._phase == "starting":
                self._raise_for_failed()
                if all(watched.is_up for watched in self._watched.values()):
                    self._phase = "up"
                    self._report()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), POLL_S if self._phase == "starting" else LOOK_EVERY_S)

    def _raise_for_failed(self) -> None:
        for watched in self._watched.values():
            if watched.status == "failed":
                if watched.output is not None:
                    watched.output.pump()
                tail = log_tail(watched.log_path)
                raise StartError(f"{watched.service.name}: {watched.why}\n{tail}\nlog: {watched.log_path}")

    async def _watch(self, watched: Watched) -> None:
        """Start a service when its turn has come, and again when it dies, as often as it may."""
        service = watched.service
        for name in service.after:
            await self._watched[name].settled.wait()
        attempts = 0
        while True:
            started_at = time.monotonic()
            why = await self._live(watched)
            if not why:
                return
            await self._end(watched)
            if time.monotonic() - started_at > STEADY_S:
                attempts = 0
            if not watched.settled.is_set() or attempts >= service.max_restarts:
                self._set(watched, "failed", why=why)
                return
            watched.restarts += 1
            self._set(watched, "starting", why=why)
            await asyncio.sleep(FIRST_BACK_OFF_S * 2**attempts)
            attempts += 1

    async def _live(self, watched: Watched) -> str:
        """Run a service once; return why it ended, or an empty text where it was to run once and did."""
        service = watched.service
        self._set(watched, "starting", why=watched.why)
        try:
            process = self._spawn(watched)
        except OSError as error:
            return f"it cannot be run: {error}"
        watched.process = process
        self._report()
        why = await self._await_health(watched, process)
        if why:
            return why
        self._set(watched, "done" if service.once else "healthy", why=watched.why)
        watched.settled.set()
        return "" if service.once else await self._watch_health(watched, process)

    def _spawn(self, watched: Watched) -> subprocess.Popen[bytes]:
        """Start a service's process, and move what it prints into its log from now on."""
        service, loop = watched.service, asyncio.get_running_loop()
        watched.log = watched.log or RotatedLog(watched.log_path)
        output = watched.output = OutputPipe(watched.log)
        try:
            process = processes.spawn_into(
                output.write_end,
                [watched.fill(argument) for argument in service.command],
                env=self._environment(watched),
                cwd=service.cwd,
            )
        except OSError:
            output.close()
            watched.output = None
            raise
        finally:
            output.release()

        def move() -> None:
            if not output.pump():
                loop.remove_reader(output.read_end)
                output.close()
                if watched.output is output:
                    watched.output = None

        loop.add_reader(output.read_end, move)
        return process

    async def _await_health(self, watched: Watched, process: subprocess.Popen[bytes]) -> str:
        """Wait until a service is healthy, or done; return why it is not, else an empty text."""
        once = watched.service.once
        started_at = time.monotonic()
        while time.monotonic() < started_at + START_TIMEOUT_S:
            try:
                is_healthy = not once and await self._is_healthy(watched, lived_s=time.monotonic() - started_at)
            except HealthError as error:
                return str(error)
            code = process.poll()  # asked last: another program may answer on a dead service's port
            if code is not None:
                return "" if once and code == 0 else f"it ended at its start {_exit_text(code)}"
            if is_healthy:
                return ""
            await asyncio.sleep(POLL_S)
        return f"it was not {'done' if once else 'healthy'} after {START_TIMEOUT_S:.0f} s"

    async def _is_healthy(self, watched: Watched, *, lived_s: float) -> bool:
        health = watched.service.health
        if health is None or watched.port is None:
            return lived_s > SETTLE_S
        return await asyncio.to_thread(health.check, watched.port)

    async def _watch_health(self, watched: Watched, process: subprocess.Popen[bytes]) -> str:
        """Wait until a healthy service has ended or does not answer any more; return why."""
        answered_at = time.monotonic()
        while (code := await processes.wait(process, at_most_s=PROBE_EVERY_S)) is None:
            try:
                is_healthy = await self._is_healthy(watched, lived_s=math.inf)
            except HealthError as error:
                return str(error)
            probed_at = time.monotonic()
            if is_healthy:
                answered_at = probed_at
            elif probed_at > answered_at + UNANSWERED_S:
                return f"it did not answer for {UNANSWERED_S:.0f} s"
        return f"it ended {_exit_text(code)}"

    async def _end(self, watched: Watched) -> None:
        if watched.process is not None:
            await asyncio.to_thread(processes.end, watched.process, grace_s=watched.service.grace_s)

    async def _end_all(self) -> None:
        """End those first that nothing comes after; then whatever they left behind."""
        depth: dict[str, int] = {}
        for name, watched in self._watched.items():
            depth[name] = 1 + max((depth[other] for other in watched.service.after), default=0)
        for level in sorted(set(depth.values()), reverse=True):
            watched_here = [self._watched[name] for name in depth if depth[name] == level]
            await asyncio.gather(*map(self._end, watched_here))
            for watched in watched_here:
                if watched.status in {"starting", "healthy"}:
                    self._set(watched, "stopped", why=watched.why)
        await asyncio.to_thread(processes.kill_marked, OWNER_MARK, self._owner)

    def _let_go(self) -> None:
        """Write the last output to the logs, and give the ports back."""
        for watched in self._watched.values():
            if watched.output is not None:
                watched.output.pump()
            if watched.log is not None:
                watched.log.close()
            if watched.lease is not None:
                watched.lease.lock.close()

    def _start_reaper(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "localaws.reaper", OWNER_MARK, self._owner]
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _make_exports(self) -> dict[str, str]:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        exports = {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": "localaws",
            "AWS_SECRET_ACCESS_KEY": "localaws",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for watched in self._watched.values():
            exports |= {name: watched.fill(value) for name, value in watched.service.exports.items()}
        return exports

    def _environment(self, watched: Watched) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)},
            "PYTHONUNBUFFERED": "1",
            **self._exports,
            "AWS_ACCESS_KEY_ID": watched.service.name,  # tells callers apart (``trail``)
            **{name: watched.fill(value) for name, value in watched.service.env.items()},
            OWNER_MARK: self._owner,
        }

    def _set(self, watched: Watched, status: str, *, why: str) -> None:
        if status != watched.status:
            watched.since = datetime.now(UTC)
        watched.status, watched.why = status, why
        self._report()

    def _report(self) -> None:
        status = {
            "state_dir": str(self._state_dir),
            "supervisor_pid": os.getpid(),
            "phase": self._phase,
            "why": self._why,
            "owner": self._owner,
            "env": self._exports,
            "services": {name: watched.describe() for name, watched in self._watched.items()},
        }
        if self._is_held():
            write_status(self._state_dir, status)
        self._on_change(status)


def _exit_text(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
