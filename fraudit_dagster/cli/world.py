"""The local world: the command ``localaws`` with fraudit's own services beside it.

Belongs here: what to start and with which environment. Does not: starting it; that is the supervisor's, a program of its own.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR, Settings, load_settings

if TYPE_CHECKING:
    from rich.table import Table

LOCAL_ACCOUNT = "123456789012"
"""That the embedded AWS says it is."""
SIMULATED_PER_S = 1.0
"""Transactions that the sensor ``simulated_traffic`` sends, once it is switched on, where the settings say nothing of it."""
FOR_PEOPLE = {
    "dagster": "the graph: runs, checks, switches",
    "dashboard": "traffic, models, the review queue",
    "api": "POST /predict, POST /feedback",
}
INFRA = PROJECT_DIR / "infra" / "local"


def start(
    state: Path,
    *,
    only: Sequence[str] | None = None,
    foreground: bool = False,
    log: Path | None = None,
    watch: Callable[[str], object] | None = None,
) -> None:
    """Start the local world, or those services of it that ``only`` names, and return when all are healthy.

    Args:
        state: Folder for everything that is kept.
        only: Names of services; None: all.
        foreground: Stay until interrupted.
        log: File for what the supervisor says; None: the terminal.
        watch: Called with each line of what goes to ``log``.

    Raises:
        CommandError: A service did not get healthy; nothing is left running.
    """
    settings = load_settings()
    state = state.resolve()
    home = state / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(dagster_yaml(home, model_bucket=settings.model_bucket))
    if not (state / "kinesis").exists():
        # Without its folder Kinesis starts empty, and the stream must forget its place among the records of before.
        shutil.rmtree(state / "stream", ignore_errors=True)
    words = [
        "up",
        "--state",
        str(state),
        "--services",
        str(INFRA / "services.yaml"),
        "--database",
        settings.postgres_db,
    ]
    words += ["--only", ",".join(only)] if only else []
    if foreground:
        # In place of this process: a signal to it, such as a container's end, is the supervisor's to handle.
        os.chdir(PROJECT_DIR)
        os.execve(_program(), [_program(), *words, "--foreground"], _environment(settings, state))  # noqa: S606 - a list of our own
    _localaws(words, environment=_environment(settings, state), log=log, watch=watch)


def dagster_yaml(home: Path, *, model_bucket: str) -> str:
    """Return the settings of Dagster's instance in ``home``: ``infra/local/dagster.yaml``, filled in."""
    return Template((INFRA / "dagster.yaml").read_text()).substitute(DAGSTER_HOME=home, MODEL_BUCKET=model_bucket)


def stop(state: Path, *, log: Path | None = None) -> None:
    """Stop every service of the local world."""
    _localaws(["down", "--state", str(state.resolve())], environment=dict(os.environ), log=log)


def show_addresses(state: Path) -> None:
    """Print where people look, and what they do next."""
    from rich.console import Console

    table = addresses(services(state))
    if table.row_count:
        console = Console()
        console.print(table)
        console.print("next:", *next_commands(state), sep="\n  ", soft_wrap=True, markup=False, highlight=False)


def addresses(running: Mapping[str, Mapping[str, Any]]) -> "Table":
    """Return a table of the services that people open or call, of those that run.

    Args:
        running: By name, as of ``services``.
    """
    from rich.table import Table

    table = Table(show_header=False)
    for name, purpose in FOR_PEOPLE.items():
        if url := running.get(name, {}).get("url"):
            table.add_row(name, url, purpose)
    return table


def next_commands(state: Path) -> list[str]:
    """Return what to type in a new world: into the environment, to a model that serves, to its first traffic."""
    where = "" if state.resolve() == PROJECT_DIR / "var" else f" --state {shlex.quote(str(state.resolve()))}"
    return [
        f'. .venv/bin/activate && eval "$(fraudit env{where})"',
        "fraudit graph bootstrap",
        "fraudit simulate --events 600 --rate 10",
    ]


def show_status(state: Path, *, as_json: bool) -> None:
    """Print what lives, where, since when; exit with 1 where something does not."""
    words = [_program(), "status", "--state", str(state.resolve()), *(["--json"] if as_json else [])]
    if code := subprocess.run(words, check=False).returncode:
        raise SystemExit(code)


