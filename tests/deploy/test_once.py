"""``fraudit deploy migrate`` and ``smoke``: commands of ours as tasks, and how they ended."""

import pytest

from fraudit_dagster.cli.deploy import once
from fraudit_dagster.cli.deploy.changes import run
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from resources.tasks import TasksError
from tests.deploy.cloud import Cloud
from tests.deploy.conftest import outputs


@pytest.fixture
def said(cloud: Cloud) -> Outputs:
    """A deployment whose tasks say which they are, and one that does not end."""
    cloud.tasks.clear()
    for task in ("dagster-database", "migrate", "smoke"):
        cloud.definitions[f"fraudit-dev-{task}"] = (["sh", "-c", f"echo {task} on $STAGE; echo done"], {"STAGE": "dev"})
    return Outputs.model_validate(outputs())


def test_each_task_runs_once_in_its_order_and_says_what_it_did(
    said: Outputs, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(once.migrations(said), dry_run=True) == 2
    assert cloud.tasks == {}
    capsys.readouterr()
    run(once.migrations(said), dry_run=False)
    assert capsys.readouterr().out.splitlines() == [
        "~ Dagster's database and login: as it is -> what this version needs, by the task dagster-database",
        "  dagster-database on dev",
        "  done",
        "~ tables, roles, the stream job's code: as it is -> what this version needs, by the task migrate",
        "  migrate on dev",
        "  done",
    ]
    assert len(cloud.tasks) == 2


def test_the_smoke_test_is_a_task_too(said: Outputs, cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    run(once.smoke(said), dry_run=True)
    assert cloud.tasks == {}
    run(once.smoke(said), dry_run=False)
    assert capsys.readouterr().out.endswith("  smoke on dev\n  done\n")


def test_a_task_that_fails_ends_it_with_what_it_said_last(said: Outputs, cloud: Cloud) -> None:
    command = ["sh", "-c", "echo starting; echo 'fraudit: the counts differ' >&2; exit 1"]
    cloud.definitions["fraudit-dev-smoke"] = (command, {})
    with pytest.raises(CommandError) as failure:
        once.run(said, "smoke")
    assert str(failure.value).splitlines() == [
        "the task smoke ended with exit code 1: Essential container in task exited; it said last:",
        "  starting",
        "  fraudit: the counts differ",
    ]


def test_after_a_task_that_fails_the_next_one_does_not_run(said: Outputs, cloud: Cloud) -> None:
    cloud.definitions["fraudit-dev-dagster-database"] = (["false"], {})
    with pytest.raises(CommandError, match="dagster-database ended with exit code 1"):
        run(once.migrations(said), dry_run=False)
    assert len(cloud.tasks) == 1


def test_a_task_that_never_started_says_why(said: Outputs, cloud: Cloud) -> None:
    cloud.definitions["fraudit-dev-smoke"] = (["/nowhere/fraudit"], {})
    with pytest.raises(CommandError, match=r"smoke never started: CannotStartContainerError.*nowhere"):
        once.run(said, "smoke")


def test_a_task_that_ecs_does_not_place_says_why(said: Outputs) -> None:
    nowhere = said.model_copy(update={"run_once": said.run_once.model_copy(update={"subnets": []})})
    with pytest.raises(TasksError, match="cannot run the task fraudit-dev-smoke: this task wants Fargate, in a subnet"):
        once.run(nowhere, "smoke")


def test_a_task_that_does_not_end_is_left_running_and_named(said: Outputs, cloud: Cloud) -> None:
    cloud.definitions["fraudit-dev-smoke"] = (["sleep", "3"], {})
    with pytest.raises(TasksError, match=r"task/fraudit-dev/\w+ had not ended after 0 s and is PENDING"):
        once.run(said, "smoke", timeout_s=0)
