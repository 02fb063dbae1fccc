"""The prediction API: beside the reference project's way, beside bare boto3 calls, under load, and from its package.

Measured: the time of ``POST /predict`` where each endpoint answers after 10 ms, as over a network, beside the time of the endpoints and
of the put alone; the processor time of the API's process for a request beside that of two InvokeEndpoint and a PutRecord through
boto3; requests a second over 1, 16 and 64 connections; and how long the package takes from its import to its first answer.

The endpoints are stand-ins that cost next to nothing; Kinesis is the embedded one, and S3 and Secrets Manager are moto's. Every
server is a process of its own, and the client is the load of ``load``.
"""

import base64
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psutil
from rich.progress import Progress

from benchmarks import load, servers
from benchmarks.measure import Series, interleaved, percentile
from benchmarks.report import Figure, Goal, Report, Table
from fraudit_dagster.api_keys import new_key, with_key
from scripts import package

API_DIR = servers.PROJECT_DIR / "api"
OURS, REFERENCE, BOTO3 = "fraudit", "reference project", "boto3 alone"
CLASSIFIER, DETECTOR, STREAM, BUCKET = "bench-xgb", "bench-rcf", "predictions", "bench"
INPUTS = ["Time", *(f"V{number}" for number in range(1, 29)), "Amount"]
PACKAGES = ("chalice", "boto3", "uvicorn", "localaws", "moto")
STEPS = ("time", "processor time")
DELAY_MS = 10
LATENCY_GOAL_MS = 4.0
REFERENCE_GOAL = 0.65
PROCESSOR_GOAL = 1.5
CONNECTIONS = (1, 16, 64)
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3")
"""What the runtime of Lambda has besides Python."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    repetitions: int = 7
    load_s: float = 3.0
    calls: int = 150
    starts: int = 7


QUICK = Sizes(repetitions=2, load_s=0.5, calls=20, starts=1)


@dataclass(frozen=True, slots=True)
class World:
    """What runs.

    Attributes:
        ports: Of ours, the reference project's, the endpoints and Kinesis.
        processes: Of the two APIs.
        environment: Of a program that calls this AWS.
        body: A request that is approved.
        key: An API key.
    """

    ports: Mapping[str, int]
    processes: Mapping[str, psutil.Process]
    environment: Mapping[str, str]
    body: bytes
    key: str

    def request(self) -> bytes:
        """Return the bytes of a prediction."""
        return load.post("/predict", self.body, content_type="application/json", x_api_key=self.key)


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the API."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="api-") as name, ExitStack() as stack:
        task = progress.add_task("API: start", total=1)
        world = stack.enter_context(_world(Path(name)))
        progress.advance(task)
        tables = [
            _latency(world, sizes, progress),
            _processor(world, sizes, progress),
            _knee(world, sizes, progress),
            _start(world, Path(name), sizes, progress),
        ]
    return Report("prediction", "Prediction API", PACKAGES, tables)


def run_steps(*, quick: bool, progress: Progress) -> Report:
    """Measure the steps of one prediction, for docs/performance.md."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="steps-") as name, _world(Path(name)) as world:
        table = _steps(world, Path(name), sizes, progress)
    return Report("steps", "One prediction", PACKAGES, [table])


def _latency(world: World, sizes: Sizes, progress: Progress) -> Table:
    row = ",".join(["-1.234567"] * len(INPUTS)).encode()
    alone = {
        name: load.post(f"/endpoints/{name}/invocations", row, content_type="text/csv")
        for name in (CLASSIFIER, DETECTOR)
    }
    contenders = {
        OURS: _loaded(world.ports[OURS], world.request(), sizes.load_s),
        REFERENCE: _loaded(world.ports[REFERENCE], world.request(), sizes.load_s),
        **{name: _loaded(world.ports["endpoints"], request, sizes.load_s / 2) for name, request in alone.items()},
        "put": _loaded(world.ports["kinesis"], _put(world.body), sizes.load_s / 2),
    }
    task = progress.add_task("API: time of a request", total=len(contenders) * sizes.repetitions)
    found = interleaved(contenders, repetitions=sizes.repetitions, advance=lambda: progress.advance(task))
    p50 = {name: series["p50"] for name, series in found.items()}
    slower = Series(tuple(map(max, p50[CLASSIFIER].values, p50[DETECTOR].values)))
    ours = {name: found[name] for name in (OURS, REFERENCE)}
    above = {
        name: Series(
            tuple(
                whole - endpoint - put
                for whole, endpoint, put in zip(series["p50"].values, slower.values, p50["put"].values, strict=True)
            )
        )
        for name, series in ours.items()
    }
    share = p50[OURS].median / p50[REFERENCE].median
    figures = [
        Figure("p50", "ms", {name: series["p50"] for name, series in ours.items()}, higher_is_better=False),
        Figure("p95", "ms", {name: series["p95"] for name, series in ours.items()}, higher_is_better=False),
        Figure(
            "p50 above the slower endpoint and the put",
            "ms",
            above,
            higher_is_better=False,
            compared=False,
            goal=Goal(f"at most {LATENCY_GOAL_MS:g} ms", above[OURS].median <= LATENCY_GOAL_MS),
        ),
        Figure(
            "p50, ours over the reference project's",
            "times",
            {OURS: Series((share,))},
            goal=Goal(f"at most {REFERENCE_GOAL}", share <= REFERENCE_GOAL),
        ),
        Figure("the slower endpoint alone, p50", "ms", {OURS: slower}),
        Figure("the put alone, p50", "ms", {OURS: p50["put"]}),
    ]
    notes = [
        (
            f"1 connection, {len(INPUTS)} inputs, each endpoint answers after {DELAY_MS} ms. The reference project's way asks one endpoint, "
            "then the other, then puts, with kept boto3 clients, in the same frame (Chalice, its gateway, uvicorn), and checks neither key nor "
            "body. The endpoints and the put alone are measured with bare sockets."
        )
    ]
    return Table("one request", (OURS, REFERENCE), figures, notes)


