"""Pictures that a browser can show, and the numbers of the confusion table."""

import base64
import io
import re
from datetime import UTC, datetime
from functools import cache
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread

from fraudit_dagster import curves, figures
from fraudit_dagster.costs import Costs
from fraudit_dagster.policy import NEVER, Policy
from fraudit_dagster.records import CostOfThreshold, PrecisionOverRecall, Ranking

RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random(500) < 0.1).astype("int8")
SCORES = np.clip(0.6 * LABELS + 0.4 * RANDOM.random(500), 0, 1)
AMOUNTS = RANDOM.gamma(1, 80, 500)
POLICY = Policy(0.3, 0.7, 0.8, 900.0, 4_000.0)
WITHOUT = Policy(NEVER, NEVER, None, 4_000.0, 4_000.0)


HOURS = [datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in range(24)]


@cache
def every_picture(policy: Policy) -> dict[str, figures.Picture]:
    curve = curves.precision_recall(LABELS, SCORES)
    ranked = Ranking(recall=tuple(curve.recall), precision=tuple(curve.precision), prevalence=curve.prevalence)
    points = {"review": (0.9, 0.5), "block": (0.6, 0.9)}
    spent = curves.cost_curve(LABELS, SCORES, AMOUNTS, costs=Costs())
    return {
        "precision over recall": figures.precision_recall(
            PrecisionOverRecall(models={"xgboost": ranked, "random_cut_forest": ranked}, points=points), rows="500 rows"
        ),
        "cost": figures.cost(
            CostOfThreshold(
                threshold=tuple(spent.threshold),
                review=tuple(spent.review),
                block=tuple(spent.block),
                nothing=spent.nothing,
                chosen=policy.expected_cost / 500,
            ),
            {"review": policy.review_at, "block": policy.block_at},
            rows="500 rows",
        ),
        "calibration": figures.calibration(curves.calibration(LABELS, SCORES), rows="500 rows"),
        "scores": figures.scores(
            curves.histogram(LABELS, SCORES, probability=True),
            curves.histogram(LABELS, SCORES, probability=False),
            policy,
            rows="500 rows",
        ),
        "scores of one model": figures.one_score(
            curves.histogram(LABELS, SCORES, probability=True),
            {"review": policy.review_at, "block": policy.block_at},
            probability=True,
            rows="500 rows",
        ),
        "cost of reviews": figures.review_cost(np.sort(SCORES), np.linspace(5, 1, 500), nothing=2.0, rows="500 rows"),
        "latencies": figures.latencies([1, 2, 4, 8], [100, 300, 100], {"p50": 3, "p99": 7}, of="500 rows"),
        "decisions": figures.decisions(
            HOURS,
            {"approve": [19] * 24, "review": [0] * 12 + [1] * 12, "block": [0] * 23 + [2]},
            of="500 rows",
        ),
    }


@cache
def in_a_page(name: str) -> str:
    return every_picture(POLICY)[name].svg()


PICTURES = [
    "precision over recall",
    "cost",
    "calibration",
    "scores",
    "scores of one model",
    "cost of reviews",
    "latencies",
    "decisions",
]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *(pytest.param(name, POLICY, id=name) for name in PICTURES),
        *(
            pytest.param(name, WITHOUT, id=f"{name}, no threshold")
            for name in ("cost", "scores", "scores of one model")
        ),
    ],
)
def test_a_picture_is_markdown_with_a_png_on_a_ground_of_its_own(name: str, policy: Policy) -> None:
    text = every_picture(policy)[name].markdown()
    match = re.fullmatch(r"!\[[^\]]+500 rows\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert match is not None
    picture = imread(io.BytesIO(base64.b64decode(match[1], validate=True)), format="png")
    assert (picture[0, 0] == 1).all(), "the ground is white and opaque, whatever the page's colour"
    assert picture[..., :3].min() < 0.3, "nothing was drawn"
    assert len(np.unique(picture[::3, ::3].reshape(-1, picture.shape[2]), axis=0)) > 50


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_a_page_takes_its_colours_and_its_words_are_text(name: str) -> None:
    element = in_a_page(name)
    root = ET.fromstring(element)  # noqa: S314 - our own
    words = "".join(text for node in root.iter() if node.tag.endswith("text") for text in node.itertext())
    assert re.search("[a-z]{5}", words), "axes and legends are read aloud and found by a search"
    assert root.get("aria-label", "").endswith("500 rows")
    assert "currentColor" in element
    assert not {"#000000", "#ffffff"} & set(re.findall("#[0-9a-f]{6}", element))


def test_jupyter_finds_the_picture_of_a_value() -> None:
    assert every_picture(POLICY)["cost"]._repr_png_().startswith(b"\x89PNG")


def test_pictures_in_one_page_have_no_id_in_common() -> None:
    ids = [re.findall(r' id="([^"]+)"', in_a_page(name)) for name in PICTURES]
    flat = [name for names in ids for name in names]
    assert len(flat) == len(set(flat))


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
