"""How the steps run Terraform: one program, one folder, one form of its errors.

Belongs here: the process. Does not: what is asked of it (``outputs.py``, ``infrastructure.py``).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR

SHOWN = 2000
"""Characters of what Terraform said that an error repeats."""


def folder(project: Path = PROJECT_DIR) -> Path:
    """Return the root of the infrastructure in a checkout."""
    return project / "infra" / "terraform"


def require() -> None:
    """Refuse to begin without Terraform.

    Raises:
        CommandError: It is not on the PATH.
    """
    if shutil.which("terraform") is None:
        raise CommandError(
            "there is no terraform on the PATH: install 1.10 or newer (https://developer.hashicorp.com/terraform/install)"
        )


def output_of(*arguments: str, project: Path = PROJECT_DIR) -> str:
    """Return what a command of Terraform printed, such as JSON.

    Raises:
        CommandError: It is not there, or ended with an error, which the message repeats.
    """
    require()
    command = ["terraform", f"-chdir={folder(project)}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-SHOWN:]
        raise CommandError(
            f"terraform {arguments[0]} failed, is it initialised (`make tf.init`) and may it read its state? {said}"
        )
    return done.stdout


def shown(*arguments: str, project: Path = PROJECT_DIR, also: frozenset[int] = frozenset()) -> int:
    """Run a command of Terraform in this terminal, where people read what it does, and return its exit code.

    Args:
        arguments: Its words.
        project: The checkout.
        also: Exit codes other than 0 that are no error.

    Raises:
        CommandError: It is not there, or ended with an error; what it said is above.
    """
    require()
    command = ["terraform", f"-chdir={folder(project)}", *arguments]
    sys.stdout.flush()  # what it says comes after what was said
    code = subprocess.run(command, check=False).returncode
    if code and code not in also:
        raise CommandError(f"terraform {arguments[0]} failed with exit code {code}; why is above")
    return code
