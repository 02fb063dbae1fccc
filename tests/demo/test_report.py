"""A demo's page shows what the demo found, whole, on any screen, without a network, and says what is synthetic."""

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from fraudit_dagster.cli.demo_report import closing_table, page

NUMBERS = {
    "data": ["284,807", "492"],
    "models": ["0.812", "0.971", "0.134", "0.946"],
    "policy": ["0.0337", "0.8", "2,604", "6,180", "58%"],
    "API": ["1,017", "3 errors", "11.27", "45.81"],
    "stream": ["1,014", "1,013", "4 twice", "7 in quarantine", "1,922 ms"],
    "days": ["2026-11-23", "506", "21", "2026-11-24", "508", "19"],
    "times": ["setup 12 s", "services 18 s", "graph 69 s", "traffic 8 s", "daily 7 s", "116 s"],
    "origin": ["2026-11-25 12:34 UTC", "Linux x86_64, 2 cores", "made at 2026-11-24 08:00 UTC"],
}
WITHOUT_END = {"meta", "br", "img", "hr", "link"}


class Document(HTMLParser):
    """A reader that keeps what stands where, and refuses a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [value or "" for name, value in attributes if name in {"src", "href"}]
        if tag not in WITHOUT_END:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    """The page of a demo on synthetic data."""
    return page(report)


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    return Document(html)


@pytest.fixture(scope="module")
def silent(report: dict[str, Any]) -> Document:
    """The page of a demo on a file of one's own, where no request was answered."""
    api = {**report["api"], "latency_edges_ms": [], "latency_counts": []}
    dataset = {**report["dataset"], "source": "/data/<b>&amp;.csv", "synthetic": False}
    return Document(page({**report, "api": api, "dataset": dataset, "hours": [], "used_again": []}))


@pytest.mark.parametrize("part", NUMBERS)
def test_every_number_of_the_report_stands_in_the_page(document: Document, part: str) -> None:
    words = " ".join(document.text)
    assert [number for number in NUMBERS[part] if number not in words] == []


def test_it_has_four_pictures_each_with_a_title(document: Document) -> None:
    assert document.tags["svg"] == document.tags["figcaption"] == 4
    words = " ".join(document.text)
    assert "Precision over recall, test part" in words
    assert "Cost over the threshold, validation part" in words


def test_it_needs_no_network_and_no_script(document: Document) -> None:
    assert document.tags["script"] == document.tags["link"] == 0
    assert [link for link in document.links if not link.startswith("#")] == []


def test_its_colours_are_those_of_the_readers_screen(html: str) -> None:
    light, dark = re.findall(r":root {([^}]*)}", html)
    names = set(re.findall(r"(--\w+):", light))
    assert names == set(re.findall(r"(--\w+):", dark))
    assert names >= set(re.findall(r"var\((--\w+)\)", html))
    assert "prefers-color-scheme: dark" in html


def test_synthetic_data_is_called_synthetic_and_no_other(document: Document, silent: Document) -> None:
    assert "synthetic data" in document.text
    assert "synthetic" not in " ".join(silent.text)


def test_a_run_without_an_answer_has_no_picture_of_latencies_and_of_hours(silent: Document) -> None:
    assert silent.tags["svg"] == 2


def test_the_name_of_a_file_is_text(silent: Document) -> None:
    assert "/data/<b>&amp;.csv" in " ".join(silent.text)


def test_the_terminal_has_the_same_rows(report: dict[str, Any]) -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(closing_table(report))
    assert "fraudit demo (synthetic data)" in shown.get()
    for words in ("1,014 sent, 1,013 stored, 4 twice", "average precision 0.812", "graph 69 s"):
        assert words in shown.get()
