"""The reference project's way to predict: ask one endpoint, then the other, then put, with boto3. ``reference_predict.py PORT``.

Belongs here: its ``/predict`` as it does it: no key, no check of the body, no deadline, a fixed threshold. Does not: its one
needless cost, clients made anew for each request; here they are kept. The frame is that of ours: Chalice, its gateway, uvicorn.
Wants ``api/`` on the path; the environment names the endpoints, the stream and where AWS is.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import boto3
import uvicorn
from chalice.app import Chalice, Request
from chalice.local import LocalChalice
from gateway import Gateway, Throttle
from server import BURST, RATE, THREADS, AsgiGateway

app = Chalice(app_name="reference")
runtime = boto3.client("sagemaker-runtime")
kinesis = boto3.client("kinesis")
THRESHOLD = 0.5


@app.route("/predict", methods=["POST"])
def predict() -> dict[str, Any]:
    """Score one transaction and put what came of it on the stream."""
    content = cast("Request", app.current_request).json_body
    metadata, data = content["metadata"], content["data"]
    anomaly = ask(os.environ["DETECTOR_ENDPOINT"], data)["scores"][0]["score"]
    probability = ask(os.environ["CLASSIFIER_ENDPOINT"], data)["predictions"][0]["score"]
    output = {
        "anomaly_detector": {"score": anomaly},
        "fraud_classifier": {"pred_proba": probability, "prediction": int(probability > THRESHOLD)},
    }
    record = json.dumps({**metadata, **output, "data": data})
    kinesis.put_record(StreamName=os.environ["STREAM"], Data=record, PartitionKey=metadata["user_id"])
    return output


@app.route("/health", methods=["GET"])
def health() -> dict[str, str]:
    """Say that it listens."""
    return {"status": "ok"}


def ask(endpoint: str, data: str) -> Any:
    """Return an endpoint's reply to one row of CSV."""
    reply = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/csv", Accept="application/json", Body=data)
    return json.loads(reply["Body"].read())


if __name__ == "__main__":
    app.__class__ = LocalChalice
    gateway = AsgiGateway(Gateway(app), Throttle(rate=RATE, burst=BURST), ThreadPoolExecutor(THREADS))
    uvicorn.run(gateway, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="warning")
