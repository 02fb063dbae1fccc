"""``fraudit deploy migrate`` and ``smoke``: commands of ours as tasks, since what they need is in the VPC alone.

Belongs here: which tasks, in which order, and what is shown of them. Does not: what they do (``fraudit prepare``, ``fraudit smoke``,
``infra/dagster/database.py``).
"""

from collections.abc import Iterator
from functools import partial

from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from resources.tasks import TIMEOUT_S, Place, Tasks

MIGRATIONS = {
    "dagster-database": "Dagster's database and login",
    "migrate": "tables, roles, the stream job's code",
}


def migrations(outputs: Outputs) -> Iterator[Change]:
    """Yield the tasks that bring databases to what this version needs.

    What there is to do only they can see; where it is nothing, they say so.

    Raises:
        CommandError: A task failed; the message has the end of its log.
        TasksError: ECS refused a task, or could not be reached.
    """
    for task, what in MIGRATIONS.items():
        yield Change(what, "as it is", f"what this version needs, by the task {task}", partial(run, outputs, task))


def smoke(outputs: Outputs) -> Iterator[Change]:
    """Yield the task that sends transactions through all parts, and fails unless each was stored.

    Raises:
        CommandError: It failed; the message has the end of its log.
        TasksError: ECS refused it, or could not be reached.
    """
    yield Change("transactions in the warehouse", None, "those of the task smoke", partial(run, outputs, "smoke"))


def run(outputs: Outputs, task: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Run one of the tasks that run once, and return what it said last.

    Raises:
        CommandError: It failed, or never started; the message has the end of its log.
        TasksError: ECS refused it or could not be reached, or it did not end.
    """
    where = outputs.run_once
    tasks = Tasks(Place(where.cluster, where.subnets, where.security_group), region=outputs.region)
    outcome = tasks.run(f"{where.task_prefix}-{task}", timeout_s=timeout_s)
    log = "\n  ".join(outcome.log)
    if outcome.exit_code == 0:
        return log
    how = "never started" if outcome.exit_code is None else f"ended with exit code {outcome.exit_code}"
    said = f"; it said last:\n  {log}" if log else ""
    raise CommandError(f"the task {task} {how}: {outcome.reason or 'no reason given'}{said}")
