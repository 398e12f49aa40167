"""Best-fit packing against a list that is searched from end to end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.packing import BestFitBuffer

ROW_LEN = 14


class SlowBuffer:
    """The same rules in a list, oldest first."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int]] = []

    def add(self, length: int, item: int) -> None:
        self.held.append((length, item))

    def take_largest(self, room: int) -> int | None:
        fitting = [entry for entry in self.held if entry[0] <= room]
        return self._take(max(fitting, key=lambda entry: entry[0])) if fitting else None

    def take_fitting(self, room: int) -> int | None:
        for entry in self.held:
            if entry[0] == room:
                return self._take(entry)
        pairs = [
            (one, other)
            for at, one in enumerate(self.held)
            for other in self.held[at + 1 :]
            if one[0] + other[0] == room
        ]
        if not pairs:
            return self.take_largest(room)
        longer = max(max(one[0], other[0]) for one, other in pairs)
        return self._take(next(entry for entry in self.held if entry[0] == longer))

    def take_shortest(self) -> int:
        shortest = min(self.held, key=lambda entry: entry[0])
        return self._take(shortest if shortest[0] <= ROW_LEN else self.held[0])

    def take_oldest(self) -> int:
        return self._take(self.held[0])

    def _take(self, entry: tuple[int, int]) -> int:
        self.held.remove(entry)  # max and min give the first, that is the oldest, of equal ones
        return entry[1]


OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 18)),
    st.tuples(st.just("add"), st.integers(1, 18)),
    st.tuples(st.just("largest"), st.integers(0, ROW_LEN)),
    st.tuples(st.just("fitting"), st.integers(1, ROW_LEN)),
    st.tuples(st.just("shortest"), st.just(0)),
    st.tuples(st.just("oldest"), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(OPERATIONS, max_size=80))
def test_against_the_slow_twin(operations: list[tuple[str, int]]) -> None:
    fast: BestFitBuffer[int] = BestFitBuffer(ROW_LEN)
    slow = SlowBuffer()
    for number, (what, size) in enumerate(operations):
        if what == "add":
            fast.add(size, number)
            slow.add(size, number)
        elif what == "largest":
            assert fast.take_largest(size) == slow.take_largest(size)
        elif what == "fitting":
            assert fast.take_fitting(size) == slow.take_fitting(size)
        elif slow.held and what == "shortest":
            assert fast.take_shortest() == slow.take_shortest()
        elif slow.held:
            assert fast.take_oldest() == slow.take_oldest()
        assert len(fast) == len(slow.held)
        assert fast.tokens == sum(length for length, _ in slow.held)
        assert fast.items() == [item for _, item in slow.held]


def test_empty() -> None:
    buffer: BestFitBuffer[str] = BestFitBuffer(ROW_LEN)
    assert buffer.take_largest(ROW_LEN) is None
    assert buffer.take_fitting(ROW_LEN) is None
    for take in (buffer.take_shortest, buffer.take_oldest):
        with pytest.raises(IndexError):
            take()


def test_ties_go_to_the_oldest() -> None:
    buffer: BestFitBuffer[str] = BestFitBuffer(ROW_LEN)
    for name in ("first", "second", "third"):
        buffer.add(5, name)
    assert [buffer.take_largest(9), buffer.take_shortest(), buffer.take_largest(5)] == ["first", "second", "third"]


def test_two_that_fill_the_room_come_before_one_that_does_not() -> None:
    buffer: BestFitBuffer[str] = BestFitBuffer(ROW_LEN)
    for name, length in (("nine", 9), ("four", 4), ("six", 6), ("five", 5)):
        buffer.add(length, name)
    assert buffer.take_fitting(10) == "six"
    assert buffer.take_fitting(4) == "four"
    assert buffer.take_fitting(10) == "nine"  # five is there once, and no pair by itself
    buffer.add(5, "another five")
    assert [buffer.take_fitting(10), buffer.take_fitting(5)] == ["five", "another five"]


def test_no_operation_searches_all_items() -> None:
    """The time of a hundred operations on many items is about that on few; a search would take 60 times as long."""

    def seconds(count: int) -> float:
        buffer: BestFitBuffer[int] = BestFitBuffer(2049)
        for number in range(count):
            buffer.add(1 + number * 7919 % 3000, number)
        best = float("inf")
        for _ in range(20):
            started = time.perf_counter()
            for number in range(100):
                buffer.add(1 + number * 13 % 2049, buffer.take_oldest())
                buffer.add(1 + number * 17 % 2049, buffer.take_fitting(2049 - number) or 0)
                buffer.add(1 + number * 19 % 2049, buffer.take_shortest())
            best = min(best, time.perf_counter() - started)
        return best

    few = seconds(1_000)
    assert seconds(64_000) < 8 * few
