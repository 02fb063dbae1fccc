"""The resources of a deployment, made from its settings: for the graph, the command and the dashboard alike.

Belongs here: which setting goes where. Does not: settings (``fraudit_dagster/settings.py``), the graph
(``fraudit_dagster/definitions.py``).
"""

from importlib.metadata import version
from typing import Any

import dagster as dg

from fraudit_dagster.settings import PROJECT_DIR, Settings
from resources.alerts import Alerts
from resources.archive import Archive
from resources.aws import BRIEF_READ_S
from resources.cloudwatch import CloudWatch
from resources.datasets import Datasets
from resources.glue import Glue
from resources.kinesis import Kinesis
from resources.manifests import Manifests
from resources.prediction_api import PredictionApi
from resources.project import Project
from resources.records import RecordIOManager
from resources.sagemaker import SageMaker
from resources.secrets import Secrets
from resources.spark import Spark
from resources.storage import Storage
from resources.stream_job import StreamJob
from resources.warehouse import Warehouse
from resources.watch import Watch


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return every resource of the graph, by the name that assets ask for."""
    storage = build_storage(settings)
    secrets = Secrets(region=settings.aws_region)
    warehouse = build_warehouse(settings, secrets, role="analyst")
    return {
        "project": Project(
            contract_file=str(settings.contract) if settings.contract else None,
            dataset=settings.dataset,
            user_file=str(PROJECT_DIR / "dataset" / "creditcard.csv"),
            work_dir=str(settings.work_dir),
            code_version=version("fraudit"),
            review_cost=settings.review_cost,
            false_block_cost=settings.false_block_cost,
            lost_share=settings.lost_share,
            champion_margin=settings.champion_margin,
            landing_folder=settings.landing_folder,
            landing_settle_s=settings.landing_settle_s,
            automatic_approval=settings.automatic_approval,
        ),
        "storage": storage,
        "manifests": Manifests(storage=storage),
        "secrets": secrets,
        "io_manager": RecordIOManager(storage=storage),
        "spark": Spark(master=settings.spark_master),
        "sagemaker": SageMaker(
            region=settings.aws_region, role_arn=settings.sagemaker_role_arn, solution_prefix=settings.solution_prefix
        ),
        "kinesis": Kinesis(region=settings.aws_region, stream_name=settings.kinesis_stream_name),
        "stream_job": _stream_job(settings, storage=storage),
        "warehouse": warehouse,
        "archive": Archive(storage=storage, warehouse=warehouse),
        "alerts": Alerts(
            region=settings.aws_region, topic_arn=settings.operations_topic_arn, dagster_url=settings.dagster_url
        ),
        "datasets": Datasets(
            kaggle_username=settings.kaggle_username,
            kaggle_key=dg.EnvVar("KAGGLE_KEY") if settings.kaggle_key else None,
        ),
        "prediction_api": PredictionApi(
            url=settings.chalice_api_url, api_key=dg.EnvVar("FRAUDIT_API_KEY") if settings.fraudit_api_key else ""
        ),
        "watch": build_watch(settings, role="analyst"),
    }


def build_storage(settings: Settings, *, brief: bool = False) -> Storage:
    """Return the buckets of a deployment.

    Args:
        settings: Of the deployment.
        brief: Ask once, for a few seconds at most.
    """
    return Storage(
        region=settings.aws_region,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
        brief=brief,
    )


def build_warehouse(settings: Settings, secrets: Secrets, *, role: str, **patience: Any) -> Warehouse:
    """Return the warehouse of a deployment.

    Args:
        settings: Of the deployment.
        secrets: Where the role's password is.
        role: To connect as: one of ``ROLES``.
        patience: Timeouts of the client, by its fields; unset: its own.
    """
    return Warehouse(
        secrets=secrets,
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        secret_arn=f"{settings.warehouse_secrets}/{role}",
        sslmode=settings.postgres_sslmode,
        **patience,
    )


def _stream_job(settings: Settings, *, storage: Storage, brief: bool = False) -> StreamJob:
    return StreamJob(
        glue=Glue(region=settings.aws_region, job_name=settings.glue_job_name, brief=brief),
        storage=storage,
        arguments={
            "--postgres_host": settings.postgres_host,
            "--postgres_port": str(settings.postgres_port),
            "--postgres_db": settings.postgres_db,
            "--postgres_secret_arn": f"{settings.warehouse_secrets}/writer",
            "--postgres_sslmode": settings.postgres_sslmode,
        },
    )


def build_watch(settings: Settings, *, role: str) -> Watch:
    """Return what the parts outside Dagster are looked at through: clients that ask once, for a few seconds at most.

    Args:
        settings: Of the deployment.
        role: Of the warehouse, to read with: ``analyst`` or ``reader``.
    """
    region = settings.aws_region
    return Watch(
        prediction_api=PredictionApi(url=settings.chalice_api_url, timeout_s=BRIEF_READ_S, attempts=1, throttled_s=0),
        kinesis=Kinesis(region=region, stream_name=settings.kinesis_stream_name, brief=True),
        stream_job=_stream_job(settings, storage=build_storage(settings, brief=True), brief=True),
        warehouse=build_warehouse(
            settings,
            Secrets(region=region, brief=True),
            role=role,
            connect_timeout_s=2,  # the shortest of libpq
            statement_timeout_s=BRIEF_READ_S,
        ),
        cloudwatch=CloudWatch(region=region, stage=settings.stage, brief=True),
        alerts=Alerts(
            region=region, topic_arn=settings.operations_topic_arn, dagster_url=settings.dagster_url, brief=True
        ),
        max_latency_ms=settings.max_latency_ms,
        max_error_share=settings.max_error_share,
        max_iterator_age_s=settings.max_iterator_age_s,
        max_store_delay_s=settings.max_store_delay_s,
        max_quarantine_share=settings.max_quarantine_share,
    )
