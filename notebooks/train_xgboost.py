# %% [markdown]
# # XGBoost: the probability that a transaction is fraud
#
# Trains a supervised model on labelled transactions, deploys it at an endpoint of this notebook's own, asks it about transactions
# that it has not seen, and shows what its answers are worth.
#
# - It reads the parts that the graph has made (`dataset/train`, `validation`, `test`) by the same data contract, and judges with the
#   same code. What it finds can be compared with `model/evaluation` in Dagster.
# - **Nothing here serves.** The endpoint's name starts with `<solution prefix>-notebook-`, it is in no manifest, and it is gone when
#   its cell has ended. To bring a model into service, change the configuration of `model/xgboost` in Dagster and materialize it.
# - It costs a training job (minutes of `ml.m5.xlarge`) and an endpoint (minutes of `ml.t2.medium`).

# %%
import pandas as pd
from sagemaker.core import image_uris
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, OutputDataConfig, S3DataSource, StoppingCondition
from workbench import Workbench, score, stopped_when_left

from fraudit_dagster import curves, figures, policy
from fraudit_dagster.costs import Costs, all_approved, cost_of, flagged
from fraudit_dagster.evaluation import calibration_problem, confusion, evaluate, reliability
from fraudit_dagster.records import CostOfThreshold, PrecisionOverRecall, Ranking

bench = Workbench.open("xgb")
contract, settings = bench.contract, bench.settings
spec = contract.models.xgboost

# %% [markdown]
# ## The transactions
#
# The graph divides the table once, by time: the oldest rows train, later ones choose the thresholds, the last ones judge. A row that
# a model has seen says nothing about how good it is.

# %%
parts = bench.newest_parts()
validation, test = (bench.read_part(parts, part) for part in ("validation", "test"))
pd.DataFrame(
    {
        name: {"rows": len(table), "frauds": int(table[contract.label].sum()), "share": table[contract.label].mean()}
        for name, table in {"validation": validation, "test": test}.items()
    }
).T

# %% [markdown]
# ## Training
#
# SageMaker's own container, given the CSV files that the graph has written for it. The rows are not resampled: a model that was shown
# as many frauds as good transactions gives a score that is no probability, and the thresholds below want one. Training stops when the
# average precision (`aucpr`) on the validation part has not risen for 50 rounds.

# %%
image = image_uris.retrieve("xgboost", settings.aws_region, version="3.0-5")
hyperparameters = {
    "objective": "binary:logistic",
    "eval_metric": "aucpr",
    "tree_method": "hist",
    "num_round": "500",
    "early_stopping_rounds": "50",
    "max_depth": "5",
    "eta": "0.1",
    "subsample": "0.8",
    "colsample_bytree": "0.8",
    "min_child_weight": "5.0",
    "seed": "0",
}
if contract.weight is not None and contract.weight.column in validation.columns:
    hyperparameters["csv_weights"] = "1"  # the second column of the files

trainer = ModelTrainer(
    sagemaker_session=bench.session,
    training_image=image,
    role=settings.sagemaker_role_arn,
    base_job_name=bench.name,
    hyperparameters=hyperparameters,
    compute=Compute(instance_type="ml.m5.xlarge", instance_count=1, volume_size_in_gb=30),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{settings.model_bucket}/training"),
)
channels = [
    InputData(
        channel_name=part,
        content_type="text/csv",
        data_source=S3DataSource(
            s3_data_type="S3Prefix",
            s3_uri=f"{parts}/{part}/xgboost",
            s3_data_distribution_type="FullyReplicated",
        ),
    )
    for part in ("train", "validation")
]
with stopped_when_left(trainer):
    # With logs=True the SDK follows CloudWatch, which this role may not read.
    trainer.train(input_data_config=channels, logs=False)
job = trainer._latest_training_job  # noqa: SLF001 - the SDK has no public name for it
pd.Series({item.metric_name: item.value for item in job.final_metric_data_list}, name=job.training_job_name)

# %% [markdown]
# ## An endpoint for one cell
#
# The endpoint lives as long as the block. Everything that asks it is inside: when something fails there, or you interrupt it, the
# endpoint goes too. The last line asks about a single transaction, as the prediction API does.

# %%
with bench.deployed(image, job.model_artifacts.s3_model_artifacts) as endpoint:
    chosen_on = bench.judged(validation, score(endpoint, spec.apply(validation)))
    judged_on = bench.judged(test, score(endpoint, spec.apply(test)))
    one = score(endpoint, spec.apply(test.head(1)))
