"""The signals of the monitors, looked at now: the same readings and limits by which Dagster's sensors judge and alert.

Belongs here: taking them for a page. Does not: readings (``resources/watch.py``) and verdicts (``fraudit_dagster/monitoring.py``).
"""

from concurrent.futures import ThreadPoolExecutor

import streamlit as st

from fraudit_dagster.monitoring import Finding
from fraudit_dagster.settings import load_settings
from resources.alerts import Alerts
from resources.aws import BRIEF_READ_S
from resources.cloudwatch import CloudWatch
from resources.glue import Glue
from resources.kinesis import Kinesis
from resources.prediction_api import PredictionApi
from resources.secrets import Secrets
from resources.storage import Storage
from resources.stream_job import StreamJob
from resources.warehouse import Warehouse
from resources.watch import Watch

KEPT_S = 10


@st.cache_resource(show_spinner=False)
def _watch() -> Watch:
    """Return clients that ask once, for a few seconds at most: what is dead does not hold up the page."""
    settings = load_settings()
    region = settings.aws_region
    storage = Storage(
        region=region,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
        brief=True,
    )
    return Watch(
        prediction_api=PredictionApi(url=settings.chalice_api_url, timeout_s=BRIEF_READ_S, attempts=1, throttled_s=0),
        kinesis=Kinesis(region=region, stream_name=settings.kinesis_stream_name, brief=True),
        stream_job=StreamJob(
            glue=Glue(region=region, job_name=settings.glue_job_name, brief=True), storage=storage, arguments={}
        ),
        warehouse=Warehouse(
            secrets=Secrets(region=region, brief=True),
            host=settings.postgres_host,
            port=settings.postgres_port,
            database=settings.postgres_db,
            secret_arn=f"{settings.warehouse_secrets}/reader",
            sslmode=settings.postgres_sslmode,
            connect_timeout_s=2,
            statement_timeout_s=BRIEF_READ_S,
        ),
        cloudwatch=CloudWatch(region=region, stage=settings.stage, brief=True),
        alerts=Alerts(region=region, topic_arn=None, dagster_url=settings.dagster_url, brief=True),
        max_latency_ms=settings.max_latency_ms,
        max_error_share=settings.max_error_share,
        max_iterator_age_s=settings.max_iterator_age_s,
        max_store_delay_s=settings.max_store_delay_s,
        max_quarantine_share=settings.max_quarantine_share,
    )


@st.cache_data(ttl=KEPT_S, show_spinner="Looking at the parts …")
def findings() -> dict[str, Finding]:
    """Return how each part was found, by its name; all are looked at at once."""
    watch = _watch()
    looks = {"API": watch.api, "Event stream": watch.stream, "Stream job": watch.job, "Table": watch.table}
    with ThreadPoolExecutor(len(looks)) as pool:
        futures = {name: pool.submit(look) for name, look in looks.items()}
        return {name: future.result() for name, future in futures.items()}
