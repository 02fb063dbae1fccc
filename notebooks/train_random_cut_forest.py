# %% [markdown]
# # Random Cut Forest: how unusual a transaction is
#
# Trains an unsupervised model, which never sees a label, deploys it at an endpoint of this notebook's own, and shows what an anomaly
# score can do about fraud, and what it cannot.
#
# - It reads the parts that the graph has made, by the same data contract, and judges with the same code.
# - **Nothing here serves.** The endpoint's name starts with `<solution prefix>-notebook-`, it is in no manifest, and it is gone when
#   its cell has ended.
# - It costs a training job (minutes of `ml.m5.xlarge`) and an endpoint (minutes of `ml.t2.medium`).

# %%
import numpy as np
import pandas as pd
from sagemaker.core import image_uris
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, OutputDataConfig, S3DataSource, StoppingCondition
from workbench import Workbench, score, stopped_when_left

from fraudit_dagster import curves, figures
from fraudit_dagster.costs import Costs, all_approved, cost_of, decision_costs, flagged
from fraudit_dagster.evaluation import evaluate
from fraudit_dagster.records import PrecisionOverRecall, Ranking

bench = Workbench.open("rcf")
contract, settings = bench.contract, bench.settings
spec = contract.models.random_cut_forest

# %% [markdown]
# ## The transactions
#
# The forest is given other features than the classifier: a cut falls in a feature with a chance that grows with its range, so that
# raw amounts, which reach into the thousands, would take nearly all of them. Their logarithm does not, and the time is left out.

# %%
parts = bench.newest_parts()
validation, test = (bench.read_part(parts, part) for part in ("validation", "test"))
pd.DataFrame(spec.apply(test.head(5)), columns=[feature.name for feature in spec.features])

# %% [markdown]
# ## Training
#
# 100 trees of 256 transactions each, drawn from the training part. The built-in algorithm wants its channel sharded, and no label
# column.

# %%
image = image_uris.retrieve("randomcutforest", settings.aws_region, version="1")
trainer = ModelTrainer(
    sagemaker_session=bench.session,
    training_image=image,
    role=settings.sagemaker_role_arn,
    base_job_name=bench.name,
    hyperparameters={"num_trees": "100", "num_samples_per_tree": "256", "feature_dim": str(len(spec.features))},
    compute=Compute(instance_type="ml.m5.xlarge", instance_count=1, volume_size_in_gb=30),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{settings.model_bucket}/training"),
)
channel = InputData(
    channel_name="train",
    content_type="text/csv;label_size=0",
    data_source=S3DataSource(
        s3_data_type="S3Prefix",
        s3_uri=f"{parts}/train/random_cut_forest",
        s3_data_distribution_type="ShardedByS3Key",
    ),
)
with stopped_when_left(trainer):
    # With logs=True the SDK follows CloudWatch, which this role may not read.
    trainer.train(input_data_config=[channel], logs=False)
job = trainer._latest_training_job  # noqa: SLF001 - the SDK has no public name for it
job.training_job_name

# %% [markdown]
# ## An endpoint for one cell
#
# The endpoint lives as long as the block. Everything that asks it is inside: when something fails there, or you interrupt it, the
# endpoint goes too.

# %%
with bench.deployed(image, job.model_artifacts.s3_model_artifacts) as endpoint:
    chosen_on = bench.judged(validation, score(endpoint, spec.apply(validation)))
    judged_on = bench.judged(test, score(endpoint, spec.apply(test)))
f"anomaly scores from {judged_on.score.min():.2f} to {judged_on.score.max():.2f}"

# %% [markdown]
# ## How good it is
#
# The labels are used only now, to judge. An anomaly score has no scale of its own: it can rank, and a threshold has to be chosen.

# %%
metrics = evaluate(judged_on.label, judged_on.score, judged_on.weight)
pd.Series(metrics.as_dict(), name="test part")

# %%
ranked = curves.precision_recall(judged_on.label, judged_on.score, judged_on.weight)
ranking = Ranking(recall=tuple(ranked.recall), precision=tuple(ranked.precision), prevalence=ranked.prevalence)
figures.precision_recall(PrecisionOverRecall(models={"random_cut_forest": ranking}, points={}), rows=judged_on.rows)

# %% [markdown]
# ## Three standard deviations above the mean
#
# Samples of this algorithm flag what is three standard deviations above the mean score. Here that rule is chosen on the validation
# part and paid for on the test part: each flagged transaction costs a review.

# %%
threshold = float(
    np.average(chosen_on.score, weights=chosen_on.weight)
    + 3 * np.sqrt(np.cov(chosen_on.score, aweights=chosen_on.weight))
)
figures.one_score(
    curves.histogram(judged_on.label, judged_on.score, judged_on.weight, probability=False),
    {"review": threshold},
    probability=False,
    rows=judged_on.rows,
)

# %%
costs = Costs(
    review_cost=settings.review_cost, false_block_cost=settings.false_block_cost, lost_share=settings.lost_share
)
decisions = np.where(judged_on.score >= threshold, "review", "approve")
money = {
    "threshold": threshold,
    "expected_cost": cost_of(decisions, judged_on.label, judged_on.amount, judged_on.weight, costs=costs),
    "cost_without_model": cost_of(
        all_approved(len(test)), judged_on.label, judged_on.amount, judged_on.weight, costs=costs
    ),
    **flagged(decisions, judged_on.label, judged_on.weight),
}
pd.Series(money, name="three standard deviations")

# %% [markdown]
# ### What any threshold costs
#
# The same for every threshold: reviewing what scores at least that much. Where the curve is nowhere below the line of doing nothing,
# an anomaly score alone is no reason to look at a transaction.

# %%
by_decision, weight = decision_costs(judged_on.label, judged_on.amount, judged_on.weight, costs=costs)
order = np.argsort(judged_on.score)
dearer = (by_decision["review"] - by_decision["approve"])[order][::-1].cumsum()[::-1]
nothing = by_decision["approve"].sum()
figures.review_cost(
    judged_on.score[order], (nothing + dearer) / weight.sum(), nothing=nothing / weight.sum(), rows=judged_on.rows
)

# %% [markdown]
# ## Then
#
# In the graph the anomaly score takes part only where it lowers the cost on rows other than those its threshold was chosen on
# (`fraudit_dagster.policy.choose_policy`), beside the probability of the other notebook. The endpoint is gone; the model stays in the
# bucket under `training/`, by the name of its job.
