"""What the infrastructure says of itself: the outputs of ``infra/terraform``, typed.

Belongs here: reading them. Does not: where they go (``environment.py``), nor what makes them (``infrastructure.py``).
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fraudit_dagster.cli.deploy import terraform
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR


class RunOnce(BaseModel):
    """Where a task runs that runs once."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    subnets: list[str]
    security_group: str
    task_prefix: str


class FunctionNames(BaseModel):
    """The functions of the API, by their handlers."""

    model_config = ConfigDict(frozen=True)

    app: str
    authorize: str


class Outputs(BaseModel):
    """The outputs that the steps need, by their names in ``outputs.tf``.

    Attributes:
        settings: Variables of ``.env``.
        owner_secret_arn: ``POSTGRES_SECRET_ARN``: login of the database's owner.
        lambda_exec_role_arn: ``LAMBDA_EXEC_ROLE_ARN``.
        api_environment: Variables of the functions, as ``api/.chalice/config.json`` has them.
        function_names: Of the API.
        repository_url: Where the image is pushed to.
        run_once: Where tasks run.
        notebook_name: Of the notebook instance; None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    settings: dict[str, str]
    owner_secret_arn: str
    lambda_exec_role_arn: str
    api_environment: dict[str, str]
    function_names: FunctionNames
    repository_url: str
    run_once: RunOnce
    notebook_name: str | None = None

    @property
    def region(self) -> str:
        """Of everything."""
        return self.settings["AWS_REGION"]

    @property
    def stage(self) -> str:
        """Of the deployment."""
        return self.settings["FRAUDIT_STAGE"]


NEEDED_SETTINGS = ("AWS_REGION", "FRAUDIT_STAGE", "CHALICE_API_URL")


def read_outputs(*, project: Path = PROJECT_DIR) -> Outputs:
    """Return what ``terraform output`` says.

    Raises:
        CommandError: There is no Terraform, it is not initialised, nothing was applied, or an output is missing: the message names it.
    """
    said = json.loads(terraform.output_of("output", "-json", "-no-color", project=project))
    if not said:
        raise CommandError(
            "the infrastructure has no outputs: nothing was applied yet, or with another state; say `make tf.apply`"
        )
    try:
        outputs = Outputs.model_validate({name: output["value"] for name, output in said.items()})
    except ValidationError as error:
        wrong = sorted({".".join(map(str, problem["loc"])) for problem in error.errors()})
        raise _lacking(wrong) from error
    if missing := [f"settings.{name}" for name in NEEDED_SETTINGS if name not in outputs.settings]:
        raise _lacking(missing)
    return outputs


def _lacking(names: list[str]) -> CommandError:
    return CommandError(
        f"outputs of the infrastructure are missing or of another form: {', '.join(names)}; `make tf.apply` brings them to this version"
    )
