"""Curves of any length in bounded memory.

A series keeps at most `LIMIT` buckets of equally many steps; when it is full, neighbours are merged. A bucket knows
the mean, the least and the greatest value of its steps, so a spike that lasted one step out of a million still shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

LIMIT = 4096  # buckets: twice the dots of a screen 1,000 cells wide; 4 MB with five values each

GREATEST = 1e30  # sums of it stay far from infinity; no loss that means something is as large

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = ("step", "tokens", "time")


class Place(NamedTuple):
    """Where on a run: after this step, these tokens, these seconds of training."""

    step: int
    tokens: int = 0
    elapsed_s: float = 0.0

    def on(self, axis: Axis) -> float:
        """The place on one axis."""
        return self.elapsed_s if axis == "time" else float(self.tokens if axis == "tokens" else self.step)


class Point(NamedTuple):
    """A stretch of a curve: where it ends, mean, least and greatest value, and of how many steps."""

    x: float
    mean: float
    low: float
    high: float
    n: int = 1


@dataclass(slots=True)
class _Cell:
    n: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        if value < self.low:  # a third of the time that min and max take, at every step of a long log
            self.low = value
        if value > self.high:
            self.high = value

    def merge(self, other: _Cell) -> None:
        self.n += other.n
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)


@dataclass(slots=True)
class _Bucket:
    place: Place
    cells: list[_Cell]


@dataclass(slots=True)
class Series:
    """Values of the same steps.

    Args:
        names: one for each value; NaN says that a step has none.
        limit: buckets at most, an even number.
    """

    names: tuple[str, ...]
    limit: int = LIMIT
    width: int = 1
    _buckets: list[_Bucket] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, place: Place, values: Sequence[float]) -> None:
        """The values of one step, in the order of the names. A step that was there before is done anew from there."""
        if self._buckets and place.step <= self._buckets[-1].place.step:
            self.cut(place.step - 1)
        while len(self._buckets) >= self.limit and not self._is_in_last(place):
            self._halve()
        if self._is_in_last(place):
            bucket = self._buckets[-1]
            bucket.place = place
        else:
            bucket = _Bucket(place, [_Cell() for _ in self.names])
            self._buckets.append(bucket)
        for cell, value in zip(bucket.cells, values, strict=True):
            if abs(value) < GREATEST:  # false for NaN too
                cell.add(value)

    def cut(self, step: int) -> None:
        """Forget what came after a step; a bucket that the step divides is kept whole."""
        while self._buckets and (self._slot(self._buckets[-1].place.step) - 1) * self.width >= step:
            self._buckets.pop()
        if self._buckets and self._buckets[-1].place.step > step:
            last = self._buckets[-1]
            last.place = last.place._replace(step=step)

    def points(self, name: str, axis: Axis) -> list[Point]:
        """The curve of one value, from left to right."""
        index = self.names.index(name)
        found = []
        for bucket in self._buckets:
            cell = bucket.cells[index]
            if cell.n:
                found.append(Point(bucket.place.on(axis), cell.total / cell.n, cell.low, cell.high, cell.n))
        return found

    def newest(self, name: str) -> float | None:
        """The mean of the last bucket that has this value; None when there is none."""
        index = self.names.index(name)
        cells = (bucket.cells[index] for bucket in reversed(self._buckets))
        return next((cell.total / cell.n for cell in cells if cell.n), None)

    def place_at(self, axis: Axis, x: float) -> Place | None:
        """The place that is nearest to `x`; None when there is none."""
        return min((b.place for b in self._buckets), key=lambda place: abs(place.on(axis) - x), default=None)

    def _is_in_last(self, place: Place) -> bool:
        return bool(self._buckets) and self._slot(place.step) == self._slot(self._buckets[-1].place.step)

    def _slot(self, step: int) -> int:
        return -(-step // self.width)

    def _halve(self) -> None:
        self.width *= 2
        merged: list[_Bucket] = []
        for bucket in self._buckets:
            if merged and self._slot(merged[-1].place.step) == self._slot(bucket.place.step):
                merged[-1].place = bucket.place
                for cell, other in zip(merged[-1].cells, bucket.cells, strict=True):
                    cell.merge(other)
            else:
                merged.append(bucket)
        self._buckets = merged


def smooth(points: Sequence[Point], span: float) -> list[Point]:
    """A mean that forgets within `span` steps, without the pull towards zero at the beginning.

    Args:
        points: a curve.
        span: after so many steps a value has 1/e of its weight; 0 returns the curve.
    """
    if span <= 0:
        return list(points)
    total = weight = 0.0
    found = []
    for point in points:
        keep = math.exp(-point.n / span)
        total = keep * total + (1 - keep) * point.mean
        weight = keep * weight + (1 - keep)
        mean = total / weight
        found.append(Point(point.x, mean, mean, mean, point.n))
    return found


def value_at(points: Sequence[Point], x: float) -> float | None:
    """The mean of a curve at `x`, on the line between its neighbours; None outside of the curve."""
    if not points or not points[0].x <= x <= points[-1].x:
        return None
    low, high = 0, len(points) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if points[middle].x <= x else (low, middle)
    a, b = points[low], points[high]
    if x >= b.x or b.x == a.x:
        return b.mean
    return a.mean + (b.mean - a.mean) * (x - a.x) / (b.x - a.x)
