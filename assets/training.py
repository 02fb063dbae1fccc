"""The two models, each fitted by a SageMaker training job and put into the registry.

Belongs here: hyperparameters, and one asset per model. Does not: whether a model is good (``assets/evaluation.py``).
The defaults were chosen by measurement on real transactions (``docs/quality.md``).
"""

import dagster as dg
from pydantic import Field

from assets.failures import refuse_unfit
from fraudit_dagster.records import Algorithm, Part, TrainedModel
from resources.project import Project
from resources.sagemaker import SHORT_NAMES, SageMaker
from resources.storage import Storage

INSTANCES = (
    "Machines that train together, each on its share of the channel's files; more than one pays for large tables only."
)


class XGBoostConfig(dg.Config):
    """Hyperparameters of the classifier, as SageMaker's XGBoost container names them."""

    num_round: int = Field(default=500, gt=0, description="Most boosting rounds.")
    early_stopping_rounds: int = Field(
        default=50,
        gt=0,
        description="Rounds without a better average precision on the validation part; the best round is what serves.",
    )
    max_depth: int = Field(default=5, gt=0, description="Of a tree.")
    eta: float = Field(default=0.1, gt=0, le=1, description="Learning rate.")
    subsample: float = Field(default=0.8, gt=0, le=1, description="Share of the rows per tree.")
    colsample_bytree: float = Field(default=0.8, gt=0, le=1, description="Share of the features per tree.")
    min_child_weight: float = Field(
        default=5.0,
        ge=0,
        description="Least sum of p(1-p), times the weights, in a leaf: how much evidence a leaf needs.",
    )
    seed: int = Field(default=0, description="Of the sampling.")
    instance_count: int = Field(default=1, ge=1, description=INSTANCES)

    def hyperparameters(self, *, weighted: bool) -> dict[str, str]:
        """Return what the container is given; ``weighted``: the second column of the channel is a weight."""
        ours = {key: str(value) for key, value in self.model_dump(exclude={"instance_count"}).items()}
        fixed = {"objective": "binary:logistic", "eval_metric": "aucpr", "tree_method": "hist"}
        return {**ours, **fixed, **({"csv_weights": "1"} if weighted else {})}


class RandomCutForestConfig(dg.Config):
    """Hyperparameters of the anomaly detector, as SageMaker's Random Cut Forest names them."""

    num_trees: int = Field(default=100, ge=50, le=1000, description="Trees.")
    num_samples_per_tree: int = Field(default=256, ge=1, le=2048, description="Rows that each tree is made from.")
    instance_count: int = Field(default=1, ge=1, description=INSTANCES)

    def hyperparameters(self, *, features: int) -> dict[str, str]:
        """Return what the container is given; ``features``: columns of the channel."""
        return {
            "num_trees": str(self.num_trees),
            "num_samples_per_tree": str(self.num_samples_per_tree),
            "feature_dim": str(features),
        }


@dg.asset(
    key=["model", "xgboost"],
    ins={"train": dg.AssetIn(["dataset", "train"]), "validation": dg.AssetIn(["dataset", "validation"])},
    kinds={"sagemaker", "xgboost"},
    code_version="2",
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
    refuse_unfit("dataset/train", train.flaws)
    refuse_unfit("dataset/validation", validation.flaws)
    # Where several machines train, each takes its own files of both channels, and they add up their sums in every round.
    distribution = "FullyReplicated" if config.instance_count == 1 else "ShardedByS3Key"
    channels = {
        name: {"uri": part.channels["xgboost"], "content_type": "text/csv", "distribution": distribution}
        for name, part in {"train": train, "validation": validation}.items()
    }
    return _train(
        context,
        "xgboost",
        project,
        hyperparameters=config.hyperparameters(weighted=train.weighted),
        channels=channels,
        instance_count=config.instance_count,
        train=train,
        storage=storage,
        sagemaker=sagemaker,
    )


@dg.asset(
    key=["model", "random_cut_forest"],
    ins={"train": dg.AssetIn(["dataset", "train"])},
    kinds={"sagemaker"},
    code_version="2",
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
    refuse_unfit("dataset/train", train.flaws)
    channel = {
        "uri": train.channels["random_cut_forest"],
        "content_type": "text/csv;label_size=0",
        "distribution": "ShardedByS3Key",
    }
    return _train(
        context,
        "random_cut_forest",
        project,
        hyperparameters=config.hyperparameters(features=len(project.contract.models.random_cut_forest.features)),
        channels={"train": channel},
        instance_count=config.instance_count,
        train=train,
        storage=storage,
        sagemaker=sagemaker,
    )


def _train(
    context: dg.AssetExecutionContext,
    algorithm: Algorithm,
    project: Project,
    *,
    hyperparameters: dict[str, str],
    channels: dict[str, dict[str, str]],
    instance_count: int,
    train: Part,
    storage: Storage,
    sagemaker: SageMaker,
) -> dg.MaterializeResult[TrainedModel]:
    contract = project.contract
    spec = getattr(contract.models, algorithm)
    files = sum(1 for _ in storage.uris(f"{channels['train']['uri']}/"))
    if files < instance_count:
        context.log.warning(
            "%d instances are asked for and the training channel has %d file(s): the others have nothing to train on",
            instance_count,
            files,
        )
    image = sagemaker.image(algorithm)
    result = sagemaker.train(
        name=f"{sagemaker.solution_prefix}-{SHORT_NAMES[algorithm]}-{context.run.run_id[:13]}",
        image=image,
        hyperparameters=hyperparameters,
        channels=channels,
        output_uri=f"s3://{storage.model_bucket}/training",
        on_status=lambda status: context.log.info("%s: %s", algorithm, status),
        instance_count=instance_count,
    )
    arn, version = sagemaker.register(
        algorithm=algorithm,
        image=image,
        artifact_uri=result.artifact_uri,
        token=result.job,
        properties={
            "training_job": result.job,
            "run_id": context.run.run_id,
            "code_version": project.code_version,
            "dataset_sha256": train.raw_sha256,
            "contract": contract.name,
            "contract_sha256": contract.sha256,
            "features": str(len(spec.features)),
            **{f"hyperparameter:{key}": value for key, value in hyperparameters.items()},
        },
        generated_by=result.job,
        commit_id=project.code_version,
    )
    record = TrainedModel(
        algorithm=algorithm,
        training_job=result.job,
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
            "training_job": result.job,
            "instances": instance_count,
            "artifact": dg.MetadataValue.url(result.artifact_uri),
            "features": dg.MetadataValue.json(spec.manifest_features),
            "hyperparameters": dg.MetadataValue.json(hyperparameters),
            # A job's metrics are those of its last round; the round that serves may be earlier.
            **{f"last_round_{metric.replace(':', '_')}": value for metric, value in result.metrics.items()},
        },
    )


ASSETS = [xgboost, random_cut_forest]
