"""A prediction API over real HTTP that replies as it is told, and remembers what it was asked."""

import asyncio
import json
from collections import Counter
from typing import Any

Reply = tuple[int, Any]


class Api:
    """Replies to each transaction with its own list of replies, the last one for ever; accepts every label.

    Attributes:
        replies: By transaction id, or by path where the request is for none.
        never: Transactions that get no reply; ``everything`` among them: none does.
        retry_after: Sent with every error.
        delay_s: Before each reply.
        requests: How often each was asked for.
        bodies: What was sent to ``/predict``, as it arrived.
        labels: What was sent to ``/feedback``.
        keys: API keys that came with requests.
        replied: Replies that were sent.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.never: set[str] = set()
        self.retry_after = b""
        self.delay_s = 0.0
        self.requests: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self.labels: list[dict[str, Any]] = []
        self.keys: set[bytes | None] = set()
        self.replied = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": message["type"] + ".complete"})
            return
        content = (await receive())["body"]
        name = scope["path"]
        replies = [(200, answer(name))]
        if name == "/predict":
            self.bodies.append(content)
            name = json.loads(content)["metadata"]["transaction_id"]
            replies = [(200, answer(name))]
        elif name == "/feedback":
            self.labels.append(json.loads(content))
            replies = [(202, {"transaction_id": self.labels[-1]["transaction_id"], "accepted": True, "degraded": []})]
        self.requests[name] += 1
        self.keys.add(dict(scope["headers"]).get(b"x-api-key"))
        if self.never & {name, "everything"}:
            while (await receive())["type"] != "http.disconnect":
                continue
            return
        await asyncio.sleep(self.delay_s)
        replies = self.replies.get(name, self.replies.get("everything", replies))
        status, reply = replies.pop(0) if len(replies) > 1 else replies[0]
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        if status >= 400 and self.retry_after:
            headers.append((b"retry-after", self.retry_after))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.replied += 1


def answer(transaction_id: str, decision: str = "approve", *, degraded: tuple[str, ...] = ()) -> dict[str, Any]:
    """An answer to ``/predict``."""
    return {
        "transaction_id": transaction_id,
        "decision": decision,
        "fraud_classifier": {"pred_proba": 0.1, "prediction": 0, "model_version": "7"},
        "anomaly_detector": {"score": None, "model_version": "7"},
        "reasons": [{"feature": "V1", "value": 1.0, "weight": 0.2}],
        "degraded": list(degraded),
        "a field of a later version": 1,
    }


def error(code: str, *, field: str | None = None) -> dict[str, Any]:
    """The API's form of an error."""
    return {"error": {"code": code, "message": "because", "field": field, "request_id": "1"}}
