"""Puts prediction events on a stream: ``stream_producer.py URL STREAM COUNT RATE CALL``.

An open loop: event n is due n / RATE seconds after the start, whatever Kinesis or the machine do; with RATE 0 it is due at once.
CALL events go in one PutRecords, when the last of them is due. Prints one JSON object: how many were sent, in which time, and how
late the latest call was sent.

The events are those of the API on the public table, 30 inputs, 1.2 kB; their numbers, customers and addresses come from a pool. All is
bytes that are ready, over one kept connection, so that it takes little from the processes that are measured.
"""

import base64
import http.client
import json
import random
import sys
import time
import uuid
from datetime import UTC, datetime
from urllib.parse import urlsplit

POOL = 2_000
HEADERS = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "Kinesis_20131202.PutRecords",
    "authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
}


def pool() -> list[tuple[bytes, bytes]]:
    """Return partition keys, and events with four places left open: event id, transaction id, occurred at, scored at."""
    chance = random.Random(6)  # noqa: S311 - not a secret
    templates = []
    for number in range(POOL):
        amount = round(chance.lognormvariate(3, 1.5), 2)
        event = {
            "schema_version": 1,
            "event_id": "%b",
            "transaction_id": "%b",
            "type": "prediction",
            "run_id": "bench",
            "occurred_at": "%b",
            "scored_at": "%b",
            "user_id": f"user-{number}",
            "source": chance.choice(["Web", "Mobile", "POS"]),
            "device_info": {"device_type": "mobile", "os_version": "17.1", "app_version": "2.3.4"},
            "ip_address": f"203.0.{chance.randrange(256)}.{chance.randrange(256)}",
            "geo": {"country": "DE", "region": "BE", "city": "Berlin", "latitude": 52.52, "longitude": 13.4},
            "contract": "creditcard",
            "manifest_version": "2026-11-23T10:00:00Z-3f2a",
            "features": {
                "Time": float(number),
                **{f"V{index}": round(chance.gauss(0, 1), 6) for index in range(1, 29)},
                "Amount": amount,
            },
            "amount": amount,
            "fraud_proba": round(chance.random(), 6),
            "fraud_prediction": 0,
            "anomaly_score": round(chance.random(), 6),
            "decision": "approve",
            "reasons": [],
            "degraded": [],
            "model_versions": {"fraud_classifier": "7", "anomaly_detector": "7"},
            "latency_ms": 11.2,
        }
        templates.append((f"user-{number}".encode(), json.dumps(event, separators=(",", ":")).encode()))
    return templates


def main() -> None:
    """Put the events and print what came of it."""
    url, stream = sys.argv[1:3]
    count, rate, call = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    templates, run = pool(), uuid.uuid4().hex[:12]
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    started_s = time.monotonic()
    latest_s = 0.0
    for first in range(0, count, call):
        numbers = range(first, min(first + call, count))
        due_s = started_s + (numbers[-1] / rate if rate else 0)
        time.sleep(max(0.0, due_s - time.monotonic()))
        latest_s = max(latest_s, time.monotonic() - due_s)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
        records = []
        for number in numbers:
            key, template = templates[number % POOL]
            event_id = f"{number:08x}-0000-4000-8000-{run}".encode()
            data = base64.b64encode(template % (event_id, event_id, now, now))
            records.append(b'{"Data":"%b","PartitionKey":"%b"}' % (data, key))
        body = b'{"StreamName":"%b","Records":[%b]}' % (stream.encode(), b",".join(records))
        connection.request("POST", "/", body, HEADERS)
        answer = connection.getresponse().read()
        if b'"FailedRecordCount":0' not in answer:
            sys.exit(f"PutRecords answered {answer[:500]!r}")
    result = {"sent": count, "elapsed_s": time.monotonic() - started_s, "latest_ms": latest_s * 1000 if rate else 0.0}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
