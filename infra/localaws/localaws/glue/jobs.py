"""What a job is: the checks and defaults of a definition, and what a run takes from it.

Belongs here: rules that need nothing but a definition and a request. Does not: what is kept (``records``) and what runs (``service``).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from localaws.wire import AwsError

STREAMING = "gluestreaming"
PYTHON_SHELL = "pythonshell"
COMMANDS = frozenset({"glueetl", STREAMING, PYTHON_SHELL, "glueray"})
MAX_TIMEOUT_MINUTES = 10_080
MAX_RETRIES = 10

OF_RUN = (
    "JobMode",
    "JobRunQueuingEnabled",
    "MaxCapacity",
    "WorkerType",
    "NumberOfWorkers",
    "GlueVersion",
    "Timeout",
    "ExecutionClass",
    "SecurityConfiguration",
    "NotificationProperty",
    "MaintenanceWindow",
)
"""What a run shows of its own request, else of its job."""


def defined(name: str, definition: Mapping[str, Any], *, created_at: datetime, now: datetime) -> dict[str, Any]:
    """Return a job as GetJob shows it.

    Raises:
        AwsError: ``InvalidInputException`` where a member is missing, or is not what AWS takes.
    """
    if not definition.get("Role") or not definition.get("Command", {}).get("ScriptLocation"):
        raise AwsError("InvalidInputException", "Role and Command.ScriptLocation must be given.")
    command = definition["Command"].get("Name", "glueetl")
    if command not in COMMANDS:
        raise AwsError("InvalidInputException", f"Command.Name {command!r} is none of {', '.join(sorted(COMMANDS))}.")
    if not 0 <= definition.get("MaxRetries", 0) <= MAX_RETRIES:
        raise AwsError(
            "InvalidInputException", f"MaxRetries {definition['MaxRetries']} is not from 0 to {MAX_RETRIES}."
        )
    limit = definition.get("ExecutionProperty", {}).get("MaxConcurrentRuns", 1)
    if limit < 1:
        raise AwsError("InvalidInputException", f"MaxConcurrentRuns {limit} is less than 1.")
    check_request(definition)
    job = {
        "MaxRetries": 0,
        **definition,
        "Name": name,
        "ExecutionProperty": {"MaxConcurrentRuns": limit},
        "CreatedOn": created_at,
        "LastModifiedOn": now,
    }
    if "Timeout" not in job and command != STREAMING:
        job["Timeout"] = _default_timeout_minutes(job.get("GlueVersion"))
    return job


def check_request(request: Mapping[str, Any]) -> None:
    """Check what a definition and a request for a run have in common.

    Raises:
        AwsError: ``InvalidInputException``.
    """
    if "MaxCapacity" in request and {"WorkerType", "NumberOfWorkers"} & set(request):
        raise AwsError(
            "InvalidInputException", "Please do not set Max Capacity if using Worker Type and Number of Workers."
        )
    if request.get("Timeout", 0) > MAX_TIMEOUT_MINUTES:
        raise AwsError(
            "InvalidInputException",
            f"Timeout {request['Timeout']} is more than {MAX_TIMEOUT_MINUTES} minutes, which are seven days.",
        )


def of_run(job: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run shows of its request, else of its job."""
    return {key: value for key in OF_RUN if (value := request.get(key, job.get(key))) is not None}


def is_streaming(job: Mapping[str, Any]) -> bool:
    """Say whether a job's runs have no end of their own."""
    return bool(job["Command"].get("Name") == STREAMING)


def job_id(job: Mapping[str, Any]) -> str:
    """Return what a script gets as ``--JOB_ID``: the same for all runs of a job."""
    identity = f"{job['Name']} {job['CreatedOn']}"
    return f"j_{hashlib.sha256(identity.encode()).hexdigest()}"


def _default_timeout_minutes(glue_version: str | None) -> int:
    """Return AWS's default: 2,880 minutes up to Glue 4.0, 480 from Glue 5.0 on, which is what no version means."""
    major = (glue_version or "").partition(".")[0]
    return 2_880 if major.isdecimal() and int(major) <= 4 else 480  # noqa: PLR2004 - the version itself