def _processor(world: World, sizes: Sizes, progress: Progress) -> Table:
    def served(name: str) -> Callable[[], dict[str, float]]:
        def measure() -> dict[str, float]:
            before_s = load.processor_s(world.processes[name])
            done = load.run(world.ports[name], world.request(), connections=1, duration_s=sizes.load_s)
            return {"ms": (load.processor_s(world.processes[name]) - before_s) / len(done.latencies_s) * 1000}

        return measure

    contenders = {OURS: served(OURS), REFERENCE: served(REFERENCE), BOTO3: _bare_calls(world, sizes.calls)}
    task = progress.add_task("API: processor time", total=len(contenders) * sizes.repetitions)
    found = interleaved(contenders, repetitions=sizes.repetitions, advance=lambda: progress.advance(task))
    results = {name: series["ms"] for name, series in found.items()}
    times = results[OURS].median / results[BOTO3].median
    figures = [
        Figure("processor time of the process", "ms/request", results, higher_is_better=False),
        Figure(
            "the same, ours over boto3's",
            "times",
            {OURS: Series((times,))},
            goal=Goal(f"at most {PROCESSOR_GOAL:g}", times <= PROCESSOR_GOAL),
        ),
    ]
    notes = [
        (
            "User and system time, 1 connection. boto3 alone: two invoke_endpoint and a put_record in one warm thread, with no server and no "
            "check around them. What the endpoints and Kinesis take is not in it."
        )
    ]
    return Table("processor time", (OURS, REFERENCE, BOTO3), figures, notes)


def _bare_calls(world: World, count: int) -> Callable[[], dict[str, float]]:
    runtime = servers.client("sagemaker-runtime", _url(world.ports["endpoints"]))
    kinesis = servers.client("kinesis", _url(world.ports["kinesis"]))
    row = ",".join(["-1.234567"] * len(INPUTS))

    def three() -> None:
        for name in (CLASSIFIER, DETECTOR):
            reply = runtime.invoke_endpoint(
                EndpointName=name, ContentType="text/csv", Accept="application/json", Body=row
            )
            json.loads(reply["Body"].read())
        kinesis.put_record(StreamName=STREAM, Data=world.body, PartitionKey="user-17")

    def measure() -> dict[str, float]:
        before_s = time.thread_time()
        for _ in range(count):
            three()
        return {"ms": (time.thread_time() - before_s) / count * 1000}

    measure()
    return measure


def _knee(world: World, sizes: Sizes, progress: Progress) -> Table:
    def contender(name: str, connections: int) -> Callable[[], dict[str, float]]:
        def measure() -> dict[str, float]:
            done = load.run(
                world.ports[name],
                world.request(),
                connections=connections,
                duration_s=sizes.load_s,
                good=lambda status, body: status == load.OK and b'"degraded":["' not in body.replace(b" ", b""),
            )
            shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
            return {
                "rate": len(done.latencies_s) / done.elapsed_s,
                **{name: percentile(done.latencies_s, share) * 1000 for name, share in shares.items()},
                "bad": done.bad,
            }

        return measure

    figures = []
    task = progress.add_task("API: load", total=2 * len(CONNECTIONS) * sizes.repetitions)
    for connections in CONNECTIONS:
        found = interleaved(
            {name: contender(name, connections) for name in (OURS, REFERENCE)},
            repetitions=sizes.repetitions,
            advance=lambda: progress.advance(task),
        )
        words = f"{connections} connection{'s' if connections > 1 else ''}"
        figures += [
            Figure(
                f"{what}, {words}",
                unit,
                {name: series[key] for name, series in found.items()},
                higher_is_better=key == "rate",
                compared=key != "bad",
            )
            for what, unit, key in (
                ("requests", "requests/s", "rate"),
                ("p50", "ms", "p50"),
                ("p95", "ms", "p95"),
                ("p99", "ms", "p99"),
                ("errors and degraded answers", "requests", "bad"),
            )
        ]
    notes = [
        (
            "One process of each, 32 threads. On Lambda each request has a process of its own; here the threads share one core's worth "
            "of Python."
        )
    ]
    return Table("load", (OURS, REFERENCE), figures, notes)


