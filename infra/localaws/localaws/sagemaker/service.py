"""The SageMaker service as one ASGI app: the control plane by JSON 1.1, the runtime by path.

Belongs here: putting the parts together. Does not: any action.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from localaws.sagemaker.hosting import Endpoints
from localaws.sagemaker.records import Records
from localaws.sagemaker.registry import Registry
from localaws.sagemaker.runtime import PREFIX, runtime_app
from localaws.sagemaker.storage import Storage
from localaws.sagemaker.tags import Tags
from localaws.sagemaker.training import TrainingJobs
from localaws.wire import AsgiApp, json_app

BLOCKING_THREADS = 32
"""Downloads, uploads and endings of processes at a time."""


def make_app(*, state: Path, region: str) -> AsgiApp:
    """Make the service.

    Args:
        state: Folder of all local services; what an earlier SageMaker left in ``sagemaker/`` there lives on.
        region: AWS region, for ARNs.
    """
    state = state.resolve() / "sagemaker"
    records, storage = Records(state / "records", region=region), Storage(region=region)
    tags = Tags(records)
    jobs = TrainingJobs(records, tags, storage, state / "jobs")
    endpoints = Endpoints(records, tags, storage, state / "endpoints")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(BLOCKING_THREADS))
        jobs.recover()
        endpoints.recover()
        try:
            yield
        finally:
            await jobs.close()
            await endpoints.close()

    actions = {**jobs.actions(), **endpoints.actions(), **Registry(records, tags).actions(), **tags.actions()}
    return json_app("sagemaker", actions, routes={PREFIX: runtime_app(endpoints, region=region)}, lifespan=lifespan)
