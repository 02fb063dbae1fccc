"""The dashboard in a browser: every page, filters, the review queue by mouse and by keys, on a phone and in the dark."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify_record
from playwright.sync_api import expect

from fraudit_dagster.cli.world import api_environment
from fraudit_dagster.settings import load_settings
from resources.aws import client
from tests.api.conftest import start_server
from tests.browser.conftest import PATIENCE_MS, PHONE, Open, served
from tests.conftest import free_port, unique
from tests.dashboard.conftest import evaluate, judge, make_bucket, migrated, new_place, serve, stream
from tests.operate.conftest import REGION, said
from tests.repository.test_schemas import example_manifest
from tests.warehouse.conftest import Place, store

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

__all__ = ["migrated", "new_place"]

PAGES = {
    "Live traffic": "Newest flagged",
    "Review queue": "Why it was flagged",
    "Model health": "Drift of inputs and scores",
    "System health": "Quarantine",
}
"""The last thing on each page, or nearly so."""
TABS = 60


@dataclass(frozen=True)
class World:
    """The dashboard with all that it stands on."""

    url: str
    place: Place
    stream: str

    def events_of(self, transaction_id: str) -> list[bytes]:
        """What Kinesis got about a transaction."""
        kinesis = client("kinesis", region=REGION)
        found: list[bytes] = []
        for shard in kinesis.list_shards(StreamName=self.stream)["Shards"]:
            iterator = kinesis.get_shard_iterator(
                StreamName=self.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records: Any = kinesis.get_records(ShardIterator=iterator)["Records"]
            found += [record["Data"] for record in records if transaction_id.encode() in record["Data"]]
        return found


@pytest.fixture(scope="module")
def world(migrated: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The API and the dashboard on the embedded AWS, with transactions of the last minutes."""
    for number, decision in enumerate(["block", "review", "review"], start=1):
        store(migrated, f"values ('flagged-{number}')", f"now() - interval '{number} minutes'", decision=decision)
    store(migrated, "select 'web-' || n from generate_series(1, 90) as n", "now() - interval '5 minutes'")
    store(migrated, "select 'app-' || n from generate_series(1, 7) as n", "now() - interval '5 minutes'")
    migrated.run("update fraud.fraud_predictions set source = 'App' where transaction_id like 'app-%'")
    judge(migrated)
    stream(migrated)
    kinesis_stream, secret, manifest = unique("events"), unique("keys"), example_manifest()
    client("kinesis", region=REGION).create_stream(StreamName=kinesis_stream, ShardCount=2)
    client("secretsmanager", region=REGION).create_secret(Name=secret, SecretString='{"keys": []}')
    folder, port = tmp_path_factory.mktemp("dashboard"), free_port()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("KINESIS_STREAM_NAME", kinesis_stream)
        patch.setenv("FRAUDIT_API_KEYS_SECRET", secret)
        patch.setenv("SPARK_STREAMING_BUCKET", make_bucket(unique("stream")))
        patch.setenv("MODEL_BUCKET", make_bucket(unique("models")))
        patch.setenv("FRAUDIT_API_KEY", said("keys", "create", "--label", "dashboard"))
        serve(os.environ["MODEL_BUCKET"], manifest)
        evaluate(os.environ["MODEL_BUCKET"], manifest)
        api, _ = start_server(stack, {**os.environ, **api_environment(load_settings())}, folder / "api.log")
        stack.enter_context(
            served(
                ["dashboard.server", "--port", str(port)],
                health=f"http://127.0.0.1:{port}/_stcore/health",
                environment={"CHALICE_API_URL": api},
                log=folder / "dashboard.log",
            )
        )
        yield World(f"http://127.0.0.1:{port}", migrated, kinesis_stream)


def go_to(page: "Page", name: str) -> None:
    """Choose a page in the navigation, which a narrow screen hides, and wait until it is drawn."""
    page.get_by_role("heading", level=1).wait_for()
    if page.get_by_test_id("stExpandSidebarButton").is_visible():
        page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_test_id("stSidebarNav").get_by_text(name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=PATIENCE_MS)
    is_drawn(page, name)


