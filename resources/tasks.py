"""AWS ECS, as a deployment needs it: a task that runs once, how it ended, and what it said last.

Belongs here: calls to ECS and to the task's log, and their errors. Does not: what a task does (``infra/terraform/modules/orchestration``).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from resources.aws import AwsError, client, translated

POLL_S = 1.0
TIMEOUT_S = 900.0
"""For one task: a machine is found, the image fetched, the work done."""
LINES = 40
"""Of the log, the last ones."""


class TasksError(AwsError):
    """ECS refused a task or could not be reached, or the task did not end; the message names it."""


@dataclass(frozen=True)
class Place:
    """Where tasks run."""

    cluster: str
    subnets: Sequence[str]
    security_group: str


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        exit_code: Of its container; None where that never started.
        reason: Why it ended, in ECS's words.
        log: Its last lines.
    """

    exit_code: int | None
    reason: str
    log: tuple[str, ...]


class Tasks:
    """Tasks on Fargate, in one place."""

    def __init__(self, place: Place, *, region: str) -> None:
        self._place = place
        self._region = region

    @cached_property
    def _ecs(self) -> Any:
        return client("ecs", region=self._region)

    def run(self, definition: str, *, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Run a task, wait until it has ended, and return how.

        Raises:
            TasksError: ECS refused it or could not be reached, or it had not ended after ``timeout_s``: it goes on.
        """
        network = {"subnets": list(self._place.subnets), "securityGroups": [self._place.security_group]}
        with translated(TasksError, f"run the task {definition}"):
            answer = self._ecs.run_task(
                cluster=self._place.cluster,
                taskDefinition=definition,
                launchType="FARGATE",
                networkConfiguration={"awsvpcConfiguration": network},
            )
        if failures := answer.get("failures"):
            why = failures[0]
            said = f"{why.get('reason', 'unknown')} {why.get('detail', '')}".strip()
            raise TasksError(f"cannot run the task {definition}: {said}", code="NotPlaced")
        task = self._wait(str(answer["tasks"][0]["taskArn"]), definition, timeout_s)
        container = task["containers"][0] if task.get("containers") else {}
        reasons = [str(text) for text in (task.get("stoppedReason"), container.get("reason")) if text]
        return Outcome(container.get("exitCode"), "; ".join(reasons), tuple(self._log(task)))

    def _wait(self, arn: str, definition: str, timeout_s: float) -> dict[str, Any]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            with translated(TasksError, f"look at the task {definition}"):
                found = self._ecs.describe_tasks(cluster=self._place.cluster, tasks=[arn])["tasks"]
            if found and found[0]["lastStatus"] == "STOPPED":
                return dict(found[0])
            if time.monotonic() >= deadline_s:
                state = found[0]["lastStatus"] if found else "not to be found"
                raise TasksError(f"{arn} had not ended after {timeout_s:.0f} s and is {state}", code="Timeout")
            time.sleep(POLL_S)

    def _log(self, task: Mapping[str, Any]) -> list[str]:
        """Return the last lines; none where the task never wrote any."""
        with translated(TasksError, "look at the task's definition"):
            found = self._ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])
        container = found["taskDefinition"]["containerDefinitions"][0]
        options = container["logConfiguration"]["options"]
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task['taskArn'].rpartition('/')[2]}"
        try:
            with translated(TasksError, f"read the log {stream}"):
                events = client("logs", region=self._region).get_log_events(
                    logGroupName=options["awslogs-group"], logStreamName=stream, limit=LINES, startFromHead=False
                )["events"]
        except TasksError as error:
            if error.code == "ResourceNotFoundException":
                return []
            raise
        return [str(event["message"]) for event in events]