def _steps(world: World, folder: Path, sizes: Sizes, progress: Progress) -> Table:
    program = [
        sys.executable,
        str(Path(__file__).with_name("api_steps.py")),
        _event_file(world, folder),
        str(sizes.calls),
    ]

    def measure() -> dict[str, float]:
        found = json.loads(servers.output(program, env=world.environment).splitlines()[-1])
        return {
            f"{step} {column}": value for step, pair in found.items() for column, value in zip(STEPS, pair, strict=True)
        }

    task = progress.add_task("API: steps of a request", total=sizes.starts)
    found = interleaved({OURS: measure}, repetitions=sizes.starts, advance=lambda: progress.advance(task))[OURS]
    steps = {
        "whole": "the whole, from the event to the answer",
        "body": "read and check the body, make the models' rows",
        "models": "ask both models at the same time",
        "event": "make the event",
        "put": "put it on Kinesis",
        "lines": "two log lines, two metrics",
    }
    figures = [
        Figure(words, "ms", {column: found[f"{step} {column}"] for column in STEPS}, compared=False)
        for step, words in steps.items()
    ]
    rest = {
        column: Series(
            tuple(
                values[0] - sum(values[1:])
                for values in zip(*(found[f"{step} {column}"].values for step in steps), strict=True)
            )
        )
        for column in STEPS
    }
    figures.append(Figure("the rest: Chalice, and putting it together", "ms", rest, compared=False))
    notes = [
        (
            f"The handler that Lambda calls, in a process without a server; each endpoint takes {DELAY_MS} ms. The steps are done one by one "
            "by the service's own parts, in turn with the whole. Processor time is that of all threads."
        )
    ]
    return Table("where the time goes", STEPS, figures, notes)


def _event_file(world: World, folder: Path) -> str:
    path = folder / "event.json"
    path.write_text(json.dumps(_gateway_event(world.body.decode())))
    return str(path)


def _start(world: World, folder: Path, sizes: Sizes, progress: Progress) -> Table:
    task = progress.add_task("API: the package", total=1 + sizes.starts)
    unpacked, runtime = folder / "package", folder / "runtime"
    archive = folder / "api.zip"
    package.build(archive)
    with ZipFile(archive) as content:
        content.extractall(unpacked)
    runtime.mkdir()
    site_packages = Path(psutil.__file__).parents[1]
    for name in RUNTIME_PACKAGES:
        source = site_packages / name
        copy: Callable[..., Any] = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, runtime / name)
    event = _event_file(world, folder)
    progress.advance(task)

    def measure() -> dict[str, float]:
        program = [sys.executable, "-S", str(Path(__file__).with_name("first_answer.py")), event]
        environment = {**world.environment, "PYTHONPATH": f"{unpacked}:{runtime}"}
        found: dict[str, float] = json.loads(servers.output(program, env=environment, cwd=unpacked).splitlines()[-1])
        return found

    measure()
    found = interleaved({OURS: measure}, repetitions=sizes.starts, advance=lambda: progress.advance(task))[OURS]
    steps = {
        "import": "import of the handler",
        "first": "the first answer after it",
        "both": "from the import to the first answer",
        "second": "the second answer",
    }
    figures = [Figure(words, "ms", {OURS: found[key]}, higher_is_better=False) for key, words in steps.items()]
    figures.append(Figure("size of the package", "kB", {OURS: Series((archive.stat().st_size / 1000,))}))
    notes = [
        (
            "The zip of `make package`, unpacked into an empty folder, with boto3 beside it as in Lambda's runtime, in a new Python without "
            "other packages; its handler is given an event of API Gateway. The first answer makes the clients, reads the manifest and opens "
            f"all connections; each endpoint takes {DELAY_MS} ms."
        )
    ]
    return Table("start of the package", (OURS,), figures, notes)


def _gateway_event(body: str) -> dict[str, Any]:
    return {
        "resource": "/predict",
        "path": "/predict",
        "httpMethod": "POST",
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"resourcePath": "/predict", "httpMethod": "POST", "requestId": "bench", "identity": {}},
        "body": body,
        "isBase64Encoded": False,
    }


