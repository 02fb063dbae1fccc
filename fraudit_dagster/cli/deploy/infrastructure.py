"""``fraudit deploy infrastructure``: the plan of Terraform, shown, and that very plan applied.

Belongs here: which files belong to a stage, and that nothing is applied that was not shown. Does not: taking it down (``destroy.py``).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from fraudit_dagster.cli.deploy import api, terraform
from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.consent import require_consent
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR

DIFFERS = 2
"""Exit code of a plan that is not empty."""


def initialise(stage: str, *, project: Path = PROJECT_DIR) -> None:
    """Let Terraform fetch its provider, and work on the state of a stage.

    Raises:
        CommandError: There is no Terraform or no such stage, or the state cannot be reached.
    """
    _require_files(stage, project)
    terraform.shown("init", "-input=false", "-reconfigure", f"-backend-config={stage}.s3.tfbackend", project=project)


def changes(stage: str, *, services: bool, yes: bool, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield what Terraform would change, as one change; its plan is shown by Terraform itself.

    Args:
        stage: Whose variables and state.
        services: Whether Dagster and the dashboard run: not before their image and database are there.
        yes: Nobody is asked.
        project: The checkout.

    Raises:
        CommandError: Terraform is not initialised for this stage, cannot plan or apply, or nobody consented.
    """
    require_state_of(stage, project)
    if not (project / "dist" / "api.zip").exists():  # what the functions are first made of
        api.build(project)
    running = [] if services else ["-var=running=false"]
    yield from planned(stage, *running, yes=yes, project=project)


def planned(stage: str, *options: str, yes: bool, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield what a plan with these options would change, if anything.

    Raises:
        CommandError: Terraform cannot plan or apply, or nobody consented.
    """
    with TemporaryDirectory(prefix="fraudit-plan-") as folder:  # for its owner alone: a plan holds what a state holds
        plan = Path(folder, "plan")
        words = ("-input=false", f"-var-file={stage}.tfvars", *options, f"-out={plan}", "-detailed-exitcode")
        if terraform.shown("plan", *words, project=project, also=frozenset({DIFFERS})) != DIFFERS:
            return
        counts = Counter(
            action
            for change in json.loads(terraform.output_of("show", "-json", str(plan), project=project))[
                "resource_changes"
            ]
            for action in change["change"]["actions"]
            if action not in ("no-op", "read")
        )
        after = ", ".join(f"{count} to {action}" for action, count in sorted(counts.items())) or "outputs alone"

        def apply() -> None:
            require_consent(stage, doing=f"{after} in {stage}", yes=yes)
            terraform.shown("apply", "-input=false", str(plan), project=project)

        yield Change(f"infrastructure of {stage}", "as it is", after, apply)


def require_state_of(stage: str, project: Path = PROJECT_DIR) -> None:
    """Refuse to work on the state of another stage, whose resources would all be replaced.

    Raises:
        CommandError: There is no such stage, or Terraform is initialised for none or for another one.
    """
    wanted = _require_files(stage, project)
    file = terraform.folder(project) / ".terraform" / "terraform.tfstate"
    if not file.exists():
        raise CommandError(f"Terraform is not initialised here: say `make tf.init STAGE={stage}`")
    there = json.loads(file.read_text()).get("backend", {}).get("config", {})
    if differing := [name for name, value in wanted.items() if there.get(name) != value]:
        name = differing[0]
        raise CommandError(
            f"Terraform works on another state: its {name} is {there.get(name)!r}, and {wanted[name]!r} in "
            f"{stage}.s3.tfbackend; say `make tf.init STAGE={stage}`"
        )


def _require_files(stage: str, project: Path) -> dict[str, str]:
    """Return what the stage's backend file says."""
    folder = terraform.folder(project)
    for name in (f"{stage}.tfvars", f"{stage}.s3.tfbackend"):
        if not (folder / name).exists():
            known = sorted(path.stem for path in folder.glob("*.tfvars") if ".auto" not in path.name)
            raise CommandError(f"there is no {folder / name}; stages with variables: {', '.join(known)}")
    text = (folder / f"{stage}.s3.tfbackend").read_text()
    return dict(re.findall(r'^ *(\w+) *= *"(.*)" *$', text, re.MULTILINE))
