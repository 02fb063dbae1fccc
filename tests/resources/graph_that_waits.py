"""A graph whose step trains without end, for ``test_interruption.py``."""

import os

import dagster as dg

from resources.sagemaker import SageMaker


@dg.asset
def model(context: dg.AssetExecutionContext, sagemaker: SageMaker) -> None:
    """A model that never gets ready."""
    sagemaker.train(
        name=os.environ["TEST_JOB"],
        image=os.environ["TEST_IMAGE"],
        hyperparameters={"objective": "binary:logistic", "num_round": "100000000"},
        channels={
            "train": {"uri": os.environ["TEST_DATA"], "content_type": "text/csv", "distribution": "FullyReplicated"}
        },
        output_uri=os.environ["TEST_DATA"],
        on_status=context.log.info,
    )


defs = dg.Definitions(
    assets=[model],
    jobs=[dg.define_asset_job("endless", [model])],
    resources={
        "sagemaker": SageMaker(
            region="eu-west-1", role_arn="arn:aws:iam::123456789012:role/fraudit", solution_prefix="fraud"
        )
    },
    executor=dg.in_process_executor,
)
