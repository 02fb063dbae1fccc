"""The benchmarks measure what they say: statistics, reports, the load, a tiny forest. How fast anything is, no test says."""

import http.server
import json
import math
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fraudit_stream.events import Kind, parse_event
from rich.console import Console

from benchmarks import daily, data, forest, load, report
from benchmarks.measure import Series, growth_exponent, interleaved, percentile, spearman
from benchmarks.report import Figure, Goal, Report, Table
from benchmarks.servers import ServerError
from benchmarks.stream_producer import pool
from scripts.lock import BENCH_LOCK, bench_inputs_hash, shared_pins


def test_the_lock_of_the_peers_is_in_step_with_what_they_ask_for() -> None:
    assert BENCH_LOCK.read_text().splitlines()[0] == f"# inputs sha256:{bench_inputs_hash()}", "run `make lock`"


def test_the_lock_of_the_peers_has_hashes_and_no_hosts() -> None:
    text = BENCH_LOCK.read_text()
    pins = re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)
    assert {"bentoml==", "litserve==", "rrcf=="} <= set(pins)
    assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_peers_serve_the_models_with_the_versions_of_the_project() -> None:
    assert {pin.partition("==")[0] for pin in shared_pins()} == {"numba", "numpy", "orjson", "xgboost"}
    assert all(f"{pin} \\" in BENCH_LOCK.read_text() for pin in shared_pins())


def test_contenders_are_measured_in_turn() -> None:
    order: list[str] = []

    def contender(name: str, value: float) -> dict[str, float]:
        order.append(name)
        return {"rate": value + len(order)}

    found = interleaved(
        {"ours": lambda: contender("ours", 10), "peer": lambda: contender("peer", 0)},
        repetitions=3,
        advance=lambda: order.append("|"),
    )
    assert order == ["ours", "|", "peer", "|"] * 3
    assert found["ours"]["rate"].values == (11, 15, 19)
    assert (found["ours"]["rate"].median, found["ours"]["rate"].low, found["ours"]["rate"].high) == (15, 11, 19)
    assert found["peer"]["rate"].values == (3, 7, 11)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_growth_is_an_exponent(exponent: int) -> None:
    small = Series((1.0, 2.0))
    large = Series(tuple(value * 4**exponent for value in small.values))
    assert growth_exponent(small, large, factor=4).median == pytest.approx(exponent)


def test_rank_correlation_looks_at_the_order_only() -> None:
    scores = np.array([0.3, 0.1, 0.9, 0.5])
    assert spearman(scores, np.exp(scores)) == pytest.approx(1)
    assert spearman(scores, -scores) == pytest.approx(-1)


@pytest.fixture
def a_report() -> Report:
    rate = Figure(
        "put",
        "records/s",
        {"ours": Series((30_000.0, 31_000.4, 29_000.0)), "peer": Series((10_000.0, 10_000.0, 10_000.0))},
        goal=Goal("3 x peer", met=True),
    )
    latency = Figure(
        "p50",
        "ms",
        {"ours": Series((0.5,)), "peer": Series((2.0,))},
        higher_is_better=False,
        goal=Goal("2 ms", met=False),
    )
    lost = Figure("lost", "records", {"ours": Series((0.0,))}, compared=False)
    table = Table("speed", ("ours", "peer"), [rate, latency, lost], ["A note."])
    return Report("subject", "A subject", ("numpy", "no-such-package"), [table], {"peer": "1.2"}, load=0.25)


def test_a_table_says_how_many_times_better_ours_is_and_what_was_missed(a_report: Report) -> None:
    assert a_report.tables[0].rows() == [
        ["put", "records/s", "30,000 (29,000 - 31,000)", "10,000, 3 x", "3 x peer: met"],
        ["p50", "ms", "0.500", "2, 4 x", "2 ms: missed"],
        ["lost", "records", "0", "", ""],
    ]


def test_a_report_becomes_a_section_of_the_page_and_replaces_the_one_before(a_report: Report, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    report.write_markdown(a_report, page)
    first = page.read_text()
    assert first.startswith(report.HEAD)
    assert "| put | records/s | 30,000 (29,000 - 31,000) | 10,000, 3 x | 3 x peer: met |" in first
    assert f"numpy {np.__version__}, no-such-package of this checkout, peer 1.2." in first
    page.write_text(first + "\nWritten by hand.\n")
    report.write_markdown(a_report, page)
    assert page.read_text() == first + "\nWritten by hand.\n"
    report.write_markdown(Report("other", "Another", (), []), page)
    assert page.read_text().startswith(first + "\nWritten by hand.\n")
    assert "## Another" in page.read_text()


def test_each_repetition_is_kept_as_json_and_shown(a_report: Report, tmp_path: Path) -> None:
    content = json.loads(report.write_json(a_report, tmp_path).read_text())
    assert content["tables"][0]["figures"][0]["results"]["ours"]["values"] == [30_000.0, 31_000.4, 29_000.0]
    assert content["setting"]["cores"] > 0
    console = Console(record=True, width=120)
    report.show(a_report, console)
    assert "30,000 (29,000 - 31,000)" in console.export_text()


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if self.path == "/echo" else 500)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_load_asks_over_each_connection_until_the_time_is_over(echo_port: int) -> None:
    done = load.run(echo_port, load.post("/echo", b"1,2", content_type="text/csv"), connections=3, duration_s=0.2)
    assert done.body == b"1,2"
    assert len(done.latencies_s) >= 3
    assert all(0 < latency_s <= done.elapsed_s for latency_s in done.latencies_s)


def test_an_error_of_the_server_ends_the_load(echo_port: int) -> None:
    with pytest.raises(load.LoadError, match="500: b'x'"):
        load.run(echo_port, load.post("/wrong", b"x", content_type="text/csv"), connections=1, duration_s=0.2)


def test_daily_tables_that_come_to_something_else_are_not_compared() -> None:
    ours = {
        f"{step} figure": Series((value,)) for step, value in (("summary", 2.0), ("performance", 0.5), ("drift", 1.0))
    }
    daily.agree(ours, {**ours, "drift figure": Series((1.0 + 1e-9,))})
    with pytest.raises(ServerError, match=r"daily_model_performance: ours is 0\.5, the script's 0\.6"):
        daily.agree(ours, {**ours, "performance figure": Series((0.6,))})


def test_the_forests_score_the_same_rows_alike() -> None:
    rows = data.table(2_000, seed=1)
    ours = forest.ours(rows, threads=2)
    assert len(ours.scores) == 2_000
    assert spearman(ours.scores[:200], forest.amazons(rows, scored=200).scores) > 0.95
    assert spearman(ours.scores, forest.isolation(rows).scores) > 0.9
    assert math.isfinite(ours.fit_s + ours.score_s)


def test_the_producer_of_the_stream_sends_events_of_one_kilobyte_that_become_rows() -> None:
    now = datetime.now(UTC)
    event_id = b"00000007-0000-4000-8000-0123456789ab"
    for key, template in pool():
        event = template % (event_id, event_id, now.isoformat().encode(), now.isoformat().encode())
        row = parse_event(event, arrived_at=now)
        assert (row.kind, row.columns["user_id"], len(row.columns["features"])) == (Kind.PREDICTION, key.decode(), 30)
        assert 1_000 < len(event) < 1_300
