"""Stand-ins over real HTTP for what moto does not really do: SageMaker endpoints that score, a Kinesis that can fail."""

import asyncio
import base64
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Formula = Callable[[list[float]], float]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free port of 127.0.0.1 in a thread; yields its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def classifier(row: list[float]) -> float:
    """V1 is the probability, nudged by log1p(Amount): shows that the transform was applied."""
    v1, _, log_amount = row
    return min(max(v1 + log_amount / 1000, 0.0), 1.0)


def detector(row: list[float]) -> float:
    """V2 is the anomaly score."""
    return row[1]


@dataclass
class Endpoint:
    """A SageMaker endpoint: answers by a formula, or as ``mode`` says.

    down, slow, rubbish, nan, short; slow to explain: late where a request has several rows; no reasons: refuses its second request.
    """

    list_key: str
    formula: Formula
    mode: str = "up"
    requests: list[list[list[float]]] = field(default_factory=list)

    def answer(self, body: bytes) -> tuple[int, dict[str, Any] | str]:
        """Return status and content of the reply to rows of CSV."""
        rows = [[float(cell) for cell in line.split(",")] for line in body.decode().splitlines()]
        self.requests.append(rows)
        scores = [{"score": self.formula(row)} for row in rows]
        match self.mode:
            case "down":
                return 424, {"message": f"container died on {rows}", "OriginalStatusCode": 500}
            case "no reasons" if len(self.requests) > 1:
                return 424, {"message": "container died", "OriginalStatusCode": 500}
            case "rubbish":
                return 200, "<html>"
            case "nan":
                return 200, {self.list_key: [{"score": math.nan}] * len(rows)}
            case "short":
                return 200, {self.list_key: scores[1:]}
        return 200, {self.list_key: scores}


class SageMakerRuntime:
    """InvokeEndpoint, as botocore sees it."""

    def __init__(self) -> None:
        self.endpoints = {
            "fraud-detection-xgb-7": Endpoint("predictions", classifier),
            "fraud-detection-rcf-7": Endpoint("scores", detector),
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = await _body(receive)
        headers = dict(scope["headers"])
        assert headers[b"content-type"] == b"text/csv"
        assert headers[b"accept"] == b"application/json"
        endpoint = self.endpoints.get(scope["path"].split("/")[2])
        if endpoint is None:
            await _answer(send, 400, {"message": "not found"}, [(b"x-amzn-errortype", b"ValidationError")])
            return
        if endpoint.mode == "slow":
            await asyncio.sleep(4)
        if endpoint.mode == "slow to explain" and body.count(b"\n"):
            await asyncio.sleep(4)
        status, answer = endpoint.answer(body)
        error = [(b"x-amzn-errortype", b"ModelError")] if status != 200 else []
        await _answer(send, status, answer, error)


class Kinesis:
    """PutRecords and DescribeStreamSummary, as botocore sees them.

    Attributes:
        records: What it took, in order.
        throttled: Counts down the records it will refuse, one by one, inside an answer of status 200.
        refused_as: The error with which it answers every call, if any: its status and code.
        delay_s: Seconds it takes to answer; infinite: it never does.
        calls: Number of records in each call to PutRecords.
        attempts: Calls to PutRecords that held a transaction.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.partition_keys: list[str] = []
        self.calls: list[int] = []
        self.attempts: Counter[str] = Counter()
        self.recover()

    def recover(self) -> None:
        """Be well again."""
        self.throttled = 0
        self.refused_as: tuple[int, str] | None = None
        self.delay_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request = json.loads(await _body(receive))
        entries = request.get("Records", [])
        self.attempts.update(json.loads(base64.b64decode(entry["Data"]))["transaction_id"] for entry in entries)
        if self.delay_s == math.inf:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await asyncio.sleep(self.delay_s)
        if self.refused_as:
            status, code = self.refused_as
            quoted = [(entry["PartitionKey"], base64.b64decode(entry["Data"]).decode()) for entry in entries]
            await _answer(send, status, {"__type": code, "message": f"not {quoted}"})  # AWS quotes what it refuses
        elif dict(scope["headers"])[b"x-amz-target"].endswith(b".DescribeStreamSummary"):
            await _answer(send, 200, {"StreamDescriptionSummary": {"StreamStatus": "ACTIVE"}})
        else:
            self.calls.append(len(entries))
            results = [self._put(entry) for entry in entries]
            failed = sum("ErrorCode" in result for result in results)
            await _answer(send, 200, {"FailedRecordCount": failed, "Records": results})

    def _put(self, entry: dict[str, str]) -> dict[str, str]:
        if self.throttled:
            self.throttled -= 1
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": f"not {entry}"}
        self.records.append(json.loads(base64.b64decode(entry["Data"])))
        self.partition_keys.append(entry["PartitionKey"])
        return {"ShardId": "shardId-000000000000", "SequenceNumber": str(len(self.records))}

    def event(self, transaction_id: str) -> dict[str, Any]:
        """The one event of a transaction."""
        (record,) = [record for record in self.records if record["transaction_id"] == transaction_id]
        return record


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Any, status: int, content: Any, headers: Any = ()) -> None:
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": message["type"] + ".complete"})