def _loaded(port: int, request: bytes, duration_s: float) -> Callable[[], dict[str, float]]:
    load.run(port, request, connections=1, duration_s=duration_s / 3)

    def measure() -> dict[str, float]:
        spent_s = load.run(port, request, connections=1, duration_s=duration_s).latencies_s
        return {"p50": percentile(spent_s, 0.5) * 1000, "p95": percentile(spent_s, 0.95) * 1000}

    return measure


def _put(data: bytes) -> bytes:
    body = {"StreamName": STREAM, "Data": base64.b64encode(data).decode(), "PartitionKey": "user-17"}
    signature = (
        "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=0"
    )
    return load.post(
        "/",
        json.dumps(body).encode(),
        content_type="application/x-amz-json-1.1",
        x_amz_target="Kinesis_20131202.PutRecord",
        authorization=signature,
    )


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        aws = stack.enter_context(servers.moto(folder))
        kinesis, _ = stack.enter_context(servers.localaws("kinesis", folder))
        endpoints = servers.free_port()
        command = [sys.executable, "-m", "benchmarks.stand_in_endpoints", str(endpoints), str(DELAY_MS)]
        env = servers.environment()
        log = folder / "endpoints.log"
        stack.enter_context(servers.running(command, env=env, log=log, url=_url(endpoints), cwd=servers.PROJECT_DIR))
        key = _furnish(aws, kinesis)
        environment = servers.environment(
            AWS_ENDPOINT_URL=aws,
            AWS_ENDPOINT_URL_KINESIS=kinesis,
            AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=_url(endpoints),
            AWS_EC2_METADATA_DISABLED="true",
            PYTHONPATH=str(API_DIR),
            STREAM=STREAM,
            CLASSIFIER_ENDPOINT=CLASSIFIER,
            DETECTOR_ENDPOINT=DETECTOR,
            stream_name=STREAM,
            aws_region=servers.REGION,
            stage="bench",
            model_bucket=BUCKET,
            stream_bucket=BUCKET,
        )
        programs = {
            OURS: [str(API_DIR / "server.py"), "--port"],
            REFERENCE: [str(servers.PEERS_DIR / "reference_predict.py")],
        }
        ports, processes = {}, {}
        for name, program in programs.items():
            ports[name] = servers.free_port()
            command = [sys.executable, *program, str(ports[name])]
            url, log = f"{_url(ports[name])}/health", folder / f"{ports[name]}.log"
            processes[name] = stack.enter_context(servers.running(command, env=environment, log=log, url=url))
        ports |= {"endpoints": endpoints, "kinesis": _port(kinesis)}
        yield World(ports, processes, environment, _body(), key)


def _furnish(aws: str, kinesis: str) -> str:
    """Make the bucket, the manifest, the keys and the stream; return an API key."""
    s3 = servers.client("s3", aws)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": servers.REGION})
    s3.put_object(Bucket=BUCKET, Key="serving/manifest.json", Body=json.dumps(_manifest()))
    key = new_key()
    secret = with_key({"keys": []}, key, label="bench", now=datetime.now(UTC))
    servers.client("secretsmanager", aws).create_secret(Name="fraudit/api-keys", SecretString=json.dumps(secret))
    stream = servers.client("kinesis", kinesis)
    stream.create_stream(StreamName=STREAM, ShardCount=4)
    stream.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return key


def _manifest() -> dict[str, Any]:
    columns = INPUTS[1:]
    return {
        "schema_version": 1,
        "manifest_version": "bench",
        "contract": {"name": "bench", "sha256": "00"},
        "inputs": INPUTS,
        "amount": "Amount",
        "fraud_classifier": {
            "endpoint": CLASSIFIER,
            "model_version": "1",
            "features": columns,
            "calibration": {"kind": "none", "x": [], "y": []},
            "medians": dict.fromkeys(columns, 0.0),
        },
        "anomaly_detector": {
            "endpoint": DETECTOR,
            "model_version": "1",
            "features": [*columns[:-1], {"log1p": "Amount"}],
            "medians": {},
        },
        "policy": {"block_at": 0.8, "review_at": 0.2, "anomaly_review_at": 3.0, "when_degraded": "review"},
    }


def _body() -> bytes:
    values = (round(0.123456 * number * (-1) ** number, 6) for number in itertools.count())
    metadata = {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "user_id": "user-17",
        "source": "Web",
        "device_info": {"device_type": "phone", "os_version": "Android 16", "app_version": "4.2.0"},
        "ip_address": "198.51.100.7",
        "geo": {"country": "NL", "region": "Zuid-Holland", "city": "Delft", "latitude": 52.0, "longitude": 4.4},
    }
    data = ",".join(
        str(abs(value) if name in {"Time", "Amount"} else value) for name, value in zip(INPUTS, values, strict=False)
    )
    return json.dumps({"metadata": metadata, "data": data}).encode()


def _url(port: int) -> str:
    return f"http://{servers.HOST}:{port}"


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