def services(state: Path) -> dict[str, dict[str, Any]]:
    """Return what the supervisor says of each service, by name; empty where nothing was ever up."""
    words = [_program(), "status", "--state", str(state.resolve()), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    except (ValueError, KeyError):
        return {}
    return found


def export_lines(state: Path) -> str:
    """Return ``export NAME=value`` lines for a shell.

    Raises:
        CommandError: Nothing is up in ``state``.
    """
    done = subprocess.run(
        [_program(), "env", "--state", str(state.resolve())], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(done.stderr.strip() or f"nothing is up in {state}")
    more = {
        "FRAUDIT_API_KEY": _api_key(state),
        "DAGSTER_HOME": str(state.resolve() / "dagster"),
        **_topics(load_settings()),
    }
    return done.stdout.rstrip() + "".join(f"\nexport {key}={shlex.quote(value)}" for key, value in more.items())


def environment(state: Path) -> dict[str, str]:
    """Return the variables of ``export_lines`` as a mapping."""
    pairs = (line.removeprefix("export ").split("=", 1) for line in export_lines(state).splitlines())
    return {key: shlex.split(value)[0] if value else "" for key, value in pairs}


def _environment(settings: Settings, state: Path) -> dict[str, str]:
    from fraudit_dagster.java import find_java

    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "JAVA_HOME": str(find_java()),
        "DAGSTER_HOME": str(state / "dagster"),
        "FRAUDIT_STATE_DIR": str(state),
        "FRAUDIT_WORK_DIR": str(state / "work"),
        "FRAUDIT_API_KEY": _api_key(state),
        "FRAUDIT_SIMULATED_TRAFFIC": f"{settings.simulated_traffic or SIMULATED_PER_S:g}",
        "FRAUDIT_STAGE": settings.stage,
        "FRAUDIT_SOLUTION_PREFIX": settings.solution_prefix,
        "FRAUDIT_API_KEYS_SECRET": settings.api_keys_secret,
        "FRAUDIT_WAREHOUSE_SECRETS": settings.warehouse_secrets,
        "AWS_REGION": settings.aws_region,
        "SPARK_DATA_BUCKET": settings.data_bucket,
        "SPARK_STREAMING_BUCKET": settings.stream_bucket,
        "MODEL_BUCKET": settings.model_bucket,
        "KINESIS_STREAM_NAME": settings.kinesis_stream_name,
        "GLUE_JOB_NAME": settings.glue_job_name,
        "LAMBDA_EXEC_ROLE_ARN": settings.lambda_exec_role_arn,
        **_topics(settings),
        **api_environment(settings),
        "alerts_topic_arn": _topics(settings)["ALERTS_TOPIC_ARN"],
    }


def _topics(settings: Settings) -> dict[str, str]:
    names = {"ALERTS_TOPIC_ARN": "fraud-alerts", "OPERATIONS_TOPIC_ARN": "fraudit-operations"}
    return {key: f"arn:aws:sns:{settings.aws_region}:{LOCAL_ACCOUNT}:{name}" for key, name in names.items()}


def api_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of the prediction API, named as in ``api/.chalice/config.json``."""
    return {
        "solution_prefix": settings.solution_prefix,
        "stream_name": settings.kinesis_stream_name,
        "aws_region": settings.aws_region,
        "stage": settings.stage,
        "model_bucket": settings.model_bucket,
        "stream_bucket": settings.stream_bucket,
        "api_keys_secret": settings.api_keys_secret,
    }


def _api_key(state: Path) -> str:
    """Return the local world's API key, made at the first call and kept for its owner alone."""
    from fraudit_dagster.api_keys import new_key

    path = state / "api-key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(new_key())
    return path.read_text().strip()


def _localaws(
    words: list[str],
    *,
    environment: dict[str, str],
    log: Path | None = None,
    watch: Callable[[str], object] | None = None,
) -> None:
    command = [_program(), *words]
    if log is None:
        code, said = _followed(subprocess.Popen(command, env=environment, cwd=PROJECT_DIR, text=True)), "see above"
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:

            def follow(line: str) -> None:
                file.write(line)
                if watch is not None:
                    watch(" ".join(line.split()))

            pipe, errors = subprocess.PIPE, subprocess.STDOUT
            child = subprocess.Popen(command, env=environment, cwd=PROJECT_DIR, stdout=pipe, stderr=errors, text=True)
            code = _followed(child, follow)
        said = "\n".join(log.read_text().splitlines()[-12:]) + f"\nlog: {log}"
    if code:
        raise CommandError(f"`localaws {words[0]}` failed (exit code {code}): {said}")


def _followed(child: "subprocess.Popen[str]", follow: Callable[[str], object] | None = None) -> int:
    """Wait for a child and return its exit code; an interrupt is the child's too, and it has the time to clean up."""
    try:
        for line in child.stdout or ():
            if follow is not None:
                follow(line)
        return child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _program() -> str:
    return str(Path(sys.executable).with_name("localaws"))
