"""Endpoints: InvokeEndpoint beside the same server's empty route, and beside BentoML and LitServe on the same models.

Measured: the time of InvokeEndpoint through boto3, one client (beside it through urllib3 and through bare sockets, where less of the
time is the client's); then requests a second, their time and the processor time of all processes of the server for a request, by one
HTTP client of ours over 1 and 8 connections. The models are a Random Cut Forest and boosted trees, 100 trees each, one row of 30
features a request; all servers run the same code to score.

The empty route is ``/_health`` of the SageMaker service: the cheapest answer that the same uvicorn and app give. boto3 reaches it
by an InvokeEndpoint whose address is changed when it is signed, so that all the rest is the same.
"""

import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.progress import Progress

from benchmarks import data, load, servers
from benchmarks.measure import Series, interleaved, percentile
from benchmarks.report import Figure, Goal, Report, Table

OURS, BENTOML, LITSERVE = "localaws", "BentoML", "LitServe"
COLUMNS = (OURS, BENTOML, LITSERVE)
MODELS = ("forest", "xgboost")
NAMES = {"forest": "Random Cut Forest", "xgboost": "XGBoost"}
IMAGES = {
    "forest": f"{servers.ACCOUNT}.dkr.ecr.{servers.REGION}.amazonaws.com/randomcutforest:1",
    "xgboost": f"{servers.ACCOUNT}.dkr.ecr.{servers.REGION}.amazonaws.com/sagemaker-xgboost:3.0-5",
}
CONNECTIONS = (1, 8)
BUCKET = "models"
ROLE = f"arn:aws:iam::{servers.ACCOUNT}:role/bench"
EMPTY = "empty route"
BARE = "bare sockets"
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    repetitions: int = 9
    calls: int = 200
    load_repetitions: int = 5
    load_s: float = 2.5
    warm_s: float = 1.0


