"""The contract between SageMaker and an algorithm's container: one folder, one port, ``train`` and ``serve``.

Belongs here: the folder's layout, the command line, how a failure is told. Does not: any algorithm.

Layout (``/opt/ml`` on AWS; here the folder that ``SAGEMAKER_BASE_DIR`` names):
``input/config/hyperparameters.json``, ``inputdataconfig.json`` and ``resourceconfig.json`` beside it,
``input/data/<channel>/``, ``model/``, ``output/failure``. What is printed is the job's log. ``serve`` answers on 127.0.0.1 at ``SAGEMAKER_BIND_TO_PORT``.
See https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html.
"""

import json
import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
MAX_FAILURE_CHARS = 1024
KEEP_ALIVE_S = 3600
"""The router keeps its connections open: a model must not close one under a request."""

_log = logging.getLogger(__name__)


class UserError(Exception):
    """The job's input is wrong (hyperparameters, channels, data); the message becomes its ``FailureReason``."""


class ModelError(Exception):
    """A model's artefact cannot be served; the message says why."""


class RequestError(Exception):
    """A request that a model refuses.

    Args:
        status: HTTP status of the answer.
        message: What was wrong; the body of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to one request."""

    body: bytes
    content_type: str


class Model(Protocol):
    """A loaded model. Called from several threads at once."""

    def answer(self, body: bytes, *, content_type: str, accept: str) -> Answer:
        """Score a request's body.

        Args:
            body: The request as it came, not empty.
            content_type: Media type without parameters, in lower case; empty where the header is absent.
            accept: The same, of the header ``Accept``.

        Raises:
            RequestError: The request cannot be answered.
        """


class Algorithm(Protocol):
    """A built-in algorithm."""

    def train(self, folder: "Folder") -> None:
        """Read the folder's input and write ``model/``.

        Raises:
            UserError: The input is wrong.
        """

    def load(self, model: Path) -> Model:
        """Load the artefact in the folder ``model``.

        Raises:
            ModelError: There is none, or it is broken.
        """


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one training job or one model.

    Attributes:
        base: What ``/opt/ml`` is on AWS.
    """

    base: Path

    @classmethod
    def from_environment(cls) -> Self:
        """Return the folder that the environment names."""
        return cls(Path(os.environ.get(BASE_VARIABLE, "/opt/ml")))

    @property
    def model(self) -> Path:
        """Where the artefact is written to or read from."""
        return self.base / "model"

    @property
    def failure(self) -> Path:
        """The file that tells why training failed."""
        return self.base / "output" / "failure"

    @property
    def config(self) -> Path:
        """Where the job's configuration lies."""
        return self.base / "input" / "config"

    def data(self, channel: str) -> Path:
        """Return the folder of a channel's files."""
        return self.base / "input" / "data" / channel

    def hyperparameters(self) -> dict[str, str]:
        """Return the hyperparameters, all strings."""
        values: dict[str, str] = json.loads((self.config / "hyperparameters.json").read_bytes())
        return values

    def channels(self) -> dict[str, dict[str, Any]]:
        """Return the configuration of each channel: ``ContentType``, ``S3DistributionType``, ``TrainingInputMode``."""
        channels: dict[str, dict[str, Any]] = json.loads((self.config / "inputdataconfig.json").read_bytes())
        return channels

    def hosts(self) -> list[str]:
        """Return the names of the machines that the job asked for; this one is the first."""
        hosts: list[str] = json.loads((self.config / "resourceconfig.json").read_bytes())["hosts"]
        return hosts


def main(algorithm: Algorithm, *, name: str, unused: Sequence[str]) -> int:
    """Run a container's command line and return its exit code.

    A failed training leaves ``output/failure``: ``ClientError`` where the job's input is at fault, ``AlgorithmError`` where
    the program is.

    Args:
        algorithm: What to train and serve.
        name: Of its module, for the usage message.
        unused: Packages that a library imports where they are installed and that nothing here needs; they are kept out, since
            their import takes longer than all the rest (pandas and scikit-learn: 4 s of XGBoost's 5).
    """
    sys.modules.update(dict.fromkeys(unused))  # type: ignore[arg-type]  # None: Python's own mark for "cannot be imported"
    parser = ArgumentParser(prog=f"python -m localaws.algorithms.{name}")
    parser.add_argument("command", choices=("train", "serve"))
    command = parser.parse_args().command
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    folder = Folder.from_environment()
    if command == "train":
        return _train(algorithm, folder)
    return _serve(algorithm, folder)


def _train(algorithm: Algorithm, folder: Folder) -> int:
    folder.model.mkdir(parents=True, exist_ok=True)
    folder.failure.parent.mkdir(parents=True, exist_ok=True)
    _log.info("hyperparameters: %s", json.dumps(folder.hyperparameters()))
    _log.info("channels: %s", json.dumps(folder.channels()))
    if len(folder.hosts()) > 1:
        _log.warning("the job asks for %d instances; all of it is trained on this one", len(folder.hosts()))
    try:
        algorithm.train(folder)
    except UserError as error:
        folder.failure.write_text(f"ClientError: {error}"[:MAX_FAILURE_CHARS])
        _log.error("ClientError: %s", error)
        return 1
    except Exception as error:
        folder.failure.write_text(f"AlgorithmError: {error!r}"[:MAX_FAILURE_CHARS])
        raise
    return 0


def _serve(algorithm: Algorithm, folder: Folder) -> int:
    import uvicorn

    from localaws.algorithms.model_server import model_app

    try:
        model = algorithm.load(folder.model)
    except ModelError as error:
        _log.error("%s", error)
        return 1
    uvicorn.run(
        model_app(model),
        host="127.0.0.1",
        port=int(os.environ[PORT_VARIABLE]),
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return 0
