"""Which objects are parts of the table, and when they ask for a run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from fraudit_dagster.arrivals import Decision, content_of, decide, landing_uri, table_parts

PREFIX = landing_uri("data", "landing", "creditcard")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    """A listed object, by its name below the prefix, what it holds and its age."""

    name: str
    holds: str = "rows"
    age_s: float = 3600.0

    @property
    def uri(self) -> str:
        return f"{PREFIX}{self.name}"

    @property
    def size(self) -> int:
        return len(self.holds)

    @property
    def etag(self) -> str:
        return f"hash of {self.holds}"

    @property
    def modified(self) -> datetime:
        return NOW - timedelta(seconds=self.age_s)


def look(*items: Item, last_content: str | None = None) -> Decision:
    return decide(items, prefix=PREFIX, now=NOW, settle_s=60, last_content=last_content)


def test_the_prefix_is_named_after_the_contract() -> None:
    assert PREFIX == "s3://data/landing/creditcard/"


def test_new_content_asks_for_a_run_and_only_once() -> None:
    first = look(Item("a.csv"))
    assert first.content is not None
    assert first.reason == f"new content: 1 file below {PREFIX}"
    again = look(Item("a.csv"), last_content=first.content)
    assert again.content is None
    assert again.reason.startswith("nothing new: a run was already asked for with this content, 1 file")


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([Item("a.csv", age_s=100)], id="delivered again"),
        pytest.param([Item("b.csv")], id="under another name"),
        pytest.param([Item("a.csv"), Item("b.csv")], id="twice"),
        pytest.param([Item("2026/11/a.csv")], id="in a folder"),
        pytest.param([Item("a.csv"), Item("b.csv.part", holds="ro")], id="beside something unfinished"),
    ],
)
def test_the_same_bytes_ask_for_nothing(later: list[Item]) -> None:
    assert look(*later, last_content=look(Item("a.csv")).content).content is None


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([Item("a.csv", holds="other rows")], id="changed"),
        pytest.param([Item("a.csv"), Item("b.csv", holds="more rows")], id="one more"),
    ],
)
def test_other_bytes_ask_for_a_run(later: list[Item]) -> None:
    first = look(Item("a.csv")).content
    assert look(*later, last_content=first).content not in {None, first}


def test_a_table_without_one_of_its_parts_is_another_table() -> None:
    a, b = Item("a.csv", holds="a"), Item("b.csv", holds="b")
    assert look(a, last_content=look(a, b).content).content == look(a).content


def test_the_order_of_parts_does_not_matter_but_their_size_does() -> None:
    a, b = Item("a.csv", holds="a"), Item("b.csv", holds="b")
    assert content_of([a, b]) == content_of([b, a]) == content_of([a, b, a])
    assert content_of([a]) != content_of([b])


def test_a_delivery_under_way_is_waited_for() -> None:
    waiting = look(Item("a.csv"), Item("b.csv", holds="b", age_s=59))
    assert waiting == Decision(None, "still arriving: the newest object is 59 s old, waiting for 60 s")
    assert look(Item("a.csv"), Item("b.csv", holds="b", age_s=60)).content is not None


def test_an_unfinished_file_says_that_a_delivery_is_under_way() -> None:
    waiting = look(Item("a.csv"), Item("b.csv.part", age_s=1))
    assert waiting.content is None
    assert "still arriving" in waiting.reason
    assert "unfinished or hidden: b.csv.part" in waiting.reason


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (Item("_SUCCESS"), "unfinished or hidden"),
        (Item(".a.csv.swp"), "unfinished or hidden"),
        (Item("_temporary/0/a.csv"), "unfinished or hidden"),
        (Item("a.csv.part"), "unfinished or hidden"),
        (Item("a.csv.tmp"), "unfinished or hidden"),
        (Item("a.parquet.crc"), "unfinished or hidden"),
        (Item("a.csv", holds=""), "empty"),
        (Item("a.xlsx"), "not .csv, .csv.gz, .zip, .parquet"),
    ],
)
def test_what_is_no_part_is_named(item: Item, why: str) -> None:
    assert look(item).content is None
    assert look(item).reason == f"no table below {PREFIX}; passed over, {why}: {item.name}"
    beside = look(item, Item("good.csv", holds="good"))
    assert beside.content == look(Item("good.csv", holds="good")).content
    assert item.name in beside.reason


def test_an_empty_folder_is_nothing_to_talk_about() -> None:
    assert look(Item("", holds=""), Item("old/", holds="")).reason == f"no table below {PREFIX}"
    assert look().reason == f"no table below {PREFIX}"


def test_a_reason_stays_short() -> None:
    reason = look(*(Item(f"{number}.txt") for number in range(1000))).reason
    assert reason.endswith("not .csv, .csv.gz, .zip, .parquet: 0.txt, 1.txt, 2.txt and 997 more")


def test_parts_come_in_the_order_of_their_keys_and_each_content_once() -> None:
    items = [Item("c.csv", holds="c"), Item("b.CSV", holds="a"), Item("a.csv.gz", holds="a"), Item("_x.csv")]
    assert [part.name for part in table_parts(items, prefix=PREFIX)] == ["a.csv.gz", "c.csv"]
