"""The composition root: settings become resources, and the whole graph one ``Definitions``."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import dagster as dg

from assets import analytics, archive, backtest, dataset, drift, evaluation, external, raw, serving, training
from fraudit_dagster.settings import PROJECT_DIR, Settings, load_settings
from jobs.automation import automated
from jobs.jobs import JOBS
from jobs.schedules import SCHEDULES
from jobs.sensors import SENSORS
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

GROUPS = {
    "raw": [raw],
    "dataset": [dataset],
    "training": [training],
    "evaluation": [evaluation],
    "serving": [serving],
    "external": [external],
    "analytics": [analytics, drift, archive],
    "backtest": [backtest],
}
OWNERS = ["team:fraud"]
PERSONAL_DATA = {"raw", "dataset", "external"}
"""Groups of assets that hold single transactions of people, and are to be protected as such."""


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return every resource of the graph, by the name that assets ask for."""
    storage = _storage(settings)
    secrets = Secrets(region=settings.aws_region)
    warehouse = Warehouse(secrets=secrets, **_warehouse_place(settings))
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
        "watch": _watch(settings),
    }


def _storage(settings: Settings, *, brief: bool = False) -> Storage:
    return Storage(
        region=settings.aws_region,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
        brief=brief,
    )


def _warehouse_place(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "database": settings.postgres_db,
        "secret_arn": f"{settings.warehouse_secrets}/analyst",
        "sslmode": settings.postgres_sslmode,
    }


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


def _watch(settings: Settings) -> Watch:
    """Return what the monitors look through: clients that ask once, for a few seconds at most."""
    region = settings.aws_region
    return Watch(
        prediction_api=PredictionApi(url=settings.chalice_api_url, timeout_s=BRIEF_READ_S, attempts=1, throttled_s=0),
        kinesis=Kinesis(region=region, stream_name=settings.kinesis_stream_name, brief=True),
        stream_job=_stream_job(settings, storage=_storage(settings, brief=True), brief=True),
        warehouse=Warehouse(
            secrets=Secrets(region=region, brief=True),
            **_warehouse_place(settings),
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


def build_defs(settings: Settings, *, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the graph with resources made from ``settings``; tests replace some of them."""
    assets: list[Any] = []
    for group, modules in GROUPS.items():
        assets += dg.load_assets_from_modules(modules, group_name=group, include_specs=True)

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        tags = {"personal_data": "yes"} if spec.group_name in PERSONAL_DATA else {}
        links = {"url": dg.MetadataValue.url(settings.chalice_api_url)} if spec.key == external.PREDICT.key else {}
        return automated(
            spec.replace_attributes(owners=OWNERS, tags={**spec.tags, **tags}, metadata={**spec.metadata, **links})
        )

    return dg.Definitions(
        assets=[dg.map_asset_specs(completed, [asset])[0] for asset in assets],
        asset_checks=external.CHECKS,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the graph for Dagster's commands and its UI."""
    return build_defs(load_settings())
