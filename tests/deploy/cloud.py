"""What the small services have not, by the minimum: functions that run, tasks that run. Everything else goes on to them.

A server on 127.0.0.1 for Lambda and ECS. Lambda is moto's, but for what a function answers: that is the package, in a process.
ECS is told which definitions there are, and runs the command of a task as a process.
"""

import base64
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import client

GROUP = "/ecs/fraudit-dev"
ASK = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
"""One for all: each new one reads the machine's certificates, 60 ms of processor time."""
HANDLER = Path(__file__).with_name("programs") / "handler.py"


@dataclass
class Cloud:
    """The server's state.

    Attributes:
        small_services: Address of moto.
        folder: For the packages.
        environment: Of the processes of functions and tasks, beside their own.
        refuses: Names of Lambda's operations that fail, with the message.
        packages: Folders of packages, by their checksum.
        definitions: What a task runs, by its family: a command, and variables of its own.
        tasks: Tasks that were run, by ARN.
        at_work: What runs them. A test that does not wait for its task must not leave it to the next one.
    """

    small_services: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    packages: dict[str, Path] = field(default_factory=dict)
    definitions: dict[str, tuple[list[str], Mapping[str, str]]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    at_work: list[threading.Thread] = field(default_factory=list)

    def keep(self, body: bytes) -> None:
        """Keep the package that a request brings, by its checksum."""
        document = json.loads(body or b"{}")
        encoded = document.get("ZipFile") or document.get("Code", {}).get("ZipFile")
        if encoded:
            package = base64.b64decode(encoded)
            digest = hashlib.sha256(package).digest()
            folder = self.folder / digest.hex()
            zipfile.ZipFile(io.BytesIO(package)).extractall(folder)
            self.packages[base64.b64encode(digest).decode()] = folder

    def invoke(self, name: str, qualifier: str, event: bytes, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """Return what a version answers, and whether it failed."""
        url = f"{self.small_services}/2015-03-31/functions/{name}/configuration"
        found = ASK.get(url, params={"Qualifier": qualifier}, headers=dict(headers)).json()
        variables = found.get("Environment", {}).get("Variables", {})
        done = subprocess.run(
            [sys.executable, "-B", HANDLER, found["Handler"]],
            cwd=self.packages[found["CodeSha256"]],
            env={**os.environ, **self.environment, **variables},
            input=event,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode().strip().splitlines()[-1]
            return json.dumps({"errorType": "Runtime.ExitError", "errorMessage": said}).encode(), True
        return done.stdout.splitlines()[-1], False

    def run_task(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Start a task's command, as ECS does, and return what ECS says of it."""
        family = asked["taskDefinition"]
        if asked["launchType"] != "FARGATE" or not asked["networkConfiguration"]["awsvpcConfiguration"]["subnets"]:
            return {"tasks": [], "failures": [{"reason": "this task wants Fargate, in a subnet"}]}
        arn = f"arn:aws:ecs:eu-west-1:123456789012:task/{asked['cluster']}/{secrets.token_hex(16)}"
        definition = f"arn:aws:ecs:eu-west-1:123456789012:task-definition/{family}:1"
        task = {
            "taskArn": arn,
            "taskDefinitionArn": definition,
            "lastStatus": "PENDING",
            "containers": [{"name": "one"}],
        }
        self.tasks[arn] = task
        at_work = threading.Thread(target=self._carry_out, args=(task, *self.definitions[family]))
        self.at_work.append(at_work)
        at_work.start()
        return {"tasks": [task], "failures": []}

    def _carry_out(self, task: dict[str, Any], command: list[str], variables: Mapping[str, str]) -> None:
        environment = {**os.environ, **self.environment, **variables}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, cwd=PROJECT_DIR, check=False
            )
        except OSError as error:
            task |= {"lastStatus": "STOPPED", "stoppedReason": f"CannotStartContainerError: {error}"}
            return
        logs = client("logs", region="eu-west-1")
        where = {"logGroupName": GROUP, "logStreamName": f"one/one/{task['taskArn'].rpartition('/')[2]}"}
        logs.create_log_stream(**where)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        now_ms = int(time.time() * 1000)
        events = [{"timestamp": now_ms + place, "message": line} for place, line in enumerate(lines)]
        if events:
            logs.put_log_events(**where, logEvents=events)
        reason = {"stoppedReason": "Essential container in task exited"}
        task |= {"containers": [{"name": "one", "exitCode": done.returncode}], "lastStatus": "STOPPED", **reason}

    def ecs(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one of the three operations of ECS that a deployment needs."""
        match operation:
            case "RunTask":
                return self.run_task(asked)
            case "DescribeTasks":
                return {"tasks": [self.tasks[arn] for arn in asked["tasks"]]}
            case _:
                options = {"awslogs-group": GROUP, "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "one"}
                container = {"name": "one", "logConfiguration": {"logDriver": "awslogs", "options": options}}
                return {"taskDefinition": {"containerDefinitions": [container]}}


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        for path, why in self.cloud.refuses.items():
            if re.search(path, f"{self.command} {self.path}"):
                error = json.dumps({"Type": "User", "message": why}).encode()
                return self._answer(400, error, X_Amzn_ErrorType="InvalidParameterValueException")
        if operation := self.headers.get("X-Amz-Target", "").partition("AmazonEC2ContainerServiceV20141113.")[2]:
            return self._answer(200, json.dumps(self.cloud.ecs(operation, json.loads(body))).encode())
        if asked := re.search(r"/functions/([^/]+)/invocations(?:\?Qualifier=(.+))?$", self.path):
            auth = {name: value for name, value in kept.items() if name.lower() == "authorization"}
            said, failed = self.cloud.invoke(asked[1], asked[2] or "$LATEST", body, auth)
            return self._answer(200, said, **({"X_Amz_Function_Error": "Unhandled"} if failed else {}))
        self.cloud.keep(body)
        reply = ASK.request(self.command, f"{self.cloud.small_services}{self.path}", headers=kept, content=body)
        return self._answer(reply.status_code, reply.content, Content_Type="application/json")

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running(cloud: Cloud) -> Iterator[str]:
    """Serve a cloud, and yield its address."""
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            for one in (thread, *cloud.at_work):
                one.join()
