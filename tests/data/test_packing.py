"""Best-fit packing against a list that is searched from end to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.data.packing import BestFitBuffer


class SlowBuffer:
    """The same rules in a list, oldest first."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int]] = []

    def add(self, length: int, item: int) -> None:
        self.held.append((length, item))

    def take_largest(self, room: int) -> int | None:
        fitting = [entry for entry in self.held if entry[0] <= room]
        return self._take(max(fitting, key=lambda entry: entry[0])) if fitting else None

    def take_shortest(self) -> int:
        return self._take(min(self.held, key=lambda entry: entry[0]))

    def _take(self, entry: tuple[int, int]) -> int:
        self.held.remove(entry)  # max and min give the first, that is the oldest, of equal ones
        return entry[1]


OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 12)),
    st.tuples(st.just("largest"), st.integers(0, 14)),
    st.tuples(st.just("shortest"), st.just(0)),
)


@given(st.lists(OPERATIONS, max_size=80))
def test_against_the_slow_twin(operations: list[tuple[str, int]]) -> None:
    fast: BestFitBuffer[int] = BestFitBuffer()
    slow = SlowBuffer()
    for number, (what, size) in enumerate(operations):
        if what == "add":
            fast.add(size, number)
            slow.add(size, number)
        elif what == "largest":
            assert fast.take_largest(size) == slow.take_largest(size)
        elif slow.held:
            assert fast.take_shortest() == slow.take_shortest()
        assert len(fast) == len(slow.held)
        assert fast.items() == [item for _, item in slow.held]


def test_empty() -> None:
    buffer: BestFitBuffer[str] = BestFitBuffer()
    assert buffer.take_largest(100) is None
    with pytest.raises(IndexError):
        buffer.take_shortest()


def test_ties_go_to_the_oldest() -> None:
    buffer: BestFitBuffer[str] = BestFitBuffer()
    for name in ("first", "second", "third"):
        buffer.add(5, name)
    assert [buffer.take_largest(9), buffer.take_shortest(), buffer.take_largest(5)] == ["first", "second", "third"]
