"""Pictures that a browser can show, and the numbers of the confusion table."""

import base64
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.image import imread

from fraudit_dagster import figures
from fraudit_dagster.evaluation import Curves, curves


@pytest.mark.parametrize("draw", [figures.precision_recall, figures.calibration, figures.score_histogram])
def test_a_picture_is_markdown_with_a_png_that_decodes(draw: Callable[[Curves], str]) -> None:
    random = np.random.default_rng(0)
    labels = (random.random(500) < 0.1).astype("int8")
    scores = np.clip(0.6 * labels + 0.4 * random.random(500), 0, 1)
    text = draw(curves(labels, scores, np.ones(500)))
    match = re.fullmatch(r"!\[[^\]]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert match is not None
    picture = imread(io.BytesIO(base64.b64decode(match[1], validate=True)), format="png")
    assert picture.shape[:2] == (340, 500)
    assert picture[..., :3].min() < picture[..., :3].max(), "nothing was drawn"


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
