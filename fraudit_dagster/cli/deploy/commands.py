"""The words of ``fraudit deploy``.

Belongs here: turning them into the steps' calls. Does not: any work; everything heavy is imported by the command that needs it.
"""

from typing import Annotated

import typer

deploy_app = typer.Typer(no_args_is_help=True, help="To AWS and back, step by step. Each is safe to repeat.")

Stage = Annotated[str, typer.Option(help="Whose variables and state: dev, prod.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


@deploy_app.command("env")
def deploy_env(*, dry_run: DryRun = False) -> None:
    """Outputs of the infrastructure to .env and api/.chalice/config.json; every other line stays."""
    from fraudit_dagster.cli.deploy import changes, environment
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    changes.run(environment.changes(read_outputs()), dry_run=dry_run)


@deploy_app.command("api")
def deploy_api(
    *,
    rollback: Annotated[bool, typer.Option("--rollback", help="Back to the version before.")] = False,
    dry_run: DryRun = False,
) -> None:
    """The API's package as a new version of both functions; it goes live once it answers."""
    from fraudit_dagster.cli.deploy import api, changes
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    outputs = read_outputs()
    changes.run(api.rollback(outputs) if rollback else api.changes(outputs, api.build()), dry_run=dry_run)


@deploy_app.command("notebooks")
def deploy_notebooks(*, dry_run: DryRun = False) -> None:
    """Notebooks, contract and domain code to the model bucket, where the notebook instance takes them when it starts."""
    from fraudit_dagster.cli.deploy import changes, notebooks
    from fraudit_dagster.settings import load_settings
    from resources.aws import require_credentials

    settings = load_settings()
    require_credentials()
    changes.run(notebooks.changes(settings), dry_run=dry_run)


@deploy_app.command("stream")
def deploy_stream(*, dry_run: DryRun = False) -> None:
    """The stream job's script, wheel and environment, and the job restarted on them at the border of a batch, where it runs."""
    from fraudit_dagster.cli import operate
    from fraudit_dagster.cli.deploy import changes, stream
    from fraudit_dagster.settings import load_settings
    from resources.aws import require_credentials

    require_credentials()
    with operate.resources(load_settings(), "storage", "stream_job") as using:
        changes.run(stream.changes(using.storage, using.stream_job), dry_run=dry_run)


@deploy_app.command("init")
def deploy_init(*, stage: Stage = "dev") -> None:
    """Let Terraform fetch its provider, and work on the state of a stage."""
    from fraudit_dagster.cli.deploy import infrastructure

    infrastructure.initialise(stage)


@deploy_app.command("infrastructure")
def deploy_infrastructure(
    *,
    stage: Stage = "dev",
    without_services: Annotated[
        bool,
        typer.Option("--without-services", help="Dagster and the dashboard do not run: before their image is there."),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """What Terraform plans, shown, and then made."""
    from fraudit_dagster.cli.deploy import changes, infrastructure

    changes.run(infrastructure.changes(stage, services=not without_services, yes=yes), dry_run=dry_run)


@deploy_app.command("destroy")
def deploy_destroy(*, stage: Stage = "dev", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove a deployment, once nothing is in the way; says what is."""
    from fraudit_dagster.cli.deploy import changes, destroy

    changes.run(destroy.changes(stage, yes=yes), dry_run=dry_run)


@deploy_app.command("empty-bucket")
def deploy_empty_bucket(
    bucket: Annotated[str, typer.Argument(help="One of this deployment.")], *, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Delete everything in a bucket, old versions too: what its removal waits for."""
    from fraudit_dagster.cli.deploy import changes, destroy
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    changes.run(destroy.emptying(read_outputs(), bucket, yes=yes), dry_run=dry_run)


@deploy_app.command("image")
def deploy_image(*, dry_run: DryRun = False) -> None:
    """The image of Dagster and the dashboard, pushed under the hash of its content; the next tf.apply lets it run."""
    from fraudit_dagster.cli.deploy import changes, image
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    changes.run(image.changes(read_outputs()), dry_run=dry_run)


@deploy_app.command("migrate")
def deploy_migrate(*, dry_run: DryRun = False) -> None:
    """Databases to what this version needs, by tasks in the VPC. Each says what it did."""
    from fraudit_dagster.cli.deploy import changes, once
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    changes.run(once.migrations(read_outputs()), dry_run=dry_run)


@deploy_app.command("smoke")
def deploy_smoke(*, dry_run: DryRun = False) -> None:
    """`fraudit smoke` as a task in the VPC: transactions through all parts, and whether each was stored."""
    from fraudit_dagster.cli.deploy import changes, once
    from fraudit_dagster.cli.deploy.outputs import read_outputs

    changes.run(once.smoke(read_outputs()), dry_run=dry_run)
