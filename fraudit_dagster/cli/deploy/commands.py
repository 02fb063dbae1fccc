"""The words of ``fraudit deploy``.

Belongs here: turning them into the steps' calls. Does not: any work; everything heavy is imported by the command that needs it.
"""

from typing import Annotated

import typer

deploy_app = typer.Typer(no_args_is_help=True, help="To AWS and back, step by step. Each is safe to repeat.")

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
