"""System health: each part's signals, also of a dead one; what the stream stored, and what it could not."""

import pytest

from tests.dashboard.conftest import Visit, metrics, stream, told
from tests.warehouse.conftest import Place

SIGNALS = 10


@pytest.fixture(autouse=True)
def dead_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers for the API."""
    monkeypatch.setenv("CHALICE_API_URL", "http://127.0.0.1:1")


@pytest.fixture
def streamed(place: Place) -> Place:
    """Three batches of the last minutes, and two events that were none."""
    stream(place)
    return place


@pytest.mark.usefixtures("streamed")
def test_it_shows_what_the_stream_stored(visit: Visit) -> None:
    page = visit("system", range="1 hour")
    assert not page.exception
    found = metrics(page)
    assert (found["Batches"], found["Rows per batch"], found["Longest lag"]) == ("3", "10.0", "4.5 s")
    assert (found["Transactions stored"], found["Labels stored"], found["Duplicates"], found["Quarantined"]) == (
        "18",
        "6",
        "3",
        "3",
    )
    assert page.dataframe[0].value[["reason", "events"]].to_numpy().tolist() == [["conflict", 1]]


def test_what_is_dead_is_a_signal(visit: Visit) -> None:
    page = visit("system")
    assert not page.exception
    assert len(page.text) == SIGNALS
    says = [text.value for text in page.text]
    assert any("cannot reach the prediction API" in line for line in says)
    assert any("cannot describe stream" in line for line in says)
    assert "The stream stored nothing" in told(page)


def test_without_the_warehouse_the_other_signals_stay(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "1")
    page = visit("system")
    assert not page.exception
    assert len(page.error) == 1
    assert any("cannot be told: cannot reach the warehouse" in text.value for text in page.text)
    assert len(page.text) == SIGNALS