QUICK = Sizes(repetitions=2, calls=50, load_repetitions=2, load_s=0.5, warm_s=0.3)


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: the port, the request that each model takes, and its process."""

    port: int
    requests: Mapping[str, bytes]
    process: psutil.Process


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the endpoints."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR) as name, ExitStack() as stack:
        folder = Path(name)
        data.write_models(folder / "models")
        row = ",".join(f"{value:.6g}" for value in data.table(1, seed=3)[0])
        task = progress.add_task("Endpoints: start three servers", total=3)
        running = {}
        for column, start in ((OURS, _localaws), (BENTOML, _bentoml), (LITSERVE, _litserve)):
            running[column] = stack.enter_context(start(folder, row))
            progress.advance(task)
        check_alike(running)
        tables = [
            _invoke(running[OURS], row, sizes, progress),
            *(_load(running, model, sizes, progress) for model in MODELS),
        ]
    versions = {name: servers.peer_version(name) for name in ("bentoml", "litserve")}
    return Report("endpoints", "Endpoints", ("localaws", "boto3", "uvicorn", "xgboost"), tables, versions)


def _invoke(server: Server, row: str, sizes: Sizes, progress: Progress) -> Table:
    import urllib3

    url = f"http://{servers.HOST}:{server.port}"
    pool = urllib3.PoolManager()
    runtime, empty = servers.client("sagemaker-runtime", url), servers.client("sagemaker-runtime", url)

    def to_health(request: Any, **_: Any) -> None:
        request.url = f"{url}/_health"

    empty.meta.events.register("before-send.sagemaker-runtime.InvokeEndpoint", to_health)

    def boto3(client: Any, model: str) -> Callable[[], Any]:
        def call() -> Any:
            return client.invoke_endpoint(EndpointName=model, Body=row, ContentType="text/csv")["Body"].read()

        return call

    def bare(method: str, path: str, body: bytes | None) -> Callable[[], Any]:
        headers = {"content-type": "text/csv"} if body else {}
        return lambda: pool.request(method, url + path, body=body, headers=headers).data

    calls = {
        (EMPTY, "boto3"): boto3(empty, "forest"),
        (EMPTY, "urllib3"): bare("GET", "/_health", None),
        **{(model, "boto3"): boto3(runtime, model) for model in MODELS},
        **{
            (model, "urllib3"): bare("POST", f"/endpoints/{model}/invocations", row.encode())
            for model in MODELS
        },
    }  # fmt: skip
    for call in calls.values():
        for _ in range(sizes.calls // 4):
            call()
    contenders = {" ".join(key): _timed(call, sizes.calls) for key, call in calls.items()}
    for name, request in ((EMPTY, load.get("/_health")), *server.requests.items()):
        contenders[f"{name} {BARE}"] = _loaded(server.port, request, sizes.warm_s)
    task = progress.add_task("Endpoints: InvokeEndpoint", total=len(contenders) * sizes.repetitions)
    found = interleaved(
        contenders,
        repetitions=sizes.repetitions,
        advance=lambda: progress.advance(task),
    )
    figures = []
    for through in ("boto3", "urllib3", BARE):
        for model in MODELS:
            results = {OURS: found[f"{model} {through}"]["p50"], EMPTY: found[f"{EMPTY} {through}"]["p50"]}
            times = results[OURS].median / results[EMPTY].median
            goal = Goal("within 3 x the empty route", times <= 3) if through == "boto3" else None  # noqa: PLR2004 - as it says
            what = f"{NAMES[model]} through {through}"
            figures.append(Figure(f"{what}, p50", "ms", results, higher_is_better=False, compared=False, goal=goal))
            figures.append(Figure(f"{what}, p50 over the empty route's", "times", {OURS: Series((times,))}))
            tails = {OURS: found[f"{model} {through}"]["p99"], EMPTY: found[f"{EMPTY} {through}"]["p99"]}
            figures.append(Figure(f"{what}, p99", "ms", tails, higher_is_better=False, compared=False))
    notes = [
        (
            f"One client, one row of {data.FEATURES} features a call. The empty route is `/_health` of the same server, asked in the same "
            "way. InvokeEndpoint passes two processes: the service, and the model's own. The cheaper the client, the more of the "
            "time is the server's: of boto3's, most is boto3."
        )
    ]
    return Table("InvokeEndpoint beside the empty route", (OURS, EMPTY), figures, notes)


def _timed(call: Callable[[], Any], count: int) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        spent_ms = []
        for _ in range(count):
            started = time.perf_counter()
            call()
            spent_ms.append((time.perf_counter() - started) * 1000)
        return {"p50": percentile(spent_ms, 0.5), "p99": percentile(spent_ms, 0.99)}

    return measure


def _loaded(port: int, request: bytes, duration_s: float) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        spent_s = load.run(port, request, connections=1, duration_s=duration_s).latencies_s
        return {"p50": percentile(spent_s, 0.5) * 1000, "p99": percentile(spent_s, 0.99) * 1000}

    return measure


def _load(running: Mapping[str, Server], model: str, sizes: Sizes, progress: Progress) -> Table:
    def contender(server: Server, connections: int) -> Callable[[], dict[str, float]]:
        def measure() -> dict[str, float]:
            before_s = load.processor_s(server.process)
            done = load.run(server.port, server.requests[model], connections=connections, duration_s=sizes.load_s)
            spent_s = load.processor_s(server.process) - before_s
            count = len(done.latencies_s)
            return {
                "rate": count / done.elapsed_s,
                "p50": percentile(done.latencies_s, 0.5) * 1000,
                "p99": percentile(done.latencies_s, 0.99) * 1000,
                "processor": spent_s / count * 1e6,
            }

        return measure

    figures = []
    task = progress.add_task(
        f"Endpoints: load on {NAMES[model]}", total=len(running) * len(CONNECTIONS) * sizes.load_repetitions
    )
    for server in running.values():
        load.run(server.port, server.requests[model], connections=max(CONNECTIONS), duration_s=sizes.warm_s)
    for connections in CONNECTIONS:
        found = interleaved(
            {name: contender(server, connections) for name, server in running.items()},
            repetitions=sizes.load_repetitions,
            advance=lambda: progress.advance(task),
        )
        words = f"{connections} connection{'s' if connections > 1 else ''}"
        for what, unit, key in (
            ("requests", "requests/s", "rate"),
            ("p50", "ms", "p50"),
            ("p99", "ms", "p99"),
            ("processor time of the server", "us/request", "processor"),
        ):
            results = {name: series[key] for name, series in found.items()}
            figures.append(Figure(f"{what}, {words}", unit, results, higher_is_better=key == "rate"))
    notes = [
        (
            "localaws: the service and the model's process. BentoML: one worker, coroutines. LitServe: one API server, one worker for the "
            "model. Each runs the same scoring code, and the client is the same; it shares the cores with them."
        )
    ]
    return Table(f"load on {NAMES[model]}", COLUMNS, figures, notes)


def check_alike(running: Mapping[str, Server]) -> None:
    """Make sure that all servers give the same answer.

    Raises:
        RuntimeError: They do not.
    """
    for model in MODELS:
        answers = {
            name: load.run(server.port, server.requests[model], connections=1, duration_s=0).body
            for name, server in running.items()
        }
        if len({_score(body) for body in answers.values()}) != 1:
            raise RuntimeError(f"the servers answer differently: {answers}")


def _score(body: bytes) -> float:
    """Read the score out of an answer: JSON of SageMaker's, also as a string in JSON, or csv."""
    content = json.loads(body)
    if isinstance(content, str):
        content = json.loads(content)
    if isinstance(content, dict):
        ((only,),) = content.values()
        content = only["score"]
    return float(f"{content:.6g}")


