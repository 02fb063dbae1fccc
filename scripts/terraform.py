"""Terraform with the stand-in provider: ``python -m scripts.terraform plan -var-file=dev.tfvars``, or ``validate``, ``test``.

Belongs here: a copy of ``infra/terraform`` with local state, the stand-in's process, and Terraform's own. Does not: the stand-in
(``infra/terraform/standin``), assertions (``tests/terraform``). Nothing here reaches AWS or a registry of providers.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parents[1]
MODULES = PROJECT_DIR / "infra" / "terraform"
STATE_DIR = PROJECT_DIR / "var" / "terraform"
TOOLS = STATE_DIR / "venv" / "bin"
"""Of the environment that ``make tf.setup`` makes."""


class TerraformError(RuntimeError):
    """A command of Terraform, or the stand-in, ended with an error; the message is what it said."""


def what_is_missing() -> str:
    """Return why Terraform cannot be run with the stand-in here, and what to do; empty where it can."""
    if shutil.which("terraform") is None:
        return "there is no terraform: install 1.10 or newer (https://developer.hashicorp.com/terraform/install)"
    if not (STATE_DIR / "venv" / ".setup").exists():
        return "the stand-in provider is not set up: run `make tf.setup`, which needs a package index"
    return ""


@contextlib.contextmanager
def stand_in(modules: Path = MODULES, *, foresees: bool = False) -> Iterator[Mapping[str, str]]:
    """Serve the stand-in, and yield the environment in which Terraform finds it.

    Args:
        modules: Folder of the modules; what is in it decides which types the stand-in has.
        foresees: Whether a plan has the values that AWS would decide, so that policies in it are whole.

    Raises:
        TerraformError: It did not start; why is on stderr.
    """
    (wheel,) = (STATE_DIR / "schema").glob("*.whl")
    command = [str(TOOLS / "python"), "-m", "standin", str(modules), str(wheel), *(["--foresee"] if foresees else [])]
    with subprocess.Popen(command, cwd=MODULES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None  # noqa: S101 - PIPE
        assert server.stdout is not None  # noqa: S101 - PIPE
        with server.stdin:
            line = server.stdout.readline()
            if not line:
                raise TerraformError("the stand-in provider did not start")
            # Without what a person has configured, and no question for newer versions: nothing leaves this machine.
            hermetic = {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
            yield {**os.environ, **hermetic, "TF_REATTACH_PROVIDERS": line}


def copy_modules(folder: Path) -> Path:
    """Copy the modules to a folder, with state kept there instead of in S3, and return the copy."""
    ignored = shutil.ignore_patterns(".terraform", "*.tfstate*", "standin", "*.lock", "__pycache__")
    shutil.copytree(MODULES, folder, ignore=ignored, dirs_exist_ok=True)
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    return folder


def terraform(folder: Path, environment: Mapping[str, str], *arguments: str) -> str:
    """Run Terraform in a folder, and return what it printed.

    Raises:
        TerraformError: It ended with an error.
    """
    command = ["terraform", f"-chdir={folder}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TerraformError(f"terraform {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def plan(folder: Path, environment: Mapping[str, str], variables: str) -> dict[str, Any]:
    """Return the plan of a root that is initialised, as ``terraform show -json`` has it.

    Args:
        folder: Of the root.
        environment: In which Terraform finds its provider.
        variables: File with the variables' values, in the folder.

    Raises:
        TerraformError: It cannot be planned.
    """
    file = f"{variables}.plan"
    terraform(folder, environment, "plan", f"-var-file={variables}", f"-out={file}", "-input=false", "-no-color")
    planned: dict[str, Any] = json.loads(terraform(folder, environment, "show", "-json", file))
    return planned


def main() -> None:
    """Run one command of Terraform on a copy of the modules, and end as it does."""
    if missing := what_is_missing():
        sys.exit(missing)
    with tempfile.TemporaryDirectory(prefix="fraudit-terraform-") as folder, stand_in() as environment:
        copied = copy_modules(Path(folder))
        try:
            terraform(copied, environment, "init", "-input=false", "-no-color")
        except TerraformError as error:
            sys.exit(str(error))
        print("with a stand-in for the provider, which has its schema and makes nothing", flush=True)  # noqa: T201
        command = ["terraform", f"-chdir={copied}", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
