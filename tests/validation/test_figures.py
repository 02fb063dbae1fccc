"""Pictures that a browser can show, and the numbers of the confusion table."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from fraudit_dagster import curves, figures
from fraudit_dagster.costs import Costs
from fraudit_dagster.policy import NEVER, Policy

RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random(500) < 0.1).astype("int8")
SCORES = np.clip(0.6 * LABELS + 0.4 * RANDOM.random(500), 0, 1)
AMOUNTS = RANDOM.gamma(1, 80, 500)
POLICY = Policy(0.3, 0.7, 0.8, 900.0, 4_000.0)
WITHOUT = Policy(NEVER, NEVER, None, 4_000.0, 4_000.0)


def every_picture(policy: Policy) -> dict[str, str]:
    ranked = curves.precision_recall(LABELS, SCORES)
    return {
        "precision over recall": figures.precision_recall(
            {"xgboost": ranked, "random_cut_forest": ranked},
            {"review": (0.9, 0.5), "block": (0.6, 0.9)},
            rows="500 rows",
        ),
        "cost": figures.cost(
            curves.cost_curve(LABELS, SCORES, AMOUNTS, costs=Costs()), policy, transactions=500, rows="500 rows"
        ),
        "calibration": figures.calibration(curves.calibration(LABELS, SCORES), rows="500 rows"),
        "scores": figures.scores(
            curves.histogram(LABELS, SCORES, probability=True),
            curves.histogram(LABELS, SCORES, probability=False),
            policy,
            rows="500 rows",
        ),
    }


@pytest.mark.parametrize("policy", [POLICY, WITHOUT], ids=["every threshold", "no threshold"])
@pytest.mark.parametrize("name", ["precision over recall", "cost", "calibration", "scores"])
def test_a_picture_is_markdown_with_a_png_on_a_ground_of_its_own(name: str, policy: Policy) -> None:
    text = every_picture(policy)[name]
    match = re.fullmatch(r"!\[[^\]]+500 rows\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert match is not None
    picture = imread(io.BytesIO(base64.b64decode(match[1], validate=True)), format="png")
    assert (picture[0, 0] == 1).all(), "the ground is white and opaque, whatever the page's colour"
    assert picture[..., :3].min() < 0.3, "nothing was drawn"
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


def test_the_confusion_table_counts_weights_by_label_and_decision() -> None:
    decisions = np.array(["approve", "approve", "review", "block", "block", "approve"])
    labels = np.array([0, 0, 0, 1, 1, 1], dtype="int8")
    weights = np.array([1000.0, 500.0, 10.0, 1.0, 2.0, 4.0])
    assert figures.confusion_table(decisions, labels, weights).splitlines() == [
        "| | approve | review | block |",
        "|---|---:|---:|---:|",
        "| good | 1,500 | 10 | 0 |",
        "| fraud | 4 | 0 | 3 |",
    ]
