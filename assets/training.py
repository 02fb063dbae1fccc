"""The two models, each fitted by a SageMaker training job and put into the registry.

Belongs here: hyperparameters, and one asset per model. Does not: whether a model is good (``assets/serving.py``).
"""

import dagster as dg
from pydantic import Field

from fraudit_dagster.contract import ModelSpec
from fraudit_dagster.records import Algorithm, Part, TrainedModel
from resources.project import Project
from resources.sagemaker import SHORT_NAMES, SageMaker
from resources.storage import Storage


class XGBoostConfig(dg.Config):
    """Hyperparameters of the classifier, as SageMaker's XGBoost container names them."""

    num_round: int = Field(default=500, gt=0, description="Most boosting rounds.")
    early_stopping_rounds: int = Field(
        default=50, gt=0, description="Rounds without a better validation average precision."
    )
    max_depth: int = Field(default=5, gt=0, description="Of a tree.")
    eta: float = Field(default=0.1, gt=0, le=1, description="Learning rate.")
    subsample: float = Field(default=0.8, gt=0, le=1, description="Share of the rows per tree.")
    colsample_bytree: float = Field(default=0.8, gt=0, le=1, description="Share of the features per tree.")
    min_child_weight: float = Field(default=1.0, ge=0, description="Least weight of the rows in a leaf.")
    seed: int = Field(default=0, description="Of the sampling.")


class RandomCutForestConfig(dg.Config):
    """Hyperparameters of the anomaly detector, as SageMaker's Random Cut Forest names them."""

    num_trees: int = Field(default=100, ge=50, le=1000, description="Trees.")
    num_samples_per_tree: int = Field(default=256, ge=1, le=2048, description="Rows that each tree is made from.")


@dg.asset(
    key=["model", "xgboost"],
    ins={"train": dg.AssetIn(["dataset", "train"]), "validation": dg.AssetIn(["dataset", "validation"])},
    kinds={"sagemaker", "xgboost"},
    code_version="1",
    pool="sagemaker_training",
)
def xgboost(
    context: dg.AssetExecutionContext,
    config: XGBoostConfig,
    project: Project,
    storage: Storage,
    sagemaker: SageMaker,
    train: Part,
    validation: Part,
) -> dg.MaterializeResult[TrainedModel]:
    """Gradient-boosted trees that give the probability that a transaction is fraud.

    Fitted on labelled transactions without resampling, so that the score stays a probability; training stops when the
    average precision on the validation part no longer rises.
    """
    hyperparameters = {key: str(value) for key, value in config.model_dump().items()} | {
        "objective": "binary:logistic",
        "eval_metric": "aucpr",
        "tree_method": "hist",
    }
    if train.weighted:
        hyperparameters["csv_weights"] = "1"
    channels = {
        name: {"uri": part.channels["xgboost"], "content_type": "text/csv", "distribution": "FullyReplicated"}
        for name, part in {"train": train, "validation": validation}.items()
    }
    return _train(
        context,
        "xgboost",
        project.contract.models.xgboost,
        hyperparameters=hyperparameters,
        channels=channels,
        train=train,
        storage=storage,
        sagemaker=sagemaker,
    )


@dg.asset(
    key=["model", "random_cut_forest"],
    ins={"train": dg.AssetIn(["dataset", "train"])},
    kinds={"sagemaker"},
    code_version="1",
    pool="sagemaker_training",
)
def random_cut_forest(
    context: dg.AssetExecutionContext,
    config: RandomCutForestConfig,
    project: Project,
    storage: Storage,
    sagemaker: SageMaker,
    train: Part,
) -> dg.MaterializeResult[TrainedModel]:
    """A Random Cut Forest that gives a transaction's anomaly score, without having seen a label."""
    spec = project.contract.models.random_cut_forest
    channel = {
        "uri": train.channels["random_cut_forest"],
        "content_type": "text/csv;label_size=0",
        "distribution": "ShardedByS3Key",
    }
    return _train(
        context,
        "random_cut_forest",
        spec,
        hyperparameters={key: str(value) for key, value in config.model_dump().items()}
        | {"feature_dim": str(len(spec.features))},
        channels={"train": channel},
        train=train,
        storage=storage,
        sagemaker=sagemaker,
    )


def _train(
    context: dg.AssetExecutionContext,
    algorithm: Algorithm,
    spec: ModelSpec,
    *,
    hyperparameters: dict[str, str],
    channels: dict[str, dict[str, str]],
    train: Part,
    storage: Storage,
    sagemaker: SageMaker,
) -> dg.MaterializeResult[TrainedModel]:
    name = f"{sagemaker.solution_prefix}-{SHORT_NAMES[algorithm]}-{context.run.run_id[:13]}"
    image = sagemaker.image(algorithm)
    result = sagemaker.train(
        name=name,
        image=image,
        hyperparameters=hyperparameters,
        channels=channels,
        output_uri=f"s3://{storage.model_bucket}/training",
        on_status=lambda status: context.log.info("%s: %s", name, status),
    )
    properties = {"training_job": name, "dataset_sha256": train.raw_sha256, "features": str(len(spec.features))}
    arn, version = sagemaker.register(
        algorithm=algorithm, image=image, artifact_uri=result.artifact_uri, token=name, properties=properties
    )
    record = TrainedModel(
        algorithm=algorithm,
        training_job=name,
        artifact_uri=result.artifact_uri,
        image=image,
        package_arn=arn,
        version=version,
        metrics=result.metrics,
    )
    return dg.MaterializeResult(
        value=record,
        metadata={
            "version": version,
            "training_job": name,
            "artifact": dg.MetadataValue.url(result.artifact_uri),
            "features": dg.MetadataValue.json(spec.manifest_features),
            "hyperparameters": dg.MetadataValue.json(hyperparameters),
            **{metric.replace(":", "_"): value for metric, value in result.metrics.items()},
        },
    )


ASSETS = [xgboost, random_cut_forest]
