"""The review queue: an analyst sees why, says what it is, takes it back, and the numbers follow."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import streamlit as st
import uvicorn
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from tests.conftest import free_port
from tests.dashboard.conftest import Visit, metrics, told
from tests.simulation.stand_in import Api, error
from tests.warehouse.conftest import Place, store

REASONS = [{"feature": "V14", "value": -9.1, "weight": 0.41}, {"feature": "V4", "value": 5.25, "weight": 0.2}]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A prediction API over HTTP, which remembers what it was told."""
    app, port = Api(), free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    monkeypatch.setenv("CHALICE_API_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("FRAUDIT_API_KEY", "the key")
    thread.start()
    yield app
    server.should_exit = True
    thread.join()


@pytest.fixture
def queue(place: Place) -> Place:
    """Two transactions that wait, the newer one with reasons; one that was judged, and one that was approved."""
    store(place, "values ('newer')", "now() - interval '1 minute'", decision="block")
    store(place, "values ('older')", "now() - interval '3 minutes'", decision="review")
    store(place, "values ('judged')", "now() - interval '5 minutes'", decision="review")
    store(place, "values ('approved')", "now() - interval '2 minutes'")
    place.run(
        "update fraud.fraud_predictions set reasons = %s, user_id = 'ann', city = 'Delft' where transaction_id = 'newer'",
        (json.dumps(REASONS),),
    )
    label(place, "judged", 0, "analyst")
    label(place, "newer", 1, "customer")
    return place


def label(place: Place, transaction_id: str, value: int, source: str) -> None:
    place.run("insert into fraud.fraud_labels values (%s, %s, %s, now())", (transaction_id, source, value))


def newest(page: AppTest) -> Selectbox:
    """The choice among the transactions that are shown."""
    (choice,) = (box for box in page.selectbox if box.label == "The newest 50")
    return choice


def button(transaction_id: str, verdict: str) -> str:
    return f"{transaction_id} is {verdict}"


@pytest.mark.usefixtures("queue", "api")
def test_what_waits_is_shown_with_its_reasons(visit: Visit) -> None:
    page = visit("review")
    assert not page.exception
    assert metrics(page) == {
        "Waiting": "2",
        "Amount waiting": "21",
        "Found to be fraud": "0",
        "Found to be good": "1",
    }
    choice = newest(page)
    assert choice.value == "newer"
    assert len(choice.options) == 2
    facts, reasons = page.dataframe[0].value["value"], page.dataframe[1].value
    assert (facts["customer"], facts["city"], facts["others say"]) == ("ann", "Delft, NL", "customer: fraud")
    assert reasons.to_dict("records") == REASONS
    assert any("personal data" in caption.value for caption in page.caption)
    assert not any("ip" in name for name in facts.index)


@pytest.mark.usefixtures("queue")
def test_what_is_marked_is_sent_once_leaves_the_queue_and_counts(visit: Visit, api: Api, place: Place) -> None:
    page = visit("review")
    page.button(key=button("newer", "fraud")).click().run()
    assert "`newer` is marked as fraud" in told(page)
    (sent,) = api.labels
    assert (sent["transaction_id"], sent["label"], sent["source"]) == ("newer", 1, "analyst")
    assert api.keys == {b"the key"}
    assert metrics(page)["Waiting"] == "1"
    assert metrics(page)["Found to be fraud"] == "1"
    assert any("on their way" in caption.value for caption in page.caption)

    label(place, "newer", 1, "analyst")  # as the stream stores it a moment later
    page = visit("review")
    assert metrics(page)["Waiting"] == "1"
    assert metrics(page)["Found to be fraud"] == "1"
    page.button(key=button("older", "not fraud")).click().run()
    assert [(sent["transaction_id"], sent["label"]) for sent in api.labels] == [("newer", 1), ("older", 0)]
    assert "Nothing waits" in told(page)


@pytest.mark.usefixtures("queue")
def test_a_word_can_be_taken_back(visit: Visit, api: Api, place: Place) -> None:
    page = visit("review")
    page.radio(key="which").set_value("Judged").run()
    assert newest(page).value == "judged"
    assert page.dataframe[0].value["value"]["an analyst says"] == "not fraud"
    assert page.button(key=button("judged", "not fraud")).disabled
    page.button(key=button("judged", "fraud")).click().run()
    (sent,) = api.labels
    assert (sent["transaction_id"], sent["label"]) == ("judged", 1)
    assert (metrics(page)["Found to be fraud"], metrics(page)["Found to be good"]) == ("1", "0")
    assert page.dataframe[0].value["value"]["an analyst says"] == "fraud"
    assert any("on their way" in caption.value for caption in page.caption)

    # The stream stores it, and a moment later somebody else takes it back.
    stored = "update fraud.fraud_labels set label = %s, labelled_at = %s where transaction_id = 'judged'"
    place.run(stored, (1, sent["labelled_at"]))
    st.cache_data.clear()
    page.run()
    assert not any("on their way" in caption.value for caption in page.caption)
    assert metrics(page)["Found to be fraud"] == "1"
    place.run(stored, (0, datetime.now(UTC)))
    st.cache_data.clear()
    page.run()
    assert metrics(page)["Found to be good"] == "1"
    assert page.dataframe[0].value["value"]["an analyst says"] == "not fraud"


@pytest.mark.usefixtures("queue")
def test_what_the_api_refuses_stays_in_the_queue(visit: Visit, api: Api) -> None:
    api.replies["/feedback"] = [(400, error("invalid_field", field="label"))]
    page = visit("review")
    page.button(key=button("newer", "fraud")).click().run()
    assert "`newer` is not marked" in told(page)
    assert "invalid_field" in told(page)
    assert metrics(page)["Waiting"] == "2"
    del api.replies["/feedback"]
    page.button(key=button("newer", "fraud")).click().run()
    assert metrics(page)["Waiting"] == "1"


@pytest.mark.usefixtures("queue")
def test_without_the_api_nothing_is_marked(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHALICE_API_URL", "http://127.0.0.1:1")
    page = visit("review")
    page.button(key=button("newer", "fraud")).click().run()
    assert "cannot reach the prediction API" in told(page)
    assert metrics(page)["Waiting"] == "2"


def test_an_empty_queue_says_so(visit: Visit) -> None:
    assert "Nothing waits for a review" in told(visit("review"))
