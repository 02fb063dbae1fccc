"""The environment, read in one place: variables and ``.env`` become one typed object.

Belongs here: names, defaults and checks of settings. Does not: anything that acts on them.
A variable of the process wins over the same one in ``.env``. ``AWS_ENDPOINT_URL*`` are not settings of ours:
botocore reads them itself, and that is the whole difference between AWS and this machine.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PROJECT_DIR = Path(__file__).resolve().parents[1]

BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


class SettingsError(ValueError):
    """One or more variables are wrong; the message names every one of them."""


class Settings(BaseSettings):
    """Every setting of fraudit. The name of a field in upper case, or its alias, is the variable."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    aws_region: str = Field(default="eu-west-1", min_length=1, description="Region of everything.")
    stage: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] = Field(
        default="dev", alias="FRAUDIT_STAGE", description="Dimension of all metrics."
    )
    solution_prefix: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = Field(
        default="fraud-detection",
        alias="FRAUDIT_SOLUTION_PREFIX",
        description="Starts the names of models, endpoints and roles.",
    )

    contract: Path | None = Field(
        default=None, alias="FRAUDIT_CONTRACT", description="Data contract; unset: creditcard."
    )
    dataset: str | None = Field(
        default=None, alias="FRAUDIT_DATASET", description="A path, an s3:// URI, kaggle, openml or synthetic."
    )
    kaggle_username: str | None = Field(default=None, description="With the key: for `fraudit data download`.")
    kaggle_key: SecretStr | None = Field(
        default=None, description="Of Kaggle's API; ~/.kaggle/kaggle.json does as well."
    )
    landing_folder: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$")] = Field(
        default="landing",
        alias="FRAUDIT_LANDING_FOLDER",
        description="Folder of the data bucket where new files of a table arrive.",
    )
    landing_settle_s: float = Field(
        default=60.0,
        ge=0,
        alias="FRAUDIT_LANDING_SETTLE_S",
        description="How long nothing may have arrived before a delivery is complete, in seconds.",
    )
    work_dir: Path = Field(
        default=PROJECT_DIR / "var" / "work",
        alias="FRAUDIT_WORK_DIR",
        description="Scratch space of runs on this machine.",
    )

    data_bucket: BucketName = Field(
        default="",
        alias="SPARK_DATA_BUCKET",
        validate_default=False,
        description="Tables, their split parts, archived days; unset: `fraud-detection-data-bucket-<region>`.",
    )
    stream_bucket: BucketName = Field(
        default="",
        alias="SPARK_STREAMING_BUCKET",
        validate_default=False,
        description="The stream job's code and checkpoint, dead letters; unset: `fraud-detection-stream-bucket-<region>`.",
    )
    model_bucket: BucketName = Field(
        default="",
        alias="MODEL_BUCKET",
        validate_default=False,
        description="Models, records between assets, the serving manifest; unset: `fraud-detection-models-<region>`.",
    )

    kinesis_stream_name: str = Field(
        default="fraud-predictions-stream", min_length=1, description="Stream of the predictions and labels."
    )
    glue_job_name: str = Field(default="fraudit-streaming-job", min_length=1, description="The stream job.")
    sagemaker_role_arn: str = Field(
        default="arn:aws:iam::000000000000:role/fraud-detection-sagemaker",
        description="Role of training jobs and endpoints.",
    )
    lambda_exec_role_arn: str = Field(
        default="arn:aws:iam::000000000000:role/fraud-detection-api", description="Role of the prediction API."
    )
    api_keys_secret: str = Field(
        default="fraudit/api-keys",
        alias="FRAUDIT_API_KEYS_SECRET",
        min_length=1,
        description="Name of the secret with the hashed API keys.",
    )

    postgres_host: str = Field(default="127.0.0.1", description="Of the warehouse.")
    postgres_port: int = Field(default=5432, gt=0, lt=65536, description="Of the warehouse.")
    postgres_db: str = Field(default="fraudit_postgres_db", description="Database of the warehouse.")
    postgres_user: str = Field(
        default="postgres", description="The database's owner; `fraudit warehouse migrate` alone logs in as it."
    )
    postgres_password: SecretStr | None = Field(default=None, description="The owner's; or its secret, not both.")
    postgres_secret_arn: str | None = Field(
        default=None, description="Secret with the owner's username and password, as RDS manages it."
    )
    postgres_sslmode: Annotated[
        str, StringConstraints(pattern="^(disable|allow|prefer|require|verify-ca|verify-full)$")
    ] = Field(
        default="prefer", description="As libpq has it: disable, allow, prefer, require, verify-ca or verify-full."
    )
    warehouse_secrets: str = Field(
        default="fraudit/warehouse",
        alias="FRAUDIT_WAREHOUSE_SECRETS",
        min_length=1,
        description="Starts the names of the secrets of the warehouse's roles: `<it>/writer`, `/analyst`, `/reader`.",
    )

    chalice_api_url: Annotated[str, StringConstraints(pattern=r"^https?://.+")] = Field(
        default="http://127.0.0.1:8000", description="Of the prediction API, without a route."
    )
    fraudit_api_key: SecretStr | None = Field(
        default=None, description="Key with which simulator and dashboard call the prediction API."
    )

    alerts_topic_arn: str | None = Field(
        default=None, description="SNS topic that hears of blocked transactions; unset: nobody does."
    )
    operations_topic_arn: str | None = Field(
        default=None, description="SNS topic that hears what is wrong; unset: it is only logged."
    )
    dagster_url: Annotated[str, StringConstraints(pattern=r"^https?://.+")] = Field(
        default="http://127.0.0.1:3000",
        alias="FRAUDIT_DAGSTER_URL",
        description="Of the Dagster UI, for links in messages.",
    )
    dashboard_users: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        alias="FRAUDIT_DASHBOARD_USERS",
        description="E-mail addresses of those who may sign in to the dashboard, with commas between them.",
    )

    max_latency_ms: float = Field(
        default=1000.0,
        gt=0,
        alias="FRAUDIT_MAX_LATENCY_MS",
        description="Of 95 in 100 predictions of a minute; slower for three minutes is not well.",
    )
    max_error_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        alias="FRAUDIT_MAX_ERROR_SHARE",
        description="Share of requests that the API may fail to answer.",
    )
    max_iterator_age_s: float = Field(
        default=120.0,
        gt=0,
        alias="FRAUDIT_MAX_ITERATOR_AGE_S",
        description="Age that an event may have when it is stored, in seconds.",
    )
    max_store_delay_s: float = Field(
        default=120.0,
        gt=0,
        alias="FRAUDIT_MAX_STORE_DELAY_S",
        description="How long after a prediction something must have been stored, in seconds.",
    )
    max_quarantine_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        alias="FRAUDIT_MAX_QUARANTINE_SHARE",
        description="Share of an hour's events that may be quarantined.",
    )

    spark_master: str = Field(
        default="local[2]", alias="FRAUDIT_SPARK_MASTER", min_length=1, description="Where validation and split run."
    )
    review_cost: float = Field(
        default=5.0,
        ge=0,
        alias="FRAUDIT_REVIEW_COST",
        description="Cost of one review by an analyst, in the currency of the amounts.",
    )
    false_block_cost: float = Field(
        default=25.0,
        ge=0,
        alias="FRAUDIT_FALSE_BLOCK_COST",
        description="Cost of blocking one good transaction, in the currency of the amounts.",
    )
    lost_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        alias="FRAUDIT_LOST_SHARE",
        description="Share of an approved fraud's amount that is lost; liability shifts and recoveries lower it.",
    )
    champion_margin: float = Field(
        default=0.02,
        ge=0,
        le=1,
        alias="FRAUDIT_CHAMPION_MARGIN",
        description="Average precision that a challenger may lack against the champion on the same rows: noise of a few frauds.",
    )
    automatic_approval: bool = Field(
        default=True,
        alias="FRAUDIT_AUTOMATIC_APPROVAL",
        description="Approve a candidate that is no worse; else a person does.",
    )

    automation: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        alias="FRAUDIT_AUTOMATION",
        description="Schedules and sensors that run from the start, besides the monitors, with commas between their names; others are "
        "created stopped, and switched on in the Dagster UI.",
    )
    simulated_traffic: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        alias="FRAUDIT_SIMULATED_TRAFFIC",
        description="Simulated transactions per second that can be switched on in the Dagster UI; 0: none can, as it must be where "
        "transactions are real.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_buckets(cls, values: Any) -> Any:
        """Derive the bucket names from the region, as the reference project names them."""
        region = values.get("aws_region") or values.get("AWS_REGION") or "eu-west-1"
        names = {
            "SPARK_DATA_BUCKET": f"fraud-detection-data-bucket-{region}",
            "SPARK_STREAMING_BUCKET": f"fraud-detection-stream-bucket-{region}",
            "MODEL_BUCKET": f"fraud-detection-models-{region}",
        }
        return {**names, **{key: value for key, value in values.items() if value != ""}}

    @field_validator("dashboard_users", "automation", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return {part.strip().lower() for part in value.split(",") if part.strip()} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.postgres_password is not None and self.postgres_secret_arn is not None:
            raise ValueError("set POSTGRES_PASSWORD or POSTGRES_SECRET_ARN, not both")
        return self


def load_settings(*, env_file: Path | None = PROJECT_DIR / ".env") -> Settings:
    """Read the settings from the environment, and from ``env_file`` what the environment does not say.

    The file's variables are put into the environment, so that botocore sees its ``AWS_*`` ones too.

    Raises:
        SettingsError: Some variables are wrong; the message has one line for each.
    """
    from dotenv import load_dotenv

    if env_file is not None:
        load_dotenv(env_file, override=False)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error, os.environ))) from error


def _lines(error: ValidationError, environment: Mapping[str, str]) -> list[str]:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]).upper() if problem["loc"] else ""
        field = next((f for key, f in Settings.model_fields.items() if name in {key.upper(), f.alias}), None)
        secret = field is not None and "Secret" in str(field.annotation)
        value = "" if secret or name not in environment else f" (it is {environment[name]!r})"
        lines.append(f"{name}: {problem['msg']}{value}" if name else problem["msg"].removeprefix("Value error, "))
    return lines
