"""Models, endpoint configurations and endpoints: each endpoint a model process of its own.

Belongs here: the life of an endpoint and its process. Does not: InvokeEndpoint on the wire (``runtime.py``).
A broken model or a process that dies touches no other endpoint; a process that dies is started again.
"""

import asyncio
import json
import logging
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from localaws.algorithms.container import PORT_VARIABLE, Folder
from localaws.processes import end, spawn, wait
from localaws.sagemaker import images
from localaws.sagemaker.model_client import ModelClient, ModelUnavailableError, Response
from localaws.sagemaker.records import Kind, Record, Records, page, pick, utc_now
from localaws.sagemaker.storage import Storage, StorageError
from localaws.sagemaker.tags import Tags
from localaws.wire import ACCOUNT_ID, Action, AwsError

POLL_S = 0.1
PING_TIMEOUT_S = 2.0
START_TIMEOUT_S = 180.0
INVOKE_TIMEOUT_S = 60.0
GRACE_S = 2.0
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 60.0
"""A process that lived this long is started again without waiting."""
LOG_TAIL_CHARS = 400
LOG_GROUPS = "/aws/sagemaker/Endpoints"
CONTAINER = "container.json"
"""In an endpoint's folder: the model's container, as CreateModel took it."""

_log = logging.getLogger(__name__)


class _StartError(Exception):
    """An endpoint cannot serve; the message becomes its ``FailureReason``."""


@dataclass(slots=True)
class _Deployment:
    """The running side of an endpoint."""

    name: str
    port: int = 0
    task: asyncio.Task[None] | None = None
    process: subprocess.Popen[bytes] | None = None
    client: ModelClient | None = None