f"the first test row: {one[0]:.2%} fraud"

# %% [markdown]
# ## From scores to decisions
#
# The validation part says whether the scores have to be bent to be probabilities (isotonic calibration, kept only where it lowers the
# log loss on rows that it was not fitted on), and where a review, or a block, costs least: `fraudit_dagster.policy`.

# %%
costs = Costs(
    review_cost=settings.review_cost, false_block_cost=settings.false_block_cost, lost_share=settings.lost_share
)
calibration = policy.fit_calibration(chosen_on.label, chosen_on.score, chosen_on.weight)
chosen_proba = policy.apply_calibration(calibration, chosen_on.score)
proba = policy.apply_calibration(calibration, judged_on.score)
# The anomaly detector has its own notebook: here it takes no part, and is given a constant.
nothing = chosen_proba * 0
rule = policy.choose_policy(
    chosen_on.label, chosen_proba, nothing, chosen_on.amount, chosen_on.weight, costs=costs
).without_anomaly_score()
{"calibration": calibration["kind"], **rule.as_dict()}

# %% [markdown]
# ## How good it is
#
# On the test part, on which nothing was chosen. *Average precision* is the one to compare by: with so few frauds, ROC-AUC flatters
# every model. The share of frauds (`prevalence`) is what a score that knows nothing reaches.

# %%
metrics = evaluate(judged_on.label, proba, judged_on.weight)
pd.Series(metrics.as_dict(), name="test part")

# %%
decisions = policy.decide(proba, proba * 0, rule)
money = {
    "expected_cost": cost_of(decisions, judged_on.label, judged_on.amount, judged_on.weight, costs=costs),
    "cost_without_model": cost_of(
        all_approved(len(test)), judged_on.label, judged_on.amount, judged_on.weight, costs=costs
    ),
    **flagged(decisions, judged_on.label, judged_on.weight),
}
pd.Series(money, name="decisions")

# %% [markdown]
# ### Precision over recall
#
# How many of the flagged transactions are fraud, when so many of the frauds are to be flagged. The points are the two thresholds.

# %%
ranked = curves.precision_recall(judged_on.label, proba, judged_on.weight)
points = {
    name: confusion(judged_on.label, proba, judged_on.weight, threshold=at).recall_and_precision
    for name, at in (("review", rule.review_at), ("block", rule.block_at))
    if at < policy.NEVER
}
ranking = Ranking(recall=tuple(ranked.recall), precision=tuple(ranked.precision), prevalence=ranked.prevalence)
figures.precision_recall(PrecisionOverRecall(models={"xgboost": ranking}, points=points), rows=judged_on.rows)

# %% [markdown]
# ### What a threshold costs
#
# On the validation part, where the thresholds were chosen. To the left everything is reviewed or blocked, to the right nothing.

# %%
spent = curves.cost_curve(chosen_on.label, chosen_proba, chosen_on.amount, chosen_on.weight, costs=costs)
figures.cost(
    CostOfThreshold(
        threshold=tuple(spent.threshold),
        review=tuple(spent.review),
        block=tuple(spent.block),
        nothing=spent.nothing,
        chosen=rule.expected_cost / float(chosen_on.weight.sum()),
    ),
    {"review": rule.review_at, "block": rule.block_at},
    rows=chosen_on.rows,
)

# %% [markdown]
# ### The scores themselves
#
# Good transactions and frauds by score, on a scale on which one transaction can still be seen.

# %%
figures.one_score(
    curves.histogram(judged_on.label, proba, judged_on.weight, probability=True),
    {"review": rule.review_at, "block": rule.block_at},
    probability=True,
    rows=judged_on.rows,
)

# %% [markdown]
# ### Whether a probability is one
#
# On the diagonal, of the transactions that were given 10 %, one in ten is fraud. A gate in the graph refuses what is far from it.

# %%
found = reliability(judged_on.label, proba, judged_on.weight).as_dict()
problem = calibration_problem(found) or "none"
figures.calibration(curves.calibration(judged_on.label, proba, judged_on.weight), rows=judged_on.rows)

# %% [markdown]
# ## Then
#
# The endpoint is gone; the model stays in the bucket under `training/`, by the name of its job. Better than what serves? Put the
# hyperparameters into the launchpad of `model/xgboost` in Dagster: the graph trains it anew, compares it with the champion on the same
# rows, and the gate decides.