@contextmanager
def _localaws(folder: Path, row: str) -> Iterator[Server]:
    with (
        servers.moto(folder) as s3_url,
        servers.localaws("sagemaker", folder, AWS_ENDPOINT_URL=s3_url) as (url, process),
    ):
        s3, sagemaker = servers.client("s3", s3_url), servers.client("sagemaker", url)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": servers.REGION})
        for model in MODELS:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w:gz") as content:
                for path in (folder / "models" / model).iterdir():
                    content.add(path, path.name)
            s3.put_object(Bucket=BUCKET, Key=f"{model}/model.tar.gz", Body=archive.getvalue())
            container = {"Image": IMAGES[model], "ModelDataUrl": f"s3://{BUCKET}/{model}/model.tar.gz"}
            sagemaker.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=ROLE)
            variant = {
                "VariantName": "all",
                "ModelName": model,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
            sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=[variant])
            sagemaker.create_endpoint(EndpointName=model, EndpointConfigName=model)
        for model in MODELS:
            _wait_until_in_service(sagemaker, model)
        requests = {
            model: load.post(f"/endpoints/{model}/invocations", row.encode(), content_type="text/csv")
            for model in MODELS
        }
        yield Server(int(url.rpartition(":")[2]), requests, process)


def _wait_until_in_service(sagemaker: Any, name: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while (endpoint := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "InService":
        if endpoint["EndpointStatus"] == "Failed" or time.monotonic() > deadline:
            raise servers.ServerError(
                f"endpoint {name} is {endpoint['EndpointStatus']}: {endpoint.get('FailureReason')}"
            )
        time.sleep(servers.POLL_S)


@contextmanager
def _bentoml(folder: Path, row: str) -> Iterator[Server]:
    port = servers.free_port()
    program = str(servers.PEERS_BIN / "bentoml")
    command = [program, "serve", "bentoml_server:Peer", "--host", servers.HOST, "--port", str(port), "--quiet"]
    more = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    with _peer(command, folder, port=port, row=row, health="/readyz", more=more) as server:
        yield server


@contextmanager
def _litserve(folder: Path, row: str) -> Iterator[Server]:
    port = servers.free_port()
    command = [str(servers.PEERS_BIN / "python"), "litserve_server.py", str(port)]
    with _peer(command, folder, port=port, row=row, health="/health", more={}) as server:
        yield server


@contextmanager
def _peer(
    command: list[str], folder: Path, *, port: int, row: str, health: str, more: Mapping[str, str]
) -> Iterator[Server]:
    """Run a peer's server; both take the rows as one member of a JSON object, at the model's name."""
    localaws = servers.PROJECT_DIR / "infra" / "localaws"
    env = servers.environment(PYTHONPATH=str(localaws), BENCH_MODELS=str(folder / "models"), **more)
    log = folder / f"peer-{port}.log"
    url = f"http://{servers.HOST}:{port}{health}"
    body = json.dumps({"csv": row}).encode()
    requests = {model: load.post(f"/{model}", body, content_type="application/json") for model in MODELS}
    with servers.running(command, env=env, log=log, url=url, cwd=servers.PEERS_DIR) as process:
        yield Server(port, requests, process)
