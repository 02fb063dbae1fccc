"""Percentiles are right within 1 %, from a histogram that does not grow."""

import sys

import numpy as np
import pytest

from fraudit_dagster.traffic import ACCURACY, Latencies


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95, 0.99, 0.999, 1.0])
def test_a_percentile_is_within_one_percent(share: float) -> None:
    latencies_ms = np.random.default_rng(3).lognormal(2.0, 2.0, 20_000)
    histogram = Latencies()
    for latency_ms in latencies_ms.tolist():
        histogram.add(latency_ms)
    exact = np.quantile(latencies_ms, share, method="inverted_cdf")
    assert histogram.percentile(share) == pytest.approx(exact, rel=ACCURACY)
    assert histogram.max_ms == latencies_ms.max()


@pytest.mark.parametrize("latency_ms", [0.001, 0.9, 17.0, 3_599_999.0])
def test_one_latency_is_every_percentile(latency_ms: float) -> None:
    histogram = Latencies()
    histogram.add(latency_ms)
    for share in (0.0, 0.5, 1.0):
        assert histogram.percentile(share) == pytest.approx(latency_ms, rel=ACCURACY)


@pytest.mark.parametrize("latency_ms", [0.0, -1.0, 1e12])
def test_what_is_outside_the_range_counts_at_its_end(latency_ms: float) -> None:
    histogram = Latencies()
    histogram.add(latency_ms)
    assert 0 <= histogram.percentile(0.5) <= max(latency_ms, 0.0)


def test_of_none_there_is_no_percentile() -> None:
    assert Latencies().percentile(0.99) == 0.0


def test_it_does_not_grow() -> None:
    histogram = Latencies()
    size = sys.getsizeof(histogram._bins)
    for latency_ms in range(10_000):
        histogram.add(float(latency_ms))
    assert sys.getsizeof(histogram._bins) == size
    assert len(histogram._bins) < 1200


def test_a_picture_has_every_latency_between_the_limits_of_its_bin() -> None:
    latencies_ms = np.random.default_rng(4).lognormal(2.0, 1.0, 2_000)
    histogram = Latencies()
    for latency_ms in latencies_ms.tolist():
        histogram.add(latency_ms)
    edges_ms, counts = histogram.histogram()
    assert sum(counts) == 2_000
    assert edges_ms[0] <= latencies_ms.min() < latencies_ms.max() <= edges_ms[-1]
    assert counts == tuple(np.histogram(latencies_ms, edges_ms)[0])
    assert np.divide(edges_ms[1:], edges_ms[:-1]) == pytest.approx(1.1, abs=0.01)


def test_of_none_there_is_no_picture() -> None:
    assert Latencies().histogram() == ((), ())