class Endpoints:
    """All models, endpoint configurations and endpoints."""

    def __init__(self, records: Records, tags: Tags, storage: Storage, folder: Path) -> None:
        self._records = records
        self._tags = tags
        self._storage = storage
        self._folder = folder
        self._deployments: dict[str, _Deployment] = {}

    def actions(self) -> dict[str, Action]:
        """Return the handlers by the name of their action."""
        return {
            "CreateModel": self.create_model,
            "DescribeModel": self.describe_model,
            "ListModels": self.list_models,
            "DeleteModel": self.delete_model,
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": self.describe_config,
            "ListEndpointConfigs": self.list_configs,
            "DeleteEndpointConfig": self.delete_config,
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.list,
            "DeleteEndpoint": self.delete,
        }

    def recover(self) -> None:
        """Start the processes of the endpoints that were there when the service last ended; remove what is left of others."""
        for folder in self._folder.glob("*"):
            if self._records.find(Kind.ENDPOINT, folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)
        for endpoint in self._records.all(Kind.ENDPOINT):
            name = endpoint["EndpointName"]
            match endpoint["EndpointStatus"]:
                case "Deleting":
                    shutil.rmtree(self._base(name), ignore_errors=True)
                    self._forget(Kind.ENDPOINT, name)
                case "Failed":
                    continue
                case _:
                    self._set_status(name, "Creating")
                    self._deploy(name)

    async def close(self) -> None:
        """End all model processes."""
        await asyncio.gather(*(self._end(item, item.task) for item in list(self._deployments.values())))

    async def create_model(self, params: Record) -> Record:
        """Note a model: an image and the URI of its artefact."""
        name = params["ModelName"]
        arn = self._new(Kind.MODEL, name, what="model")
        containers = [params["PrimaryContainer"]] if "PrimaryContainer" in params else params.get("Containers", [])
        if len(containers) != 1 or not containers[0].keys() >= {"Image", "ModelDataUrl"}:
            raise AwsError("ValidationException", "a model has one container here, with Image and ModelDataUrl")
        images.program(containers[0]["Image"])
        uri = containers[0]["ModelDataUrl"]
        try:
            found = await asyncio.to_thread(self._storage.exists, uri)
        except StorageError as error:
            raise AwsError("ValidationException", f"Could not access model data at {uri}: {error}") from error
        if not found:
            raise AwsError("ValidationException", f"Could not find model data at {uri}.")
        self._new(Kind.MODEL, name, what="model")  # another request may have made it while S3 was asked
        members = ("ModelName", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation")
        record = {
            **pick(params, *members),
            "PrimaryContainer": containers[0],
            "ModelArn": arn,
            "CreationTime": utc_now(),
        }
        self._tags.create(arn, params.get("Tags", []))
        self._records.put(Kind.MODEL, name, record)
        return {"ModelArn": arn}

    def describe_model(self, params: Record) -> Record:
        """Describe a model."""
        return self._found(Kind.MODEL, params["ModelName"], what="model")

    def list_models(self, params: Record) -> Record:
        """List models."""
        models, token = page(self._records.all(Kind.MODEL), params, name="ModelName")
        return {
            "Models": [pick(model, "ModelName", "ModelArn", "CreationTime") for model in models],
            "NextToken": token,
        }

    def delete_model(self, params: Record) -> Record:
        """Forget a model; an endpoint that serves it goes on."""
        self._found(Kind.MODEL, params["ModelName"], what="model")
        self._forget(Kind.MODEL, params["ModelName"])
        return {}

    def create_config(self, params: Record) -> Record:
        """Note an endpoint configuration."""
        name = params["EndpointConfigName"]
        arn = self._new(Kind.ENDPOINT_CONFIG, name, what="endpoint configuration")
        variants = params["ProductionVariants"]
        if len(variants) != 1 or "ShadowProductionVariants" in params or "AsyncInferenceConfig" in params:
            raise AwsError(
                "ValidationException", "an endpoint has one production variant here, no shadow, and is not asynchronous"
            )
        if "ModelName" not in variants[0]:
            raise AwsError("ValidationException", "ProductionVariants[0].ModelName is required here")
        if ("InstanceType" in variants[0]) == ("ServerlessConfig" in variants[0]):
            raise AwsError("ValidationException", "ProductionVariants[0] needs either InstanceType or ServerlessConfig")
        self._found(Kind.MODEL, variants[0]["ModelName"], what="model")
        members = (
            *(
                "EndpointConfigName",
                "ProductionVariants",
                "DataCaptureConfig",
                "KmsKeyId",
                "ExecutionRoleArn",
                "VpcConfig",
            ),
            "EnableNetworkIsolation",
        )
        record = {**pick(params, *members), "EndpointConfigArn": arn, "CreationTime": utc_now()}
        self._tags.create(arn, params.get("Tags", []))
        self._records.put(Kind.ENDPOINT_CONFIG, name, record)
        return {"EndpointConfigArn": arn}

    def describe_config(self, params: Record) -> Record:
        """Describe an endpoint configuration."""
        return self._found(Kind.ENDPOINT_CONFIG, params["EndpointConfigName"], what="endpoint configuration")

    def list_configs(self, params: Record) -> Record:
        """List endpoint configurations."""
        configs, token = page(self._records.all(Kind.ENDPOINT_CONFIG), params, name="EndpointConfigName")
        members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": [pick(config, *members) for config in configs], "NextToken": token}

    def delete_config(self, params: Record) -> Record:
        """Forget an endpoint configuration; an endpoint that was made from it goes on."""
        self._found(Kind.ENDPOINT_CONFIG, params["EndpointConfigName"], what="endpoint configuration")
        self._forget(Kind.ENDPOINT_CONFIG, params["EndpointConfigName"])
        return {}

    def create(self, params: Record) -> Record:
        """Start an endpoint; it is ``InService`` once its model answers ``/ping``."""
        name = params["EndpointName"]
        arn = self._new(Kind.ENDPOINT, name, what="endpoint")
        config = self._found(Kind.ENDPOINT_CONFIG, params["EndpointConfigName"], what="endpoint configuration")
        variant = config["ProductionVariants"][0]
        model = self._found(Kind.MODEL, variant["ModelName"], what="model")
        now = utc_now()
        record = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": params["EndpointConfigName"],
            "ProductionVariants": [_variant_summary(variant, model["PrimaryContainer"]["Image"], now=now)],
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        try:
            shutil.rmtree(self._base(name), ignore_errors=True)
            self._base(name).mkdir(parents=True)
            (self._base(name) / CONTAINER).write_text(json.dumps(model["PrimaryContainer"]))
        except OSError as error:
            raise AwsError(
                "InternalFailure", f"the folder of endpoint {name} cannot be written: {error}", status=500
            ) from error
        self._tags.create(arn, params.get("Tags", []))
        self._records.put(Kind.ENDPOINT, name, record)
        self._deploy(name)
        return {"EndpointArn": arn}

    def describe(self, params: Record) -> Record:
        """Describe an endpoint."""
        return self._found(Kind.ENDPOINT, params["EndpointName"], what="endpoint")

    def list(self, params: Record) -> Record:
        """List endpoints."""
        endpoints, token = page(self._records.all(Kind.ENDPOINT), params, name="EndpointName", status="EndpointStatus")
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return {"Endpoints": [pick(endpoint, *members) for endpoint in endpoints], "NextToken": token}

    def delete(self, params: Record) -> Record:
        """End an endpoint."""
        name = params["EndpointName"]
        endpoint = self._found(Kind.ENDPOINT, name, what="endpoint")
        if endpoint["EndpointStatus"] in {"Creating", "Deleting"}:
            raise AwsError("ValidationException", f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')
        self._records.update(Kind.ENDPOINT, name, EndpointStatus="Deleting", LastModifiedTime=utc_now())
        deployment = self._deployments.setdefault(name, _Deployment(name))
        serving = deployment.task
        deployment.task = asyncio.create_task(self._delete(deployment, serving))
        return {}

    async def invoke(self, name: str, body: bytes, *, content_type: bytes, accept: bytes) -> tuple[Response, str]:
        """Ask an endpoint's model, and return its answer and the name of the production variant that gave it.

        Raises:
            AwsError: ``ValidationError`` where there is no such endpoint in service.
            ModelUnavailableError: Its process did not answer.
        """
        endpoint = self._records.find(Kind.ENDPOINT, name)
        if endpoint is None or endpoint["EndpointStatus"] != "InService":
            state = "not found" if endpoint is None else f"not in service: {endpoint['EndpointStatus']}"
            raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT_ID} {state}.")
        client = self._deployments[name].client
        if client is None:
            raise ModelUnavailableError("the model process died and is being started again")
        response = await client.post(
            "/invocations", body, content_type=content_type, accept=accept, timeout_s=INVOKE_TIMEOUT_S
        )
        return response, endpoint["ProductionVariants"][0]["VariantName"]

    def log_path(self, name: str) -> Path:
        """Return the log of an endpoint's model process."""
        return self._base(name) / "serve.log"

    def _base(self, name: str) -> Path:
        return self._folder / name

    def _new(self, kind: Kind, name: str, *, what: str) -> str:
        """Return the ARN of a resource that must not exist yet."""
        arn = self._records.arn(kind, name)
        if self._records.find(kind, name) is not None:
            raise AwsError("ValidationException", f'Cannot create already existing {what} "{arn}".')
        return arn

    def _found(self, kind: Kind, name: str, *, what: str) -> Record:
        record = self._records.find(kind, name)
        if record is None:
            raise AwsError("ValidationException", f'Could not find {what} "{self._records.arn(kind, name)}".')
        return record

    def _forget(self, kind: Kind, name: str) -> None:
        self._records.remove(kind, name)
        self._tags.forget(self._records.arn(kind, name))

    def _set_status(self, name: str, status: str, **changes: Any) -> None:
        now = utc_now()
        self._records.note(Kind.ENDPOINT, name, EndpointStatus=status, LastModifiedTime=now, **changes)

    def _deploy(self, name: str) -> None:
        deployment = self._deployments[name] = _Deployment(name)
        deployment.task = asyncio.create_task(self._serve(deployment))

    async def _serve(self, deployment: _Deployment) -> None:
        name = deployment.name
        try:
            container = json.loads((self._base(name) / CONTAINER).read_bytes())
            await self._fetch(name, container["ModelDataUrl"])
            await self._start(deployment, container)
            self._set_status(name, "InService")
            await self._keep(deployment, container)
        except (_StartError, OSError) as error:
            _log.warning("endpoint %s failed: %s", name, error)
            self._set_status(name, "Failed", FailureReason=str(error)[:1024])
        except Exception:  # noqa: BLE001 - a bug in one endpoint must not end the others
            _log.exception("endpoint %s failed by a bug", name)
            self._set_status(name, "Failed", FailureReason="internal error, see the log of the SageMaker service")

    async def _fetch(self, name: str, uri: str) -> None:
        """Bring the artefact into the endpoint's folder; one that is there from an earlier start is used again."""
        model = Folder(self._base(name)).model
        draft = model.with_name("model.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.with_suffix(".tar.gz").unlink(missing_ok=True)
        if model.exists():
            return
        try:
            await asyncio.to_thread(self._storage.download_model, uri, draft)
        except StorageError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise _StartError(f"Failed to download model data: {error}") from error
        draft.rename(model)

    async def _start(self, deployment: _Deployment, container: Record) -> None:
        """Start the model process and wait until it answers ``/ping``."""
        base, log_path = self._base(deployment.name), self.log_path(deployment.name)
        port = deployment.port = self._free_port()
        log_start = log_path.stat().st_size if log_path.exists() else 0
        environment = {**images.environment(base, container.get("Environment", {})), PORT_VARIABLE: str(port)}
        process = spawn(images.command(container["Image"], "serve"), env=environment, log_path=log_path)
        deployment.process = process
        client = ModelClient(port)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await _pings(client):
            if process.poll() is not None or time.monotonic() > deadline:
                await asyncio.to_thread(end, process, grace_s=GRACE_S)
                tail = log_path.read_bytes()[log_start:].decode(errors="replace").strip()[-LOG_TAIL_CHARS:]
                raise _StartError(
                    "The primary container for production variant did not pass the ping health check "
                    f"(exit code {process.returncode}). The log {LOG_GROUPS}/{deployment.name} ends with: {tail}"
                )
            await asyncio.sleep(POLL_S)
        deployment.client = client

    async def _keep(self, deployment: _Deployment, container: Record) -> None:
        """Start the model process again whenever it dies, ever more slowly where it does not live long."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            born = time.monotonic()
            while deployment.process is not None and await wait(deployment.process, at_most_s=STABLE_S) is None:
                pass
            if deployment.client is not None:
                deployment.client.close()
                deployment.client = None
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - born > STABLE_S else min(backoff_s * 2, MAX_BACKOFF_S)
            _log.warning("the process of endpoint %s died; starting it again in %.1f s", deployment.name, backoff_s)
            await asyncio.sleep(backoff_s)
            try:
                await self._start(deployment, container)
            except _StartError as error:
                _log.warning("endpoint %s: %s", deployment.name, error)

    async def _delete(self, deployment: _Deployment, serving: asyncio.Task[None] | None) -> None:
        await self._end(deployment, serving)
        await asyncio.to_thread(shutil.rmtree, self._base(deployment.name), ignore_errors=True)
        self._forget(Kind.ENDPOINT, deployment.name)
        del self._deployments[deployment.name]

    async def _end(self, deployment: _Deployment, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if deployment.client is not None:
            deployment.client.close()
        if deployment.process is not None:
            await asyncio.to_thread(end, deployment.process, grace_s=GRACE_S)

    def _free_port(self) -> int:
        """Return a free port that no other model process is about to take: one endpoint must never answer for another."""
        taken = {deployment.port for deployment in self._deployments.values()}
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in taken:
                return port


async def _pings(client: ModelClient) -> bool:
    try:
        return (await client.get("/ping", timeout_s=PING_TIMEOUT_S)).status == HTTPStatus.OK
    except ModelUnavailableError:
        return False


def _variant_summary(variant: Record, image: str, *, now: datetime) -> Record:
    summary: Record = {
        "VariantName": variant["VariantName"],
        "CurrentWeight": variant.get("InitialVariantWeight", 1.0),
        "DesiredWeight": variant.get("InitialVariantWeight", 1.0),
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": now}],
    }
    if "ServerlessConfig" in variant:
        return {**summary, "CurrentServerlessConfig": variant["ServerlessConfig"]}
    count = variant.get("InitialInstanceCount", 1)
    return {**summary, "CurrentInstanceCount": count, "DesiredInstanceCount": count}
