"""The Dagster UI, as the definitions and a recorded evaluation make it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pytest
from playwright.sync_api import expect

from fraudit_dagster import curves, figures
from tests.browser.conftest import PATIENCE_MS, Open, served
from tests.conftest import free_port

ASSETS = ("transactions", "train", "xgboost", "evaluation", "registration", "manifest", "fraud_predictions", "archive")


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI of an instance that knows of one evaluation, with pictures as the graph draws them."""
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.9])
    picture = figures.calibration(curves.calibration(labels, scores), rows="4 test rows")
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "report": dg.MetadataValue.md(picture.markdown()),
        "xgboost_average_precision": dg.MetadataValue.float(0.8125),
    }
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["model", "evaluation"], metadata=metadata))
    port = free_port()
    with served(
        ["dagster_webserver", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)],
        health=f"http://127.0.0.1:{port}/server_info",
        environment={"DAGSTER_HOME": str(home)},
        log=home / "log",
    ):
        yield f"http://127.0.0.1:{port}"


def test_it_shows_the_graph(dagster: str, visit: Open) -> None:
    page = visit(f"{dagster}/asset-groups", size=(2200, 1000))
    page.get_by_text("raw").first.wait_for()
    page.keyboard.press("Alt+e")  # opens all groups
    for asset in ASSETS:
        expect(page.get_by_text(asset, exact=True).first).to_be_visible(timeout=PATIENCE_MS)


def test_it_shows_an_evaluation_with_its_picture(dagster: str, visit: Open) -> None:
    page = visit(f"{dagster}/assets/model/evaluation")
    expect(page.get_by_text("0.8125").first).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.locator("img[src^='data:image/png']").first
    expect(picture).to_be_visible(timeout=PATIENCE_MS)
    assert picture.evaluate("picture => picture.naturalWidth") > 0
