"""The ``localaws`` command.

Belongs here: arguments, what is printed, exit codes. Does not: the work itself (``supervisor``, ``apply``).
"""

import argparse
import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from localaws import processes, state
from localaws.apply import ApplyError, apply
from localaws.ports import NoFreePortError
from localaws.services import Service, ServicesError, builtin, read_services, select
from localaws.state import AlreadyRunningError
from localaws.supervisor import StartError, Supervisor

POLL_S = 0.05
DOWN_TIMEOUT_S = 90.0
EXIT_POLL_S = 2.0
INTERRUPTED = 130
USAGE = 2


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrongly used, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        return int(options.handler(options, argv))
    except (ServicesError, NoFreePortError) as error:
        _complain(f"localaws {options.command}: {error}")
        return USAGE
    except (AlreadyRunningError, ApplyError, StartError) as error:
        _complain(f"localaws {options.command}: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localaws", description="An embedded AWS for one machine.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, handler: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(handler=handler)
        return added

    def with_state(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder of all state and logs")
        return added

    up = with_state(command("up", _up, "start the services and return when all are healthy"))
    up.add_argument("--services", type=Path, metavar="FILE", help="YAML file of further services")
    up.add_argument("--only", default="", metavar="NAME,NAME", help="these services and what they come after")
    up.add_argument("--foreground", action="store_true", help="stay, and end everything at Ctrl-C")
    up.add_argument("--port-base", type=int, default=4566, help="first of the ports (default %(default)s)")
    up.add_argument("--database", default="postgres", metavar="NAME", help="PostgreSQL database (default %(default)s)")
    with_state(command("down", _down, "end everything"))
    status = with_state(command("status", _status, "say what lives, where, since when"))
    status.add_argument("--json", action="store_true", help="as JSON")
    with_state(command("env", _env, "print the export lines that point a program here"))
    applied = command("apply", _apply, "make the AWS calls of a YAML list; what is there already is fine")
    applied.add_argument("file", type=Path, metavar="FILE")
    return parser


def _up(options: argparse.Namespace, argv: list[str]) -> int:
    state_dir = options.state.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    services = builtin(state_dir, port_base=options.port_base, database=options.database)
    if options.services:
        services += read_services(options.services)
    services = select(services, [name for name in options.only.split(",") if name])
    if options.foreground:
        return _supervise(state_dir, services)
    if state.is_held(state_dir):
        return _already_up(state_dir, services)
    return _detach(state_dir, argv)


def _supervise(state_dir: Path, services: list[Service]) -> int:
    with state.hold(state_dir) as is_held:
        _sweep(state_dir)
        asyncio.run(Supervisor(state_dir, services, is_held=is_held, on_change=_Progress().show).run())
    return 0


def _sweep(state_dir: Path) -> None:
    """End what a killed supervisor may have left behind."""
    status = state.read_status(state_dir)
    if status is not None:
        processes.kill_marked(state.OWNER_MARK, status["owner"])


def _already_up(state_dir: Path, services: list[Service]) -> int:
    status = state.read_status(state_dir) or {"phase": "starting", "services": {}}
    missing = [service.name for service in services if service.name not in status["services"]]
    if missing:
        raise AlreadyRunningError(
            f"a supervisor runs in {state_dir}, without {', '.join(missing)}: `localaws down --state {state_dir}` ends it"
        )
    _Progress().show(status)
    return 0 if status["phase"] == "up" else 1


def _detach(state_dir: Path, argv: list[str]) -> int:
    """Start the supervisor as a process of its own, and follow its status file until all is healthy or it gives up."""
    log_path = state_dir / "logs" / "supervisor.log"
    log_path.parent.mkdir(exist_ok=True)
    with log_path.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "localaws.cli", *argv, "--foreground"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = _Progress()
    try:
        while True:
            ended = supervisor.poll() is not None
            status = state.read_status(state_dir)
            if status is not None and status["supervisor_pid"] == supervisor.pid:
                progress.show(status)
                if status["phase"] == "up":
                    return 0
                if ended and status["why"]:
                    raise StartError(status["why"])
            if ended:
                raise StartError(f"the supervisor ended\n{state.log_tail(log_path)}\nlog: {log_path}")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        return INTERRUPTED


def _down(options: argparse.Namespace, _argv: list[str]) -> int:
    state_dir = options.state.resolve()
    status = state.read_status(state_dir)
    if status is None or not state.is_held(state_dir):
        _say(f"nothing runs in {state_dir}")
        _sweep(state_dir)
        return 0
    pid = status["supervisor_pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while state.is_held(state_dir):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(POLL_S)
    _sweep(state_dir)
    _await_exit(pid)
    return 0


def _await_exit(pid: int) -> None:
    """Wait for the last moment of a process that has let go of its lock, so that no process is left when ``down`` returns."""
    import psutil

    deadline = time.monotonic() + EXIT_POLL_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(POLL_S)


def _status(options: argparse.Namespace, _argv: list[str]) -> int:
    state_dir = options.state.resolve()
    status = state.read_status(state_dir) or {"supervisor_pid": None, "services": {}}
    if not state.is_held(state_dir):
        status["supervisor_pid"] = None
        for service in status["services"].values():
            service["pid"] = None
            if service["status"] in {"starting", "healthy"}:
                service["status"] = "stopped"
    if options.json:
        shown = {
            "state_dir": str(state_dir),
            "supervisor_pid": status["supervisor_pid"],
            "services": status["services"],
        }
        _say(json.dumps(shown, indent=1))
    elif not status["services"]:
        _say(f"nothing ever ran in {state_dir}")
    for name, service in {} if options.json else status["services"].items():
        where = service["url"] or ""
        _say(f"{name:<12} {service['status']:<9} {where:<24} since {service['since']}  {service['why']}".rstrip())
    is_up = all(service["status"] in {"healthy", "done"} for service in status["services"].values())
    return 0 if status["supervisor_pid"] and is_up else 1


def _env(options: argparse.Namespace, _argv: list[str]) -> int:
    state_dir = options.state.resolve()
    status = state.read_status(state_dir)
    if status is None or not state.is_held(state_dir):
        _complain(f"localaws env: nothing runs in {state_dir}: start it with `localaws up --state {state_dir}`")
        return 1
    for name, value in status["env"].items():
        _say(f"export {name}={shlex.quote(value)}")
    return 0


def _apply(options: argparse.Namespace, _argv: list[str]) -> int:
    for call, result in apply(options.file):
        _say(f"{result:<9} {call.service}.{call.action}")
    return 0


class _Progress:
    """Prints each change of a service once."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def show(self, status: dict[str, Any]) -> None:
        """Print what is new in a status."""
        for name, service in status["services"].items():
            if service["status"] in {"stopped", "starting"} and not (service["why"] or name in self._shown):
                continue
            moved = service["port"] != service["wanted_port"]
            note = f" (port {service['wanted_port']} is taken)" if moved else ""
            line = f"{name:<12} {service['status']:<9} {service['url'] or ''}{note} {service['why']}".rstrip()
            if self._shown.get(name) != line:
                self._shown[name] = line
                _say(line)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
