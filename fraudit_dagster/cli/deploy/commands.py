"""The words of ``fraudit deploy``.

Belongs here: turning them into the steps' calls. Does not: any work; everything heavy is imported by the command that needs it.
"""

from typing import Annotated

import typer

deploy_app = typer.Typer(no_args_is_help=True, help="To AWS and back, step by step. Each is safe to repeat.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
