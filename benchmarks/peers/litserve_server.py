"""LitServe as a peer: both models behind one server, ``python litserve_server.py PORT``.

Runs in the environment of ``benchmarks/requirements.lock``. The folder that ``BENCH_MODELS`` names holds ``forest/`` and
``xgboost/``, as a training job leaves them. A request is ``{"csv": "..."}``; the scores are computed by the same code that
answers behind InvokeEndpoint, so what differs is the server. One API server and one worker for each model;
its other queue (``fast_queue``) was no faster.
"""

import os
import sys
from pathlib import Path
from typing import Any

import litserve
from localaws.algorithms.container import Algorithm, Model
from localaws.algorithms.random_cut_forest import RandomCutForest
from localaws.algorithms.xgboost_container import XGBoost


class Peer(litserve.LitAPI):  # type: ignore[misc]  # it is not in the project's environment
    """One model."""

    def __init__(self, name: str, algorithm: Algorithm) -> None:
        super().__init__(api_path=f"/{name}")
        self._name = name
        self._algorithm = algorithm
        self._model: Model

    def setup(self, device: str) -> None:  # noqa: ARG002 - a processor is all there is
        """Load the model."""
        self._model = self._algorithm.load(Path(os.environ["BENCH_MODELS"]) / self._name)

    def decode_request(self, request: dict[str, Any]) -> bytes:
        """Take the rows out of a request."""
        return str(request["csv"]).encode()

    def predict(self, rows: bytes) -> bytes:
        """Score rows."""
        return self._model.answer(rows, content_type="text/csv", accept="application/json").body

    def encode_response(self, scores: bytes) -> str:
        """Put the scores into an answer."""
        return scores.decode()


if __name__ == "__main__":
    apis = [Peer("forest", RandomCutForest()), Peer("xgboost", XGBoost())]
    server = litserve.LitServer(apis, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