def is_drawn(page: "Page", name: str) -> None:
    """Wait until a page is there to its end, and look for what it should not have."""
    expect(page.get_by_role("heading", name=PAGES[name], exact=True)).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def number(page: "Page", label: str) -> "Locator":
    """The value of a metric."""
    metric = page.get_by_test_id("stMetric").filter(has=page.get_by_text(label, exact=True))
    return metric.get_by_test_id("stMetricValue")


def test_every_page_is_drawn(world: World, visit: Open) -> None:
    page = visit(world.url)
    for name in PAGES:
        go_to(page, name)
        if name != "Review queue":
            expect(page.locator("[data-testid=stVegaLiteChart] svg").first).to_be_visible(timeout=PATIENCE_MS)


def test_a_filter_changes_the_numbers(world: World, visit: Open) -> None:
    page = visit(world.url)
    expect(number(page, "Transactions")).to_have_text("100", timeout=PATIENCE_MS)
    page.get_by_role("combobox", name="Source").click()
    page.get_by_role("option", name="App").click()
    expect(number(page, "Transactions")).to_have_text("7", timeout=PATIENCE_MS)
    assert "source=App" in page.url


def test_what_is_marked_is_sent_once_and_arrives(world: World, visit: Open) -> None:
    """However fast the button is pushed; then the event is stored as the stream stores it.

    An API that takes its time is told the same word again: there may be several events, of one moment.
    """
    page = visit(world.url)
    go_to(page, "Review queue")
    expect(number(page, "Waiting")).to_have_text("3", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Fraud", exact=True).dblclick()
    expect(page.get_by_text("flagged-1 is marked as fraud")).to_be_visible(timeout=PATIENCE_MS)
    expect(number(page, "Waiting")).to_have_text("2", timeout=PATIENCE_MS)
    expect(number(page, "Found to be fraud")).to_have_text("1", timeout=PATIENCE_MS)
    expect(page.get_by_text("1 of them on their way")).to_be_visible(timeout=PATIENCE_MS)

    events = world.events_of("flagged-1")
    assert len({json.loads(event)["labelled_at"] for event in events}) == 1
    arrived_at = world.place.run("select now()")[0][0]
    records = [classify_record("shard", "1", arrived_at, events[0])]
    assert Sink(world.place.database()).write(records, query_id=str(uuid.uuid4()), batch_id=0).labels == 1
    assert world.place.run("select label, source from fraud.fraud_labels") == [(1, "analyst")]
    expect(page.get_by_text("on their way")).to_have_count(0, timeout=PATIENCE_MS)
    expect(number(page, "Found to be fraud")).to_have_text("1")


def test_keys_are_enough(world: World, visit: Open) -> None:
    page = visit(world.url)
    go_to(page, "Review queue")
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Not fraud":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_text("is marked as not fraud")).to_be_visible(timeout=PATIENCE_MS)
    expect(number(page, "Found to be good")).to_have_text("1", timeout=PATIENCE_MS)


def test_a_phone_scrolls_down_only(world: World, visit: Open) -> None:
    page = visit(world.url, size=PHONE)
    for name in PAGES:
        go_to(page, name)
        wide = page.evaluate(
            "[document.scrollingElement, document.querySelector('[data-testid=stMain]')].map(e => e.scrollWidth - e.clientWidth)"
        )
        assert wide == [0, 0], name


@pytest.mark.parametrize("is_dark", [False, True])
def test_it_is_light_or_dark_as_the_browser_wishes(world: World, visit: Open, *, is_dark: bool) -> None:
    page = visit(world.url, is_dark=is_dark)
    is_drawn(page, "Live traffic")
    ground = page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    brightness = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")[:3])
    assert (brightness < 3 * 128) is is_dark
