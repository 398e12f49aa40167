"""Curves of any length in bounded memory: nothing that stands out is lost, means are exact."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.tui.watch.series import Place, Point, Series, smooth, value_at


def filled(count: int, limit: int = 16, every: int = 1) -> Series:
    series = Series(("loss",), limit)
    for number in range(every, count + 1, every):
        series.add(Place(number, number * 10, number * 0.5), (float(number),))
    return series


@pytest.mark.parametrize(("count", "every"), [(10, 1), (16, 1), (17, 1), (1000, 1), (12_345, 1), (100_000, 250)])
def test_memory_is_bounded_and_means_are_exact(count: int, every: int) -> None:
    series = filled(count, 16, every)
    points = series.points("loss", "step")
    assert len(series) <= 16
    assert len(points) >= min(8, count // every)
    numbers = range(every, count + 1, every)
    assert sum(point.n for point in points) == len(numbers)
    assert math.fsum(point.mean * point.n for point in points) / len(numbers) == pytest.approx(statistics.mean(numbers))
    assert (points[0].low, points[-1].high) == (numbers[0], numbers[-1])
    assert points[-1].x == numbers[-1]


def test_a_spike_of_one_step_in_a_million_is_seen() -> None:
    series = Series(("loss",), 64)
    for number in range(1, 100_001):
        series.add(Place(number), (99.0 if number == 54_321 else 1.0,))
    assert max(point.high for point in series.points("loss", "step")) == 99.0


def test_axes() -> None:
    series = filled(4)
    assert [point.x for point in series.points("loss", "step")] == [1, 2, 3, 4]
    assert [point.x for point in series.points("loss", "tokens")] == [10, 20, 30, 40]
    assert [point.x for point in series.points("loss", "time")] == [0.5, 1.0, 1.5, 2.0]
    assert series.place_at("tokens", 29) == Place(3, 30, 1.5)


def test_what_a_resume_threw_away_is_forgotten() -> None:
    series = filled(10)
    series.cut(6)
    assert [point.x for point in series.points("loss", "step")] == [1, 2, 3, 4, 5, 6]
    series.add(Place(7), (70.0,))
    series.add(Place(5), (50.0,))  # without a word of a resume
    assert [point.mean for point in series.points("loss", "step")] == [1, 2, 3, 4, 50]
    series.cut(0)
    assert len(series) == 0
    assert series.newest("loss") is None


@given(count=st.integers(1, 400), cut=st.integers(0, 400))
def test_a_cut_leaves_no_later_step_and_every_earlier_bucket(count: int, cut: int) -> None:
    series = filled(count)
    series.cut(cut)
    points = series.points("loss", "step")
    assert all(point.x <= cut for point in points)
    if count and cut:
        assert points[-1].x == min(cut, count)


def test_values_that_are_no_numbers_leave_gaps() -> None:
    series = Series(("loss", "mfu"))
    series.add(Place(1), (math.nan, 0.3))
    series.add(Place(2), (2.0, math.nan))
    assert [point.x for point in series.points("loss", "step")] == [2]
    assert [point.x for point in series.points("mfu", "step")] == [1]
    assert series.newest("mfu") == 0.3


def test_smoothing_is_a_mean_that_forgets() -> None:
    flat = [Point(x, 5.0, 5.0, 5.0) for x in range(50)]
    assert [point.mean for point in smooth(flat, 10)] == pytest.approx([5.0] * 50)
    jump = [Point(x, float(x >= 100), 0, 1) for x in range(200)]
    after = smooth(jump, 10)
    assert after[99].mean == 0.0
    assert after[109].mean == pytest.approx(1 - math.exp(-1), abs=0.02)
    assert smooth(jump, 0) == jump
    # a bucket of ten steps weighs as ten steps do
    merged = [Point(x, float(x >= 100), 0, 1, 10) for x in range(9, 200, 10)]
    assert smooth(merged, 10)[10].mean == pytest.approx(after[109].mean, abs=1e-6)


def test_between_points() -> None:
    points = [Point(1.0, 10, 10, 10), Point(2.0, 20, 20, 20), Point(4.0, 0, 0, 0)]
    assert [value_at(points, x) for x in (0.9, 1.0, 1.5, 2.0, 3.0, 4.0, 4.1)] == [None, 10, 15, 20, 10, 0, None]
    assert value_at([], 1.0) is None
    assert value_at(points[:1], 1.0) == 10
