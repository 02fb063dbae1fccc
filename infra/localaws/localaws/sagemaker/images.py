"""Which program stands for a container image.

Belongs here: reading an image's URI. Does not: the programs (``localaws/algorithms``).
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import localaws
from localaws.algorithms.container import BASE_VARIABLE
from localaws.wire import AwsError

PROGRAMS = {
    "sagemaker-xgboost": "localaws.algorithms.xgboost_container",
    "randomcutforest": "localaws.algorithms.random_cut_forest",
}
"""Program by the repository of the image."""


def program(image: str) -> str:
    """Return the module that stands for an image such as ``<account>.dkr.ecr.<region>.amazonaws.com/sagemaker-xgboost:3.0-5``.

    Raises:
        AwsError: ``ValidationException`` for an image that does not exist here.
    """
    repository = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    if repository not in PROGRAMS:
        known = ", ".join(sorted(PROGRAMS))
        raise AwsError(
            "ValidationException", f"the image {image} does not exist here; the repositories that do: {known}"
        )
    return PROGRAMS[repository]


def command(image: str, verb: str) -> list[str]:
    """Return the command line of a container: ``train`` or ``serve``."""
    return [sys.executable, "-m", program(image), verb]


def environment(base: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a container whose ``/opt/ml`` is ``base``, with the request's own variables."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(localaws.__file__).parents[1]), os.environ.get("PYTHONPATH")])
        ),
        "OMP_WAIT_POLICY": "PASSIVE",  # OpenMP's spinning threads halve the speed of training on shared cores
        **given,
        BASE_VARIABLE: str(base),
    }
