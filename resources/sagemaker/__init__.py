"""Amazon SageMaker: training jobs, the model registry, endpoints.

Belongs here: the one resource that the graph asks for. Its calls are in the modules beside this one. Does not: which model is
good enough (``fraudit_dagster/evaluation.py``) or which one serves (``assets/serving.py``).
"""

from resources.sagemaker.common import SHORT_NAMES, EndpointError, SageMakerError, TrainingError
from resources.sagemaker.endpoints import Endpoints, EndpointSummary
from resources.sagemaker.registry import ModelPackage, PackageSummary, Registry
from resources.sagemaker.training import TrainingJobs, TrainingResult

__all__ = [
    "SHORT_NAMES",
    "EndpointError",
    "EndpointSummary",
    "ModelPackage",
    "PackageSummary",
    "SageMaker",
    "SageMakerError",
    "TrainingError",
    "TrainingResult",
]


class SageMaker(TrainingJobs, Registry, Endpoints):
    """Training, registry and real-time inference in Amazon SageMaker."""
