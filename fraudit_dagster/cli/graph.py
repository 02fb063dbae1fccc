"""Jobs of the graph in this process, told step by step.

Belongs here: running a job and saying what happens. Does not: the jobs (``jobs/``).
"""

import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import PROJECT_DIR, load_settings
from jobs.failures import reason_of
from resources.aws import require_credentials

QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""What a step says and why it fails is told here; stack traces are in the run, as the Dagster UI shows it."""


def run(
    job: str, *, as_json: bool, days: tuple[str, str] | None = None, config: Mapping[str, Any] | None = None
) -> None:
    """Run a job to its end, recorded in Dagster's own history, and print a line per step.

    Args:
        job: Its name.
        as_json: Print one JSON object per event: ``{"step", "event": "start|success|failure|log|end", "message", "seconds"}``.
        days: First and last day, for a job with day partitions.
        config: Run config of its steps, as in the UI's launchpad.

    Raises:
        AwsError: There are no credentials.
        CommandError: A step failed; the message is the step's own.
    """
    require_credentials()
    teller = _Teller(as_json=as_json)
    run_id = str(uuid.uuid4())
    tags = {}
    if days is not None:
        tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}
    home = Path(os.environ.get("DAGSTER_HOME", PROJECT_DIR / "var" / "dagster"))
    home.mkdir(parents=True, exist_ok=True)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_event_listener(run_id, teller.tell)
        result = (
            build_defs(load_settings())
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                run_id=run_id,
                run_config={**QUIET, **(config or {})},
                tags=tags,
                raise_on_error=False,
            )
        )
    if not result.success:
        if as_json:
            teller.end()
        raise CommandError(f"{job} failed (run {run_id}): {teller.failure}")


class _Teller:
    """Says what a run does, to a person or to a program."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.failure = ""
        self._started: dict[str, float] = {}

    def tell(self, entry: dg.EventLogEntry) -> None:
        """Take one event of the run."""
        event, step = entry.dagster_event, entry.step_key
        if step is None:
            return
        if event is None:
            if int(entry.level) < logging.ERROR:  # errors come again, in words of their own, with the step's failure
                self._say(step, "log", entry.user_message)
        elif event.event_type_value == "STEP_START":
            self._started[step] = time.monotonic()
            self._say(step, "start", "")
        elif event.event_type_value == "STEP_SUCCESS":
            self._say(step, "success", "")
        elif (reason := reason_of(event)) is not None:
            self.failure = self.failure or reason
            self._say(step, "failure" if event.is_step_failure else "log", reason)

    def end(self) -> None:
        """Say, to a program, why the run failed."""
        self._say("", "end", self.failure)

    def _say(self, step: str, event: str, message: str) -> None:
        seconds = round(time.monotonic() - self._started.get(step, time.monotonic()), 1)
        if self.as_json:
            line = json.dumps({"step": step, "event": event, "message": message, "seconds": seconds})
        else:
            line = {
                "start": f"  … {step}",
                "success": f"  ✔ {step}  {seconds} s",
                "failure": f"  ✘ {message}",
                "log": f"    {message}",
            }[event]
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def read_config(path: Path) -> dict[str, Any]:
    """Read a run config as the UI's launchpad takes it: YAML, ``ops: {<step>: {config: {...}}}``.

    Raises:
        CommandError: The file cannot be read or is no mapping.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"run config {path}: {error}") from error
    if not isinstance(document, dict):
        raise CommandError(f"run config {path}: a mapping is expected, with steps under 'ops'")
    return document
